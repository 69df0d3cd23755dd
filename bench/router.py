"""The router against its floor: requests a second at c = 1, 16, 64 through a bare server and through the router with
one replica that answers at once (an empty model). Ratios of one run are what to compare; a machine's mood is not.

    python -m bench.router [--seconds 3] [--profile FILE] [--worker "COMMAND {socket}"]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import httptools
import uvloop

from bench.empty import EmptyModel
from bench.load import Measured, measure, request
from clary.dataplane import routes
from clary.runtimes.base import Joins
from clary.worker.executor import Executor
from clary.worker.options import WorkerOptions
from clary.worker.report import WorkerLog
from clary.worker.server import Server, listen

ROW = ",".join(f"{i * 0.37:.4f}" for i in range(24)).encode()
PATH = "/endpoints/empty/invocations"
CONCURRENCY = (1, 16, 64)


# -- the floor: uvloop and httptools, and nothing else -----------------------------------------------------------------


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n42.0")


async def serve_echo(fd: int) -> None:
    server = await asyncio.get_running_loop().create_server(Echo, sock=socket.socket(fileno=fd), backlog=1024)
    await server.serve_forever()


# -- an empty model: the least a replica can do ------------------------------------------------------------------------


def empty_worker(path: str) -> None:
    """A real worker with an empty model."""
    options = WorkerOptions(uid="empty", socket=path, runtime="empty", model_dir="/")
    log = WorkerLog("empty", "AllTraffic", "empty")
    executor = Executor(EmptyModel(), Joins.EXACT, log, rows_max=options.rows_max, predict_overrun_ns=10**12)
    report = b'{"state":"ready","joins":"exact","pure":true,"runtime":"empty"}'
    Server(listen(path), options, "n", report, executor, credits=options.credits).run()


# -- load --------------------------------------------------------------------------------------------------------------


def measured(port: int, seconds: float, concurrency: int) -> Measured:
    """Under rows that differ in length, as real ones do: each length is another head."""
    return measure(port, [request(PATH, ROW[: len(ROW) - cut]) for cut in range(8)], concurrency, seconds)


def listener() -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(1024)
    return sock


def start_router(home: Path, port_fd: int, worker: str, profile: str) -> list[subprocess.Popen[bytes]]:
    """A worker and a router on its snapshot."""
    address = home / "w.sock"
    argv = worker.format(socket=address).split() if worker else [sys.executable, "-m", "bench.router", "--be-worker"]
    worker_process = subprocess.Popen(argv if worker else [*argv, str(address)])
    variant = routes.VariantRoute("AllTraffic", "v1", 1.0, (routes.ReplicaRoute("r1", f"unix:{address}"),), 1)
    endpoint = routes.EndpointRoute("123456789012", "us-east-1", "empty", "e1", 1, (variant,))
    snapshot = routes.Snapshot(1, 1, "123456789012", "us-east-1", auth=False, hosts=(), endpoints=(endpoint,))
    routes.write_snapshot(home / "routes.json", snapshot)
    profiler = ["-m", "cProfile", "-o", profile] if profile else []
    router = subprocess.Popen(
        [
            *(
                sys.executable,
                *profiler,
                "-m",
                "clary.dataplane.router",
                "--name",
                "router-0",
                "--listen-fd",
                str(port_fd),
            ),
            *("--runtime-dir", str(home), "--routes", str(home / "routes.json"), "--spool", str(home / "spool")),
            *("--log", str(home / "router.log")),
        ],
        pass_fds=[port_fd],
    )
    return [worker_process, router]


def wait_served(port: int) -> None:
    """Until an invocation is answered."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.create_connection(("127.0.0.1", port)) as probe:
            probe.sendall(request(PATH, ROW))
            if probe.recv(4096).startswith(b"HTTP/1.1 200"):
                return
    raise SystemExit("the server did not answer within 10 s")


def cpu_s(pid: int) -> float:
    """CPU time a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def ended(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Nothing of a bench outlives it, whatever happens."""
    try:
        yield
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(30)


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--profile", default="")
    parser.add_argument("--worker", default="")
    parser.add_argument("--be-worker", default="")
    parser.add_argument("--be-echo", type=int, default=-1)
    given = parser.parse_args(argv)
    if given.be_worker:
        empty_worker(given.be_worker)
    if given.be_echo >= 0:
        uvloop.run(serve_echo(given.be_echo))
    print(f"{'c':>4} {'echo/s':>9} {'router/s':>9} {'ratio':>6} {'p99 ms':>7} {'router us':>10} {'worker us':>10}")
    for concurrency in CONCURRENCY:
        with tempfile.TemporaryDirectory() as folder, listener() as echo_port, listener() as router_port:
            echo = subprocess.Popen(
                [sys.executable, "-m", "bench.router", "--be-echo", str(echo_port.fileno())],
                pass_fds=[echo_port.fileno()],
            )
            with ended([echo]):
                wait_served(echo_port.getsockname()[1])
                floor = measured(echo_port.getsockname()[1], given.seconds, concurrency).rate
            processes = start_router(Path(folder), router_port.fileno(), given.worker, given.profile)
            with ended(processes):
                port = router_port.getsockname()[1]
                wait_served(port)
                before = [cpu_s(process.pid) for process in processes]
                found = measured(port, given.seconds, concurrency)
                worker_us, router_us = (
                    (cpu_s(process.pid) - used) / (found.rate * given.seconds) * 1e6
                    for process, used in zip(processes, before, strict=True)
                )
            print(
                f"{concurrency:4} {floor:9.0f} {found.rate:9.0f} {found.rate / floor:6.2f} {found.p99_ms:7.2f} "
                f"{router_us:10.1f} {worker_us:10.1f}"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
