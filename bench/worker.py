"""What one request costs a worker beside its model: `python -m bench.worker`.

A worker with an empty model answers a peer that writes batches of frames and waits for all answers, as a router does.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import struct
import tempfile
import time
from pathlib import Path

from bench.empty import EmptyModel
from clary.replica import frames
from clary.replica.frames import Kind, Tag
from clary.runtimes.base import Joins
from clary.worker.executor import Executor
from clary.worker.options import WorkerOptions
from clary.worker.report import Report, WorkerLog
from clary.worker.server import Server, listen

SECONDS = 2.0
ROW = ",".join(f"{n}.5" for n in range(24)).encode()
_LENGTH = struct.Struct(">I")


def _worker(listener: socket.socket, path: str, results: int) -> None:
    options = WorkerOptions(uid="bench", socket=path, runtime="empty", model_dir="/")
    log = WorkerLog("", "", "")
    executor = Executor(EmptyModel(), Joins.EXACT, log, rows_max=1 << 18, predict_overrun_ns=10**12)
    report = Report(state="ready", runtime="empty", pid=os.getpid(), joins="exact", pure=True).to_json()
    server = Server(listener, options, "nonce", report, executor, credits=256)
    signal.signal(signal.SIGTERM, lambda *_: server.request_stop())
    server.run()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    os.write(results, f"{usage.ru_utime + usage.ru_stime}".encode())
    os._exit(0)


def _request(number: int) -> bytes:
    head = {
        Tag.CONTENT_TYPE: b"text/csv",
        Tag.ACCEPT: b"*/*",
        Tag.REQUEST_ID: b"%036d" % number,
        Tag.DEADLINE_MS: frames.u32(60000),
    }
    return frames.encode(Kind.REQUEST, number, head, len(ROW)) + ROW


def measure(together: int) -> tuple[float, float]:
    """(requests a second, worker CPU microseconds a request) at `together` requests a write."""
    path = str(Path(tempfile.mkdtemp()) / "w.sock")
    listener = listen(path)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _worker(listener, path, writer)
    listener.close()
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(path)
    peer.sendall(frames.hello("bench", "n", 0))
    peer.recv(65536)
    batch = b"".join(_request(n) for n in range(together))
    answer_bytes = 0
    done = 0
    started_s = time.perf_counter()
    while time.perf_counter() - started_s < SECONDS:
        peer.sendall(batch)
        got = 0
        while not answer_bytes or got < answer_bytes * together:
            got += len(data := peer.recv(1 << 20))
            if not answer_bytes:
                answer_bytes = 4 + _LENGTH.unpack_from(data)[0]
        done += together
    took_s = time.perf_counter() - started_s
    peer.close()
    os.kill(pid, 15)
    cpu_s = float(os.read(reader, 100))
    os.waitpid(pid, 0)
    return done / took_s, cpu_s / done * 1e6


def main() -> None:
    """Print one line a batch size."""
    for together in (1, 4, 16, 64):
        rate, cpu_us = measure(together)
        print(f"{together:4d} together: {rate:10,.0f} requests/s, {cpu_us:6.2f} us of the worker's CPU each")


if __name__ == "__main__":
    main()
