"""A server that says what a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from clary.cli.api import Api
from clary.cli.connect import Keys, Target


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def operation(self) -> str:
        """What is asked for: the operation of a JSON call, else method and path."""
        target = self.headers.get("x-amz-target", "")
        return target.partition(".")[2] or f"{self.method} {self.path.partition('?')[0]}"

    @property
    def members(self) -> dict[str, object]:
        return json.loads(self.body)  # type: ignore[no-any-return]


@dataclass
class Scripted:
    """Answers by `operation`; whatever has no answer gets 200 and an empty object."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    answers: dict[str, Callable[[Asked], tuple[int, dict[str, str], bytes]]] = field(default_factory=dict)

    def say(self, operation: str, status: int, body: object = None, **headers: str) -> None:
        """Answer an operation always the same way; bytes as they are, anything else as JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        self.answers[operation] = lambda _: (status, headers, raw)

    @property
    def operations(self) -> list[str]:
        return [request.operation for request in self.asked]

    @property
    def api(self) -> Api:
        keys = Keys("CLARYID", "secret", "", "test")
        return Api(Target(self.url, "--url", "us-east-1", keys, Path("/nonexistent")))


@contextmanager
def scripting() -> Iterator[Scripted]:
    """A scripted server on a free port."""
    script = Scripted()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            asked = Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            script.asked.append(asked)
            status, headers, raw = script.answers.get(asked.operation, lambda _: (200, {}, b"{}"))(asked)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - names that http.server asks for

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
