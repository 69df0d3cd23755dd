"""Requests to a model that answers whole requests (runtimes.handler): one at a time, in one part or in many.

Between two parts the server takes what arrived meanwhile, so that a client that left, a drain and a ping are noticed;
a peer that does not read makes the model wait. What a client left is closed: its generator sees GeneratorExit.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Iterator, Sequence
from typing import Callable, Optional

from clary.domain.signature import Column
from clary.replica import frames
from clary.replica.frames import Tag
from clary.runtimes.base import ModelError
from clary.runtimes.handler import Handler, Invocation, Reply, check_size
from clary.worker.executor import TEXT
from clary.worker.explain import explain
from clary.worker.link import Request
from clary.worker.report import WorkerLog

PART_BYTES_MAX = 1024 * 1024
"""A longer part travels as several."""
AHEAD_BYTES_MAX = 256 * 1024
"""Bytes that a peer has not read yet; beyond, the model waits."""
_WAIT_MS = 100
_GONE, _LATE = b"cancelled", b"timeout"


class HandlerExecutor:
    """Serves requests with one handler. One thread calls `run`; a watchdog reads `overrun_ns`."""

    def __init__(
        self,
        handler: Handler,
        log: WorkerLog,
        *,
        predict_overrun_ns: int,
        columns: Sequence[Column] = (),
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`columns`: what the artifact's sample says of a row, so that a refusal names the one at fault."""
        self._handler = handler
        self._log = log
        self._predict_overrun_ns = predict_overrun_ns
        self._columns = columns
        self._now_ns = now_ns
        self._started_ns = 0
        self.overrun_ns = 0
        """When the running request counts as hung; 0 while none runs."""

    def run(self, batch: Sequence[Request]) -> None:
        """Answer every request of a batch."""
        for request in batch:
            self._started_ns = self._now_ns()
            self.overrun_ns = request.deadline_ns + self._predict_overrun_ns
            request.link.serving[request.id] = request
            try:
                self._serve(request)
            finally:
                self.overrun_ns = 0
                del request.link.serving[request.id]
                request.link.flush()

    def _serve(self, request: Request) -> None:
        over = self._over(request)
        if over:
            self._fail(request, 0, "nobody waits for this request any more", over)
            return
        head = request.head
        if head.target_model:
            self._fail(request, 400, "this model is not a multi-model one", b"target_model")
            return
        invocation = Invocation(
            body=bytes(request.body),
            content_type=head.content_type,
            accept=head.accept,
            custom_attributes=head.custom_attributes,
            request_id=request.request_id.decode("ascii", "replace"),
            inference_id=head.inference_id,
            trace=head.trace,
        )
        try:
            reply = self._handler.handle(invocation)
            if isinstance(reply.body, bytes):
                check_size(len(reply.body))
                self._answer(request, reply, reply.body)
            elif head.stream and 200 <= reply.status < 300:
                self._stream(request, reply, reply.body)
            else:
                self._collect(request, reply, reply.body)
        except ModelError as error:
            found = explain(invocation.body, head.content_type, self._columns) if error.status != 406 else ""
            self._fail(request, error.status, f"{error.message} {found}" if found else error.message)
        except Exception as error:
            self._raised(request, error)

    def _collect(self, request: Request, reply: Reply, parts: Iterator[bytes]) -> None:
        """All parts in one answer: the client asked for no stream."""
        found: list[bytes] = []
        size = 0
        with _closing(parts):
            for part in parts:
                found.append(part)
                size += len(part)
                check_size(size)
                over = self._over_or_late(request)
                if over:
                    self._fail(request, 0, "nobody waits for this request any more", over)
                    return
        self._answer(request, reply, b"".join(found))

    def _stream(self, request: Request, reply: Reply, parts: Iterator[bytes]) -> None:
        """One CHUNK a part. What fails before the first part is an answer of its own; afterwards END tells."""
        with _closing(parts):
            part: Optional[bytes] = next(parts, b"")  # noqa: UP045 - Python 3.9
            request.link.chunk(request, self._first(reply), b"")
            try:
                while part is not None:
                    over = self._send(request, part)
                    if over:
                        self._end(request, over, b"")
                        return
                    part = next(parts, None)
            except ModelError as error:
                self._end(request, b"runtime", error.message.encode("utf-8", "replace"))
            except Exception as error:
                self._log_raised(request, error)
                self._end(request, b"runtime", f"{type(error).__name__}: {error}".encode("utf-8", "replace"))
            else:
                self._end(request, b"", b"")

    def _send(self, request: Request, part: bytes) -> bytes:
        """Write one part; why nothing more is wanted, or nothing."""
        link = request.link
        for at in range(0, len(part), PART_BYTES_MAX):
            link.chunk(request, {}, part[at : at + PART_BYTES_MAX])
            link.flush()
            while link.out_bytes > AHEAD_BYTES_MAX and not self._over(request):
                link.turn(_WAIT_MS)
            if self._over(request):
                break
        return self._over_or_late(request)

    def _over_or_late(self, request: Request) -> bytes:
        """As `_over`, after a look at what arrived meanwhile."""
        request.link.turn(0)
        return self._over(request)

    def _over(self, request: Request) -> bytes:
        """Why this request needs no answer any more, as an ERROR; empty while it does."""
        if request.cancelled or request.link.closed:
            return _GONE
        return _LATE if request.deadline_ns <= self._now_ns() else b""

    def _first(self, reply: Reply) -> dict[int, bytes]:
        """Headers of the first CHUNK."""
        head: dict[int, bytes] = {Tag.STATUS: frames.u16(reply.status)}
        if reply.content_type:
            head[Tag.CONTENT_TYPE] = reply.content_type.encode("latin-1", "replace")
        if reply.custom_attributes:
            head[Tag.CUSTOM_ATTRIBUTES] = reply.custom_attributes.encode("latin-1", "replace")
        return head

    def _end(self, request: Request, error: bytes, message: bytes) -> None:
        predict_us, queue_us, rows = self._timings(request)
        head: dict[int, bytes] = {
            Tag.PREDICT_US: frames.u32(predict_us),
            Tag.QUEUE_US: frames.u32(queue_us),
            Tag.BATCH_ROWS: frames.u32(rows),
        }
        if error:
            head[Tag.ERROR] = error
        request.link.end(request, head, message)

    def _answer(self, request: Request, reply: Reply, body: bytes) -> None:
        request.link.answer(
            request,
            reply.status,
            reply.content_type.encode("latin-1", "replace"),
            body,
            self._timings(request),
            attributes=reply.custom_attributes.encode("latin-1", "replace"),
        )

    def _timings(self, request: Request) -> tuple[int, int, int]:
        predict_us = min((self._now_ns() - self._started_ns) // 1000, 0xFFFFFFFF)
        queue_us = min(max(self._started_ns - request.arrived_ns, 0) // 1000, 0xFFFFFFFF)
        return predict_us, queue_us, 1

    def _fail(self, request: Request, status: int, message: str, error: bytes = b"") -> None:
        body = b"" if status == 204 else message.encode("utf-8", "replace")
        request.link.answer(request, status, TEXT if body else b"", body, self._timings(request), error)

    def _raised(self, request: Request, error: Exception) -> None:
        self._log_raised(request, error)
        code = b"oom" if isinstance(error, MemoryError) else b"runtime"
        self._fail(request, 500, f"{type(error).__name__}: {error}", code)

    def _log_raised(self, request: Request, error: Exception) -> None:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        self._log.write("The model raised.", "error", request.request_id.decode("ascii", "replace"), traceback=text)


@contextlib.contextmanager
def _closing(parts: Iterator[bytes]) -> Iterator[None]:
    """Close a generator that is left before its end."""
    try:
        yield
    finally:
        close = getattr(parts, "close", None)
        if close is not None:
            close()
