"""Modules of the toolkits that scripts import: stand-ins of the same names, where the toolkits are not installed.

Written from what public scripts use: `sagemaker_containers.beta.framework` (worker, encoders, content_types, errors),
`sagemaker_inference` (content_types, decoder, encoder, errors).
"""

from __future__ import annotations

import importlib.util
import os
import sys
from types import ModuleType
from typing import Any

from clary.runtimes import script_codec as codec


class Response:
    """`worker.Response` of aws/sagemaker-containers."""

    default_mimetype = codec.JSON

    def __init__(
        self,
        response: Any = None,
        accept: str | None = None,
        status: int = 200,
        headers: dict[str, str] | None = None,
        mimetype: str | None = None,
        direct_passthrough: bool = False,
    ) -> None:
        del direct_passthrough
        self.response = response
        self.status_code = int(status)
        self.headers = dict(headers or {})
        self.mimetype = mimetype or accept or self.default_mimetype

    @property
    def content_type(self) -> str:
        """With the charset that Flask adds to texts."""
        return with_charset(self.mimetype)

    def get_data(self) -> Any:
        """The body as given."""
        return b"" if self.response is None else self.response


def with_charset(mimetype: str) -> str:
    """What Flask makes of a mimetype."""
    return f"{mimetype}; charset=utf-8" if mimetype.startswith("text/") and "charset" not in mimetype else mimetype


class BaseInferenceToolkitError(Exception):
    """An error that says its own status (sagemaker_inference `errors.py`)."""

    def __init__(self, status_code: int, message: str, phrase: str) -> None:
        self.status_code, self.message, self.phrase = status_code, message, phrase
        super().__init__(status_code, message, phrase)


class GenericInferenceToolkitError(BaseInferenceToolkitError):
    """The same with a phrase of its own."""

    def __init__(self, status_code: int, message: str | None = None, phrase: str | None = None) -> None:
        super().__init__(status_code, message or "Invalid Request", phrase or message or "Invalid Request")


_TYPES = {
    "JSON": codec.JSON,
    "CSV": codec.CSV,
    "NPY": codec.NPY,
    "NPZ": codec.NPZ,
    "ANY": codec.ANY,
    "OCTET_STREAM": "application/octet-stream",
    "UTF8_TYPES": list(codec.UTF8_TYPES),
}


def provide() -> None:
    """Make the stand-ins importable; what is installed stays."""
    if not _found("sagemaker_containers"):
        content_types = _module("sagemaker_containers.beta.framework.content_types", **_TYPES)
        encoders = _module(
            "sagemaker_containers.beta.framework.encoders",
            decode=lambda obj, content_type: codec.code(codec.CONTAINERS_IN, obj, content_type),
            encode=lambda array_like, content_type: codec.code(codec.CONTAINERS_OUT, array_like, content_type),
            array_to_json=codec.to_json,
            array_to_csv=codec.CONTAINERS_OUT[codec.CSV],
            array_to_npy=codec.CONTAINERS_OUT[codec.NPY],
            csv_to_numpy=codec.CONTAINERS_IN[codec.CSV],
            json_to_numpy=codec.CONTAINERS_IN[codec.JSON],
            npy_to_numpy=codec.CONTAINERS_IN[codec.NPY],
        )
        errors = _module(
            "sagemaker_containers.beta.framework.errors",
            UnsupportedFormatError=codec.UnsupportedFormatError,
            ClientError=codec.ClientError,
        )
        worker = _module("sagemaker_containers.beta.framework.worker", Response=Response)
        model_dir = os.environ.get("SM_MODEL_DIR", "")
        framework = _module(
            "sagemaker_containers.beta.framework",
            content_types=content_types,
            encoders=encoders,
            errors=errors,
            worker=worker,
            # Public scripts import these, and use nothing of them.
            env=_module("sagemaker_containers.beta.framework.env", model_dir=model_dir),
            modules=_module("sagemaker_containers.beta.framework.modules"),
            transformer=_module("sagemaker_containers.beta.framework.transformer"),
        )
        beta = _module("sagemaker_containers.beta", framework=framework)
        _module("sagemaker_containers", beta=beta)
    if not _found("sagemaker_inference"):
        inference = {
            "content_types": _module("sagemaker_inference.content_types", **_TYPES),
            "decoder": _module(
                "sagemaker_inference.decoder",
                decode=lambda obj, content_type: codec.code(codec.INFERENCE_IN, obj, content_type),
            ),
            "encoder": _module(
                "sagemaker_inference.encoder",
                encode=lambda array_like, content_type: codec.code(codec.INFERENCE_OUT, array_like, content_type),
                SUPPORTED_CONTENT_TYPES=set(codec.INFERENCE_OUT),
            ),
            "errors": _module(
                "sagemaker_inference.errors",
                UnsupportedFormatError=codec.UnsupportedFormatError,
                BaseInferenceToolkitError=BaseInferenceToolkitError,
                GenericInferenceToolkitError=GenericInferenceToolkitError,
            ),
        }
        _module("sagemaker_inference", **inference)


def _found(name: str) -> bool:
    return name in sys.modules or importlib.util.find_spec(name) is not None


def _module(name: str, **members: Any) -> ModuleType:
    module = ModuleType(name, "A stand-in of Clary's.")
    module.__dict__.update(members)
    module.__path__ = []
    sys.modules[name] = module
    return module
