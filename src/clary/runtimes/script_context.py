"""The `context` that a script's functions may take: what TorchServe and Multi Model Server tell of a request.

Names and shapes: pytorch/serve `ts/context.py`, awslabs/multi-model-server `mms/context.py`.
"""

from __future__ import annotations

from typing import Any

from clary.runtimes.handler import Invocation

ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


class RequestProcessor:
    """`context.request_processor[0]`."""

    def __init__(self, headers: dict[str, str]) -> None:
        self._headers = headers

    def get_request_properties(self) -> dict[str, str]:
        """The request's headers."""
        return self._headers

    def get_request_property(self, key: str) -> str | None:
        """One of them, whatever its case."""
        return _named(self._headers, key)


class Metrics:
    """`context.metrics`: taken, and not kept (metrics of a container's own are not served yet)."""

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("add_"):
            raise AttributeError(name)
        return _taken


class Context:
    """One request, and what a function says of its answer."""

    def __init__(self, model_dir: str, invocation: Invocation | None = None) -> None:
        self.system_properties: dict[str, Any] = {
            "model_dir": model_dir, "gpu_id": None, "batch_size": 1, "server_name": "Clary", "server_version": "1",
        }  # fmt: skip
        self.manifest: dict[str, Any] = {"model": {"modelName": "model"}}
        self.model_name = "model"
        self.metrics = Metrics()
        headers: dict[str, str] = {}
        if invocation is not None:
            for name, value in (
                ("Content-Type", invocation.content_type),
                ("Accept", invocation.accept),
                (ATTRIBUTES, invocation.custom_attributes),
                ("X-Amzn-SageMaker-Inference-Id", invocation.inference_id),
                ("x-amzn-RequestId", invocation.request_id),
                *invocation.trace,
            ):
                if value:
                    headers[name] = value
        self._headers = headers
        self.request_ids = {0: invocation.request_id if invocation is not None else ""}
        self.request_processor = [RequestProcessor(headers)]
        self.status = 200
        self.response_headers: dict[str, str] = {}

    def get_request_id(self, idx: int = 0) -> str | None:
        """The request's id."""
        return self.request_ids.get(idx)

    def get_request_header(self, idx: int, key: str, exp_str: str | None = None) -> str | None:
        """One header of the request, whatever its case; `exp_str` is not looked at."""
        del idx, exp_str
        return _named(self._headers, key)

    def get_all_request_header(self, idx: int) -> dict[str, str]:
        """Every header of the request."""
        del idx
        return self._headers

    def set_response_content_type(self, idx: int, value: str) -> None:
        """The answer's content type, unless the function returns one itself."""
        self.set_response_header(idx, "Content-Type", value)

    def get_response_content_type(self, idx: int) -> str | None:
        """What was set."""
        return self.get_response_headers(idx).get("content-type")

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """The answer's status."""
        del phrase, idx
        self.status = code

    def set_all_response_status(self, code: int = 200, phrase: str = "") -> None:
        """The answer's status."""
        self.set_response_status(code, phrase)

    def get_response_status(self, idx: int) -> tuple[int, str]:
        """What was set."""
        del idx
        return self.status, ""

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        """A header of the answer; of others than the content type and the custom attributes clients see nothing."""
        del idx
        self.response_headers[key.lower()] = value

    def get_response_headers(self, idx: int) -> dict[str, str]:
        """What was set, by lower-case name."""
        del idx
        return self.response_headers


def _taken(*values: object, **named: object) -> None:
    del values, named


def _named(headers: dict[str, str], key: str) -> str | None:
    return next((value for name, value in headers.items() if name.lower() == key.lower()), None)
