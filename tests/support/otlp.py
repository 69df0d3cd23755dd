"""A collector: takes OTLP over HTTP, decodes it with OpenTelemetry's own messages, and answers as it is told."""

from __future__ import annotations

import contextlib
import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """What came in, decoded."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.traces: list[Any] = []
        """ExportTraceServiceRequests."""
        self.metrics: list[Any] = []
        """ExportMetricsServiceRequests."""
        self.headers: list[dict[str, str]] = []
        self.statuses: list[int] = []
        """Answers to come, the next one first; 200 where there is none."""

    @property
    def spans(self) -> list[Any]:
        """Every span."""
        return [s for r in self.traces for one in r.resource_spans for scope in one.scope_spans for s in scope.spans]

    def metric(self, name: str, request: int = -1) -> Any:
        """One metric of an export; None where it is not there."""
        if not self.metrics:
            return None
        found = [
            m
            for one in self.metrics[request].resource_metrics
            for scope in one.scope_metrics
            for m in scope.metrics
            if m.name == name
        ]
        return found[0] if found else None

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """One request; its status."""
        assert headers["content-type"] == "application/x-protobuf"
        self.headers.append(headers)
        if self.statuses and (status := self.statuses.pop(0)) != 200:
            return status
        raw = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        if path.endswith("/v1/traces"):
            self.traces.append(ExportTraceServiceRequest.FromString(raw))
        elif path.endswith("/v1/metrics"):
            self.metrics.append(ExportMetricsServiceRequest.FromString(raw))
        else:
            return 404
        return 200


def attributes(holder: Any) -> dict[str, Any]:
    """Attributes of a span, a data point or a resource."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in holder.attributes}


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(collector.take(self.path, headers, body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing on standard error."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        collector = Collector(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
