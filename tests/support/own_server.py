"""A server as users have one: `python own_server.py [--route PATH]`, standard library only. Bodies say what it does."""

from __future__ import annotations

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ROUTE = sys.argv[sys.argv.index("--route") + 1] if "--route" in sys.argv else "/invocations"
SICK = threading.Event()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if SICK.is_set():
            threading.Event().wait()
        self.answer(200 if self.path == "/ping" and ROUTE == "/invocations" else 404, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if body == b"die":
            os._exit(3)
        elif body == b"sick":
            SICK.set()
            self.answer(200, b"")
        elif body.startswith(b"wait "):
            threading.Event().wait(float(body[5:]))
            self.answer(200, b"waited")
        elif body == b"teapot":
            self.answer(418, b"short and stout")
        elif body == b"who":
            import boto3

            self.answer(200, boto3.client("sts").get_caller_identity()["Arn"].encode())
        elif body == b"stream":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (b"one ", b"two ", b"three"):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
        else:
            seen = {"path": self.path, "body": body.decode(), "headers": dict(self.headers), "env": dict(os.environ)}
            self.answer(200, json.dumps(seen).encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Amzn-SageMaker-Custom-Attributes", "seen")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    if "--broken" in sys.argv:
        sys.exit(4)
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
