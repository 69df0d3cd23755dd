"""The router as a process: real sockets, a real listener, unmodified boto3, signals."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from clary.dataplane.answers import CONTROL_DOWN, control_down
from clary.dataplane.routes import Snapshot, write_snapshot
from clary.replica import frames
from clary.replica.frames import Decoder, Frame, Kind, Tag
from tests.support.hot_path import READY, endpoint, snapshot, variant


def until(condition: Callable[[], Any], within_s: float = 10) -> Any:
    """What `condition` gives once it is true."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        select.select([], [], [], 0.005)
    return found


class FakeWorker:
    """A replica on a thread: doubles the body; a body `hold` is held back, `die` cuts the link."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: list[bytes] = []
        self.held: list[tuple[socket.socket, Frame]] = []
        self._links: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        path.unlink(missing_ok=True)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = self._listener.accept()
                self._links.append(link)
                threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        decoder = Decoder()
        with contextlib.suppress(OSError), link:
            link.sendall(frames.hello("r", "n", 64, json.dumps(READY).encode()))
            while data := link.recv(1 << 16):
                for frame in decoder.feed(data):
                    if frame.kind is Kind.REQUEST and self._take(link, frame):
                        return

    def _take(self, link: socket.socket, frame: Frame) -> bool:
        body = bytes(frame.body)
        self.seen.append(body)
        if body == b"hold":
            self.held.append((link, frame))
        elif body == b"die":
            return True
        else:
            self.answer(link, frame, body * 2)
        return False

    def answer(self, link: socket.socket, frame: Frame, body: bytes) -> None:
        head = {Tag.STATUS: frames.u16(200), Tag.CONTENT_TYPE: b"text/csv"}
        link.sendall(frames.encode(Kind.RESPONSE, frame.id, head, len(body)) + body)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for link in self._links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)


class Served:
    """A listener, a snapshot, a worker and the router process."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.worker = FakeWorker(home / "w.sock")
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, new: Snapshot) -> None:
        write_snapshot(self.home / "routes.json", new)

    def routes(self, name: str = "Ridge", revision: int = 1) -> Snapshot:
        live = variant()
        live = type(live)(live.name, live.uid, 1.0, (type(live.replicas[0])("r", f"unix:{self.worker.path}"),), 1)
        return snapshot(endpoint(name, live), revision=revision)

    def start(self, name: str = "router-0") -> subprocess.Popen[bytes]:
        options = ["--name", name, "--listen-fd", str(self.listener.fileno()), "--runtime-dir", str(self.home)]
        files = [("--routes", "routes.json"), ("--spool", f"spool-{name}"), ("--log", "router.log")]
        options += [word for flag, name in files for word in (flag, str(self.home / name))]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "clary.dataplane.router", *options], pass_fds=[self.listener.fileno()]
        )
        return self.process

    def invoke(self, body: bytes = b"1", name: str = "ridge") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("POST", f"/endpoints/{name}/invocations", body)
        response = connection.getresponse()
        try:
            return response.status, response.read()
        finally:
            connection.close()

    def private(self, method: str, path: str) -> tuple[int, Any]:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(self.home / "router-0.sock"))
            peer.sendall(f"{method} {path} HTTP/1.1\r\nHost: router\r\nConnection: close\r\n\r\n".encode())
            raw = b"".join(iter(lambda: peer.recv(65536), b""))
        head, _, body = raw.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)

    def log(self) -> list[dict[str, Any]]:
        path = self.home / "router.log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def kill(self, number: int = signal.SIGKILL) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    made.write(made.routes())
    made.start()
    try:
        yield made
    finally:
        if made.process is not None:
            made.kill()
        made.worker.close()
        made.listener.close()


@pytest.fixture
def runtime(served: Served) -> Iterator[Any]:
    client = boto3.client(
        "sagemaker-runtime",
        endpoint_url=served.url,
        region_name="eu-west-1",
        aws_access_key_id="AKID",
        aws_secret_access_key="s",
        config=Config(retries={"max_attempts": 0}),
    )
    yield client
    client.close()


def test_unmodified_boto3(runtime: Any) -> None:
    answer = runtime.invoke_endpoint(EndpointName="Ridge", Body=b"1,2", ContentType="text/csv", Accept="text/csv")
    assert answer["Body"].read() == b"1,21,2"
    assert (answer["InvokedProductionVariant"], answer["ContentType"]) == ("AllTraffic", "text/csv")
    assert "CustomAttributes" not in answer
    assert len(answer["ResponseMetadata"]["RequestId"]) == 36
    big = os.urandom(20 * 1024 * 1024)
    assert runtime.invoke_endpoint(EndpointName="Ridge", Body=big)["Body"].read() == big * 2
    with pytest.raises(ClientError, match=r"\(413\).*HTTP content length exceeded 26214400 bytes"):
        runtime.invoke_endpoint(EndpointName="Ridge", Body=b"x" * (25 * 1024 * 1024 + 1))
    with pytest.raises(runtime.exceptions.ValidationError, match="Endpoint nope of account 123456789012 not found"):
        runtime.invoke_endpoint(EndpointName="nope", Body=b"")


def test_it_starts_little_and_fast(served: Served) -> None:
    assert served.invoke() == (200, b"11")
    modules = subprocess.run(
        [sys.executable, "-c", "import clary.dataplane.router, sys; print(*sys.modules)"],
        capture_output=True,
        check=True,
    )
    heavy = {"botocore", "starlette", "sqlalchemy", "numpy", "structlog", "uvicorn", "xgboost", "rich", "httpx"}
    assert heavy.isdisjoint(modules.stdout.decode().split())


def test_a_killed_router_refuses_nobody(served: Served) -> None:
    assert served.invoke() == (200, b"11")
    served.kill()
    waiting = socket.create_connection(("127.0.0.1", served.port))  # into the backlog
    waiting.sendall(b"POST /endpoints/ridge/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n7")
    served.start()
    with waiting:
        waiting.settimeout(10)
        assert waiting.recv(4096).startswith(b"HTTP/1.1 200")


def test_two_routers_share_the_listener_and_the_worker(served: Served) -> None:
    assert served.invoke() == (200, b"11")
    first = served.process
    assert first is not None
    served.start("router-1")
    until((served.home / "router-1.sock").exists)
    assert [served.invoke(b"%d" % n) for n in range(10)] == [(200, b"%d" % n * 2) for n in range(10)]
    first.kill()  # the other one alone
    first.wait()
    assert [served.invoke(b"%d" % n) for n in range(10)] == [(200, b"%d" % n * 2) for n in range(10)]


def test_a_worker_that_dies_is_not_seen(served: Served) -> None:
    assert served.invoke() == (200, b"11")
    results: list[tuple[int, bytes]] = []
    held = threading.Thread(target=lambda: results.append(served.invoke(b"hold")))
    held.start()
    until(lambda: served.worker.held)
    behind = [threading.Thread(target=lambda n=n: results.append(served.invoke(b"%d" % n))) for n in range(5)]
    for thread in behind:
        thread.start()
    served.worker.close()  # one delivered, five waiting
    served.worker = FakeWorker(served.home / "w.sock")
    until(lambda: served.worker.held)  # tried again
    served.worker.answer(*served.worker.held[0], b"late")
    for thread in (held, *behind):
        thread.join(10)
    assert sorted(results) == [*((200, b"%d" % n * 2) for n in range(5)), (200, b"late")]


def test_what_kills_workers_is_refused(served: Served) -> None:
    status, body = served.invoke(b"die")
    assert (status, json.loads(body)["OriginalStatusCode"]) == (424, 0)
    assert served.worker.seen.count(b"die") == 2
    assert served.invoke(b"die")[0] == 424
    assert served.worker.seen.count(b"die") == 2
    assert served.invoke(b"2") == (200, b"22")


def test_snapshots_are_taken_when_told_and_by_the_clock_and_broken_ones_never(served: Served) -> None:
    assert served.invoke() == (200, b"11")
    served.write(served.routes("Other", revision=2))
    status, told = served.private("POST", "/clary/router/reload")
    assert (status, told["revision"]) == (200, 2)
    assert served.invoke(name="ridge")[0] == 400
    assert served.invoke(name="other") == (200, b"11")
    good = (served.home / "routes.json").read_text()
    for broken in (good[:-20], good.replace('"format":1', '"format":99'), good.replace("unix:", "nowhere:")):
        (served.home / "routes.json").write_text(broken)
        served.private("POST", "/clary/router/reload")
        assert served.invoke(name="other") == (200, b"11")
    assert [line["level"] for line in served.log() if "unusable" in line["event"]] == ["error"] * 3
    (served.home / "routes.json").unlink()
    served.private("POST", "/clary/router/reload")
    assert served.invoke(name="other") == (200, b"11")
    served.write(served.routes("Third", revision=3))  # told by nobody
    until(lambda: served.invoke(name="third")[0] == 200)


def test_its_private_socket_serves_invocations_and_nothing_of_control_s(served: Served) -> None:
    served.invoke()
    assert served.private("GET", "/clary/router/status")[1]["live_replicas"] == 1
    assert served.private("GET", "/clary/health")[0] == 404
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(served.home / "router-0.sock"))
        peer.sendall(b"POST /endpoints/ridge/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n7")
        assert peer.recv(4096).endswith(b"\r\n\r\n77")
    assert ((served.home / "router-0.sock").stat().st_mode & 0o777) == 0o600


def test_control_down_is_answered_in_the_service_s_form(served: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    connection.request("GET", "/clary/health")
    response = connection.getresponse()
    assert (response.status, response.headers["x-amzn-ErrorType"]) == (503, "ServiceUnavailable")
    assert "control process" in json.loads(response.read())["Message"]
    connection.close()
    assert served.invoke() == (200, b"11")


@pytest.mark.parametrize(
    ("service", "operation"),
    [
        ("sagemaker", "list_models"),
        ("s3", "list_buckets"),
        ("sts", "get_caller_identity"),
        ("cloudwatch", "list_metrics"),
    ],
)
def test_control_down_is_an_error_that_every_client_reads(served: Served, service: str, operation: str) -> None:
    client = boto3.client(
        service,
        endpoint_url=f"http://127.0.0.1:{served.port}",
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(retries={"total_max_attempts": 1}),
    )
    with pytest.raises(ClientError) as refused:
        getattr(client, operation)()
    client.close()
    error = refused.value.response["Error"]
    assert (error["Code"], error["Message"]) == ("ServiceUnavailable", CONTROL_DOWN)


def test_presigned_urls_are_answered_as_s3_does_when_control_is_down() -> None:
    for query in ("X-Amz-Credential=a%2F20310105%2Fr%2Fs3%2Faws4_request", "AWSAccessKeyId=a&Expires=1&Signature=b"):
        head = f"GET /bucket/key?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        assert b"<Error><Code>ServiceUnavailable</Code>" in control_down(head, b"id", b"Date: x\r\n")


def test_sigterm_finishes_what_is_in_flight(served: Served) -> None:
    results: list[tuple[int, bytes]] = []
    assert served.invoke() == (200, b"11")
    assert served.process is not None
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as idle:
        idle.sendall(b"POST /endpoints/ridge/invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n7")
        assert idle.recv(4096).endswith(b"77")
        held = threading.Thread(target=lambda: results.append(served.invoke(b"hold")))
        held.start()
        until(lambda: served.worker.held)
        served.process.send_signal(signal.SIGTERM)
        assert idle.recv(10) == b""  # idle connections end after a farewell
    served.worker.answer(*served.worker.held[0], b"late")
    held.join(10)
    assert results == [(200, b"late")]
    assert served.process.wait(10) == 0
    assert [line["event"] for line in served.log()][-1] == "router stopped"
    assert list((served.home / "spool-router-0").iterdir())  # metrics were shipped


def test_sigterm_tells_who_asks_on_that_the_connection_ends(served: Served) -> None:
    """No connection is closed under a client that goes from one request to the next."""
    assert served.invoke() == (200, b"11")
    assert served.process is not None
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    with contextlib.closing(connection):
        asked, ends = 0, False
        while not ends:
            connection.request("POST", "/endpoints/ridge/invocations", b"7")
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b"77")
            ends = response.will_close
            asked += 1
            if asked == 1:
                served.process.send_signal(signal.SIGTERM)
    assert asked > 1
    assert served.process.wait(10) == 0


def test_its_log_has_the_fixed_keys(served: Served) -> None:
    served.invoke()
    for line in served.log():
        assert list(line)[:7] == ["ts", "level", "event", "request_id", "endpoint", "variant", "replica"]
    assert {"router serves", "snapshot in use", "replica ready"} <= {line["event"] for line in served.log()}
