"""Requests in, answers out: decode each by itself, join equal ones, ONE predict, split, encode each.

A request's fault is its own: it is answered with its error while the others go on; where a joined predict raises, its
members are tried singly. Whatever a model raises becomes an answer, never the end of the process.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Hashable, Sequence
from typing import Callable, NamedTuple

from clary.domain.signature import Column
from clary.runtimes.base import Input, Joins, Model, ModelError
from clary.worker.explain import explain
from clary.worker.link import Link, Request
from clary.worker.report import WorkerLog

FLUSH_NS = 250_000
"""An answer that is done waits at most so long for its neighbours in the same batch: one write for many."""
TEXT = b"text/plain; charset=utf-8"


class Part(NamedTuple):
    """A request with its decoded input and the type that will be answered."""

    request: Request
    input: Input
    accept: str


class Executor:
    """Serves batches with one model. One thread calls `run`; a watchdog reads `overrun_ns`."""

    def __init__(
        self,
        model: Model,
        joins: Joins,
        log: WorkerLog,
        *,
        rows_max: int,
        predict_overrun_ns: int,
        columns: Sequence[Column] = (),
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`columns`: what a row is made of, so that a refusal names the one at fault."""
        self._model = model
        self._joins = joins is Joins.EXACT
        self._log = log
        self._rows_max = rows_max
        self._predict_overrun_ns = predict_overrun_ns
        self._columns = columns
        self._now_ns = now_ns
        self._content_types: dict[str, bytes] = {}
        self._started_ns = 0
        self._flushed_ns = 0
        self._unflushed: set[Link] = set()
        self.overrun_ns = 0
        """When the running predict counts as hung; 0 while none runs."""

    def run(self, batch: Sequence[Request]) -> None:
        """Answer every request of a batch."""
        self._started_ns = self._flushed_ns = self._now_ns()
        self.overrun_ns = max(request.deadline_ns for request in batch) + self._predict_overrun_ns
        try:
            for group in self._groups(batch):
                self._predict(group)
        finally:
            self.overrun_ns = 0
            self._flush()

    def _groups(self, batch: Sequence[Request]) -> list[list[Part]]:
        """Requests that go into one predict; those that cannot be decoded are answered here."""
        groups: list[list[Part]] = []
        open_groups: dict[Hashable, tuple[list[Part], int]] = {}
        for request in batch:
            part = self._decode(request)
            if part is None:
                continue
            if not self._joins or request.head.alone:
                groups.append([part])
                continue
            rows = part.input.rows
            group, before = open_groups.get(part.input.key, (None, 0))
            if group is None or before + rows > self._rows_max:
                group, before = [], 0
                groups.append(group)
            group.append(part)
            open_groups[part.input.key] = (group, before + rows)
        return groups

    def _decode(self, request: Request) -> Part | None:
        if request.cancelled:
            self._fail(request, 0, "cancelled", b"cancelled")
            return None
        if request.deadline_ns <= self._now_ns():
            self._fail(request, 0, "the deadline was past before the predict began", b"timeout")
            return None
        head = request.head
        if head.target_model:
            self._fail(request, 400, "this model is not a multi-model one", b"target_model")
            return None
        try:
            data = self._model.decode(request.body, head.content_type)
            return Part(request, data, self._model.check_accept(head.accept))
        except ModelError as error:
            self._refuse(request, error)
        except Exception as error:
            self._raised(request, error)
        return None

    def _predict(self, group: list[Part]) -> None:
        if not self._joins or len(group) == 1:
            part = group[0]
            if part.request.deadline_ns <= self._now_ns():
                self._fail(part.request, 0, "the deadline was past before the predict began", b"timeout")
                return
        try:
            results = self._model.predict([part.input for part in group])
            _check_count(len(results), len(group))
        except Exception as error:
            if len(group) > 1:
                for part in group:
                    self._predict([part])
            elif isinstance(error, ModelError):
                self._refuse(group[0].request, error)
            else:
                self._raised(group[0].request, error)
            return
        rows = sum(part.input.rows for part in group)
        for part, result in zip(group, results):
            self._encode(part, result, rows)

    def _encode(self, part: Part, result: object, rows: int) -> None:
        try:
            body, content_type = self._model.encode(result, part.accept)
        except ModelError as error:
            self._fail(part.request, error.status, error.message)
            return
        except Exception as error:
            self._raised(part.request, error)
            return
        raw_type = self._content_types.get(content_type)
        if raw_type is None:
            raw_type = content_type.encode("latin-1", "replace")
            if len(self._content_types) < 64:
                self._content_types[content_type] = raw_type
        self._answer(part.request, 200, raw_type, body, rows)

    def _answer(
        self, request: Request, status: int, content_type: bytes, body: bytes, rows: int, error: bytes = b""
    ) -> None:
        now_ns = self._now_ns()
        predict_us = min((now_ns - self._started_ns) // 1000, 0xFFFFFFFF)
        queue_us = min(max(self._started_ns - request.arrived_ns, 0) // 1000, 0xFFFFFFFF)
        request.link.answer(request, status, content_type, body, (predict_us, queue_us, rows), error)
        self._unflushed.add(request.link)
        if now_ns - self._flushed_ns > FLUSH_NS:
            self._flush()
            self._flushed_ns = now_ns

    def _flush(self) -> None:
        for link in self._unflushed:
            link.flush()
        self._unflushed.clear()

    def _refuse(self, request: Request, error: ModelError) -> None:
        """The model's own words, then the column at fault where the signature tells it."""
        found = ""
        if error.status in (400, 415, 422):
            found = explain(bytes(request.body), request.head.content_type, self._columns)
        joint = "" if not found or error.message.endswith((".", "!", "?")) else "."
        self._fail(request, error.status, f"{error.message}{joint} {found}" if found else error.message)

    def _fail(self, request: Request, status: int, message: str, error: bytes = b"") -> None:
        body = b"" if status == 204 else message.encode("utf-8", "replace")
        self._answer(request, status, TEXT if body else b"", body, 0, error)

    def _raised(self, request: Request, error: Exception) -> None:
        request_id = request.request_id.decode("ascii", "replace")
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        self._log.write("The model raised.", "error", request_id, traceback=text)
        code = b"oom" if isinstance(error, MemoryError) else b"runtime"
        found = explain(bytes(request.body), request.head.content_type, self._columns)
        self._fail(request, 500, f"{type(error).__name__}: {error}" + (f". {found}" if found else ""), code)


def _check_count(results: int, inputs: int) -> None:
    if results != inputs:
        raise ModelError(500, f"the runtime gave {results} results for {inputs} inputs")
