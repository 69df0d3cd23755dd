"""A SavedModel behind TensorFlow Serving's REST form of predict: JSON in, JSON out.

Source: TensorFlow Serving, "RESTful API": `instances` (by row) or `inputs` (by column), `signature_name`; answers
`predictions` or `outputs`; binary values as `{"b64": ...}`. TensorFlow is imported when a SavedModel is loaded.
"""

from __future__ import annotations

import base64
import importlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

_BODY_BYTES_MAX = 64 * 1024 * 1024


class Served(Protocol):
    """What answers predict requests."""

    def predict(self, body: bytes) -> tuple[int, bytes]:
        """Status and JSON for a request's JSON. Never raises."""
        ...


class SavedModel:
    """One version of a model."""

    def __init__(self, folder: Path) -> None:
        """ModuleNotFoundError where TensorFlow is not installed; whatever TensorFlow raises for a broken model."""
        self._tf: Any = importlib.import_module("tensorflow")
        self._model = self._tf.saved_model.load(str(folder))
        self._lock = threading.Lock()

    def predict(self, body: bytes) -> tuple[int, bytes]:
        """Status and JSON for a request's JSON. Never raises."""
        try:
            document = json.loads(body)
            with self._lock:
                found = self._predict(document)
            return 200, json.dumps(found, indent=4).encode()
        except Exception as error:
            return 400, json.dumps({"error": str(error)}).encode()

    def _predict(self, document: Any) -> dict[str, Any]:
        by_row = isinstance(document, dict) and "instances" in document
        if not by_row and not (isinstance(document, dict) and "inputs" in document):
            raise ValueError("JSON Value: lacks 'instances' or 'inputs'")
        name = document.get("signature_name", "serving_default")
        signature = self._model.signatures[name]
        specs = signature.structured_input_signature[1]
        columns = _columns(document["instances"], list(specs)) if by_row else document["inputs"]
        if not isinstance(columns, dict):
            columns = {next(iter(specs)): columns}
        tensors = {key: self._tf.constant(_binary(value), dtype=specs[key].dtype) for key, value in columns.items()}
        outputs = {key: _jsonable(value.numpy().tolist()) for key, value in signature(**tensors).items()}
        only = next(iter(outputs.values())) if len(outputs) == 1 else None
        if not by_row:
            return {"outputs": outputs if only is None else only}
        if only is not None:
            return {"predictions": only}
        rows = zip(*outputs.values())
        return {"predictions": [dict(zip(outputs, row)) for row in rows]}


def _columns(instances: list[Any], names: list[str]) -> dict[str, Any]:
    """Rows as columns: objects by name, or values of the only input."""
    named = bool(instances) and all(isinstance(row, dict) and "b64" not in row for row in instances)
    if not named:
        return {names[0]: instances}
    return {name: [row[name] for row in instances] for name in instances[0]}


def _binary(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"b64"}:
        return base64.b64decode(value["b64"])
    return [_binary(one) for one in value] if isinstance(value, list) else value


def _jsonable(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}
    return [_jsonable(one) for one in value] if isinstance(value, list) else value


def newest_version(model_dir: Path) -> Path | None:
    """The folder `.../<number>/` with the highest number that holds a saved_model.pb, or the artifact's own root."""
    found = [path.parent for path in model_dir.rglob("saved_model.pb")]
    versions = [folder for folder in found if folder.name.isdigit()]
    return max(versions, key=lambda folder: int(folder.name), default=found[0] if found else None)


class RestServer:
    """Predict at a loopback address, for handlers that post to `context.rest_uri` themselves."""

    def __init__(self, served: Served) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                status, body = 413, b'{"error": "the body is too large"}'
                if length <= _BODY_BYTES_MAX:
                    status, body = served.predict(self.rfile.read(length))
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """The replica's log tells of requests already."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, name="tfs", daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
