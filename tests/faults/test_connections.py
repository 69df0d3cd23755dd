"""Thousands of idle connections, senders that dawdle and readers that never read, beside 64 clients."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
import time
from collections.abc import Callable

import psutil
import pytest

from clary.assembly.control import CONNECTIONS_MAX
from tests.faults.clients import Clients
from tests.faults.conftest import ENDPOINT, Tally
from tests.support.server import Server, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
IDLE = 10_000
SLOW = 300
DEAF = 20
MIB = 1024 * 1024


def head(body_bytes: int) -> bytes:
    return (
        f"POST /endpoints/{ENDPOINT}/invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/csv\r\n"
        f"Content-Length: {body_bytes}\r\n\r\n"
    ).encode()


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=90)


def router(server: Server) -> psutil.Process:
    return psutil.Process(server.pid_of("clary.dataplane.router"))


def test_ten_thousand_idle_connections(steady: Server, tally: Tally) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < IDLE + 1000:
        pytest.skip(f"this needs {IDLE + 1000} open files; the limit is {most}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    before_bytes = router(steady).memory_info().rss
    lost: list[str] = []
    with contextlib.ExitStack() as opened:
        idle = [opened.enter_context(connect(steady)) for _ in range(IDLE)]
        with Clients(steady, ENDPOINT) as clients:
            clients.more(5000)
        wait_until(lambda: router(steady).num_fds() > IDLE, "the router holds them all")
        held_mib = (router(steady).memory_info().rss - before_bytes) / MIB
        row = b"0.5,-1.25,3,0.125"
        for at in range(0, IDLE, 250):
            for client in idle[at : at + 250]:
                client.sendall(head(len(row)) + row)
            for client in idle[at : at + 250]:
                answer = client.recv(4096)
                if not answer.startswith(b"HTTP/1.1 200 "):
                    lost.append(repr(answer[:80]))
    tally("10,000 idle connections: 64 clients beside them", clients.tried, clients.lost())
    tally("10,000 idle connections: each asks in the end", IDLE, lost, f"{held_mib:.0f} MiB of the router while idle")


def test_more_connections_than_control_holds(steady: Server, tally: Tally) -> None:
    """What control takes over it keeps for 75 s between two requests: there it refuses; routers go on."""
    asks = b"GET /clary/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    answers: list[bytes] = []
    with contextlib.ExitStack() as opened:
        for _ in range(CONNECTIONS_MAX + 50):
            client = opened.enter_context(connect(steady))
            client.sendall(asks)
            answers.append(client.recv(4096)[:12])
        with Clients(steady, ENDPOINT) as clients:
            clients.more(5000)
    odd = [repr(one) for one in answers if one not in (b"HTTP/1.1 200", b"HTTP/1.1 503")]
    refused = answers.count(b"HTTP/1.1 503")
    assert refused >= 50, refused
    wait_until(steady.healthy, "control answers again")
    tally("more connections than control holds", clients.tried, [*clients.lost(), *odd], f"{refused} got 503")


class Dripping:
    """Sends one byte a second on each connection until the server ends it; use as a context manager."""

    def __init__(self, clients: list[socket.socket], begin: bytes, drip: bytes) -> None:
        self._clients = clients
        self._begin, self._drip = begin, drip
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Dripping:
        for client in self._clients:
            client.sendall(self._begin)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._done.wait(1):
            for client in self._clients:
                with contextlib.suppress(OSError):
                    client.send(self._drip)


def refused(clients: list[socket.socket]) -> list[str]:
    """The answers that are not a 408."""
    answers = []
    for client in clients:
        try:
            answers.append(client.recv(4096))
        except OSError as error:
            answers.append(repr(error).encode())
    return [repr(answer[:80]) for answer in answers if not answer.startswith(b"HTTP/1.1 408 ")]


def deafen(client: socket.socket) -> None:
    """Ask for large answers, and read none, until the server takes no more."""
    rows = b"1,2,3,4\n" * 5000
    request = memoryview((head(len(rows)) + rows) * 400)
    client.settimeout(3)
    with contextlib.suppress(TimeoutError, OSError):
        while request:
            request = request[client.send(request) :]
    assert request, "the server took 16 MB of requests whose answers nobody reads"


def all_at_once(act: Callable[[socket.socket], None], clients: list[socket.socket]) -> None:
    """`act` on each, on threads; the first failure is raised."""
    failures: list[BaseException] = []

    def run(client: socket.socket) -> None:
        try:
            act(client)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]


def test_slow_senders_and_readers(steady: Server, tally: Tally) -> None:
    process = router(steady)
    before_bytes = process.memory_info().rss
    with contextlib.ExitStack() as stack:
        heads = [stack.enter_context(connect(steady)) for _ in range(SLOW)]
        bodies = [stack.enter_context(connect(steady)) for _ in range(SLOW)]
        deaf = [stack.enter_context(connect(steady)) for _ in range(DEAF)]
        ports = {client.getsockname()[1] for client in deaf}
        stack.enter_context(
            Dripping(heads, b"POST /endpoints/x/invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ", b"a")
        )
        stack.enter_context(Dripping(bodies, head(100_000), b"1"))
        began_s = time.monotonic()
        all_at_once(deafen, deaf)
        clients = stack.enter_context(Clients(steady, ENDPOINT))
        late_heads = refused(heads)
        heads_s = time.monotonic() - began_s
        late_bodies = refused(bodies)
        bodies_s = time.monotonic() - began_s
        held_mib = (process.memory_info().rss - before_bytes) / MIB

        def dropped() -> bool:
            return not ports & {one.raddr.port for one in process.net_connections("tcp") if one.raddr}

        wait_until(dropped, "connections that nobody reads are dropped", timeout_s=90)
        clients.more(1000)
    tally("slow senders and readers: 64 clients beside them", clients.tried, clients.lost())
    tally("heads that come a byte a second", SLOW, late_heads, f"all refused (408) within {heads_s:.0f} s")
    tally("bodies that come a byte a second", SLOW, late_bodies, f"all refused (408) within {bodies_s:.0f} s")
    note = f"all dropped; the router held {held_mib:.0f} MiB for them and the others"
    tally("readers that never read", DEAF, [], note)
