"""The TensorFlow Serving image: inference.py with `handler`, or `input_handler` and `output_handler`, or none.

Sources: aws/sagemaker-tensorflow-serving-container `python_service.py`, `tfs_utils.py`, `tensorflow-serving.js`. In the
place of TensorFlow Serving stands TensorFlow itself (`tensorflow_saved`). Exceptions are 500 with `{"error": text}`.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterator
from typing import Any, Callable, Mapping, NamedTuple  # noqa: UP035 - Python 3.9

from clary.runtimes.base import Joins, LoadError, LoadOptions, Model, ModelError
from clary.runtimes.handler import Handler, Invocation, Reply
from clary.runtimes.script import print_trace, stream_of
from clary.runtimes.script_source import Source, find_source, import_script, load_error
from clary.runtimes.tensorflow_saved import RestServer, SavedModel, Served, newest_version

JSON = "application/json"
CSV = "text/csv"
LINES = ("application/jsonlines", "application/jsons")
_ATTRIBUTE = re.compile(r"(tfs-[a-z\-]+=[^,]+)")
Function = Callable[..., Any]


class Context(NamedTuple):
    """What handlers are told (tfs_utils.Context)."""

    model_name: str | None
    model_version: str | None
    method: str | None
    rest_uri: str
    grpc_port: str
    channel: Any
    custom_attributes: str | None
    request_content_type: str
    accept_header: str
    content_length: int


class Response:
    """TensorFlow Serving's answer, as far as output handlers look at it (requests.Response)."""

    def __init__(self, status: int, content: bytes) -> None:
        self.status_code = status
        self.content = content
        self.headers = {"Content-Type": JSON}
        self.encoding = "utf-8"

    @property
    def text(self) -> str:
        """The body."""
        return self.content.decode("utf-8")

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return self.status_code < 400

    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.content)

    def raise_for_status(self) -> None:
        """RuntimeError for an error."""
        if not self.ok:
            raise RuntimeError(f"{self.status_code} Error: {self.text}")


class TensorflowModel(Handler):
    """A SavedModel, a script, or both."""

    def __init__(
        self,
        served: Served | None,
        handler: Function | None,
        pair: tuple[Function, Function] | None,
        libraries: Mapping[str, str],
    ) -> None:
        self._served = served
        self._handler = handler
        self._pair = pair
        self.libraries = libraries
        self._rest = RestServer(served) if served is not None and handler is not None else None

    def close(self) -> None:
        """Stop what listens."""
        if self._rest is not None:
            self._rest.close()

    def handle(self, invocation: Invocation) -> Reply:
        """Answer one request as the image does. ModelError with the image's own status and text."""
        try:
            if self._handler is None and self._pair is None:
                return self._plain(invocation)
            body, content_type = self._scripted(invocation)
            if isinstance(body, Iterator):
                return Reply(stream_of(body), content_type)
            return Reply(body.encode() if isinstance(body, str) else bytes(body), content_type)
        except ModelError:
            raise
        except (Exception, SystemExit) as error:
            print_trace()
            raise ModelError(500, json.dumps({"error": str(error)})) from error

    def _scripted(self, invocation: Invocation) -> Any:
        context = self._context(invocation)
        data = io.BytesIO(invocation.body)
        if self._handler is not None:
            return self._handler(data, context)
        assert self._pair is not None, "a script has one or the other"
        input_handler, output_handler = self._pair
        processed = input_handler(data, context)
        response = self._ask(processed.encode() if isinstance(processed, str) else bytes(processed))
        return output_handler(response, context)

    def _ask(self, body: bytes) -> Response:
        if self._served is None:
            raise ModelError(500, json.dumps({"error": "the artifact holds no SavedModel to ask"}))
        return Response(*self._served.predict(body))

    def _context(self, invocation: Invocation) -> Context:
        given = dict(part.split("=", 1) for part in _ATTRIBUTE.findall(invocation.custom_attributes))
        name, version = given.get("tfs-model-name"), given.get("tfs-model-version")
        port = self._rest.port if self._rest is not None else 0
        return Context(
            model_name=name,
            model_version=version,
            method=given.get("tfs-method"),
            rest_uri=f"http://127.0.0.1:{port}/v1/models/{name or 'model'}:{given.get('tfs-method', 'predict')}",
            grpc_port="",
            channel=None,
            custom_attributes=invocation.custom_attributes or None,
            request_content_type=invocation.content_type or JSON,
            accept_header=JSON if invocation.accept in ("", "*/*") else invocation.accept,
            content_length=len(invocation.body),
        )

    def _plain(self, invocation: Invocation) -> Reply:
        """Without a script: the body as TensorFlow Serving reads it, its answer as it is."""
        response = self._ask(to_serving(invocation.body, invocation.content_type))
        if not response.ok:
            raise ModelError(response.status_code, response.text)
        if invocation.accept in LINES:
            return Reply(response.text.replace("\n", "").encode(), invocation.accept)
        return Reply(response.content, JSON)


def to_serving(body: bytes, content_type: str) -> bytes:
    """A body as TensorFlow Serving's JSON. ModelError 415 for other types than JSON, lines of JSON, and CSV, 400 for
    what is none of its type."""
    name = content_type.split(";", 1)[0].strip().lower() or JSON
    try:
        text = body.decode("utf-8")
        if name == JSON:
            document = json.loads(text)
            whole = isinstance(document, dict) and {"instances", "inputs", "examples"} & set(document)
            return body if whole else json.dumps({"instances": document}).encode()
        if name in LINES:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
            return json.dumps({"instances": rows}).encode()
        if name == CSV:
            return json.dumps({"instances": [[_cell(cell) for cell in row] for row in _rows(text)]}).encode()
    except (ValueError, csv.Error) as error:
        raise ModelError(400, json.dumps({"error": f"the body is not {name}: {error}"})) from None
    raise ModelError(415, json.dumps({"error": f"Unsupported Media Type: {content_type}"}))


def _rows(text: str) -> list[list[str]]:
    return [row for row in csv.reader(io.StringIO(text)) if row]


def _cell(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


class TensorflowRuntime:
    """Loads SavedModels and scripts."""

    name = "tensorflow"
    joins = Joins.NEVER
    pure = False
    modules = ()

    def load(self, options: LoadOptions) -> Model:
        """A SavedModel where there is one, behind the script's handlers where there are some. LoadError."""
        source = find_source(options)
        handler, pair = _handlers(source)
        folder = newest_version(options.model_dir)
        if folder is None and handler is None:
            raise LoadError(
                "The artifact holds no saved_model.pb.",
                "Pack the SavedModel as 1/saved_model.pb, or write a code/inference.py with a handler.",
            )
        served = None
        if folder is not None:
            try:
                served = SavedModel(folder)
            except Exception as error:
                raise load_error(error, "Loading the SavedModel") from error
        tensorflow = sys.modules.get("tensorflow")
        libraries = {} if tensorflow is None else {"tensorflow": str(tensorflow.__version__)}
        return TensorflowModel(served, handler, pair, libraries)


def _handlers(source: Source | None) -> tuple[Function | None, tuple[Function, Function] | None]:
    if source is None:
        return None, None
    module = import_script(source)
    handler = getattr(module, "handler", None)
    if handler is not None:
        return handler, None
    into, out = getattr(module, "input_handler", None), getattr(module, "output_handler", None)
    if into is None or out is None:
        raise LoadError(
            "Handlers are not implemented correctly in user script.",
            "Define handler(data, context), or input_handler(data, context) and output_handler(response, context).",
        )
    return None, (into, out)


RUNTIME = TensorflowRuntime()
