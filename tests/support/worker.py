"""A worker's server on a thread, around a model that does as its requests say."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clary.domain.signature import Column
from clary.replica import frames
from clary.replica.frames import Frame, Tag
from clary.runtimes.base import Input, Joins, ModelError, Signature
from clary.worker.executor import Executor
from clary.worker.options import WorkerOptions
from clary.worker.report import Report, WorkerLog
from clary.worker.server import Server, listen
from tests.support.processes import Peer

NONCE = "nonce"


class Doubler:
    """Rows are lines of numbers; the answer doubles each. Some bodies misbehave."""

    signature = Signature()
    libraries: dict[str, str] = {}  # noqa: RUF012
    joins = Joins.EXACT
    notes = ()

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)

    def decode(self, body: memoryview, content_type: str) -> Input:
        text = bytes(body).decode()
        if not text:
            raise ModelError(204, "empty")
        if text == "undecodable":
            raise ModelError(400, "cannot decode")
        if text == "decode raises":
            raise KeyError("decode")
        return Input(text, text.count(",") + 1, content_type)

    def check_accept(self, accept: str) -> str:
        if accept == "no/thing":
            raise ModelError(406, "no such accept")
        return accept or "text/csv"

    def predict(self, inputs: Sequence[Input]) -> Sequence[Any]:
        texts = [item.data for item in inputs]
        self.batches.append(texts)
        if "gate" in texts:
            self.entered.release()
            assert self.gate.acquire(timeout=20)
        if "poison" in texts:
            raise RuntimeError("poisoned")
        if "bad data" in texts:
            raise ModelError(400, "bad data")
        if "no memory" in texts:
            raise MemoryError("too big")
        if "short" in texts:
            return []
        return [text * 2 for text in texts]

    def encode(self, result: Any, accept: str) -> tuple[bytes, str]:
        if result == "unencodable" * 2:
            raise ModelError(406, "cannot encode")
        if result == "encode raises" * 2:
            raise ValueError("encode")
        return result.encode(), accept

    def probe(self) -> None:
        return None


class Bench:
    """A server on a thread."""

    def __init__(self, folder: Path) -> None:
        self.model = Doubler()
        self.path = str(folder / "w.sock")
        self.columns: tuple[Column, ...] = ()
        self.threads: list[tuple[Server, threading.Thread]] = []

    def serve(self, joins: Joins = Joins.EXACT, *, failed: bool = False, **options: Any) -> Server:
        told = WorkerOptions(uid="u", socket=self.path, runtime="doubler", model_dir="/", drain_quiet_s=0.05, **options)
        executor = None
        if not failed:
            log = WorkerLog("e", "v", "u")
            executor = Executor(
                self.model, joins, log, rows_max=told.rows_max, predict_overrun_ns=10**12, columns=self.columns
            )
        report = Report(state="failed" if failed else "ready", runtime="doubler", pid=1, cause="why").to_json()
        server = Server(listen(self.path), told, NONCE, report, executor, credits=told.credits)
        thread = threading.Thread(target=server.run)
        thread.start()
        self.threads.append((server, thread))
        return server

    def joined(self) -> bool:
        for _, thread in self.threads:
            thread.join(10)
        return not any(thread.is_alive() for _, thread in self.threads)

    def close(self) -> None:
        for server, thread in self.threads:
            if thread.is_alive():
                server.request_stop()
        assert self.joined()


Answers = dict[int, tuple[int, bytes]]


def answers(peer: Peer, count: int) -> Answers:
    """The next `count` answers by frame id, as (status, body)."""
    found: Answers = {}
    while len(found) < count:
        frame: Frame = peer.frame()
        found[frame.id] = (frames.number(frame.head, Tag.STATUS), bytes(frame.body))
    return found
