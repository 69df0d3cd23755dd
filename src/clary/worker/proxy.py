"""The worker of a server of one's own: frames in, HTTP out, and back. Its command does the predicting.

Routers and placement see a replica as any other: it listens at once, says HELLO once the command is healthy (or could
not be made so), takes many requests at a time, drains when asked to stop. When the command ends or hangs, so does the
worker, and the agent starts both anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct
import time
from typing import Optional

from clary.kit.lifeline import check_peer
from clary.replica import frames
from clary.replica.frames import Frame, FrameError, Kind, Tag
from clary.replica.http import Answer, HttpError
from clary.worker.command import Command, NotServing
from clary.worker.options import ServerOptions, WorkerOptions
from clary.worker.report import Report, WorkerLog

CREDITS = 64
"""Requests that a router may have outstanding here: what a server does at a time is its own business."""
EXIT_LOST = 70
"""Exit status of a worker whose command ended or hung (EX_SOFTWARE)."""
_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
_TEXT = b"text/plain; charset=utf-8"
_PREFIX = struct.Struct(">IBQH")
_LOST = b"lost"
_LOOK_S = 0.05


def run(options: WorkerOptions, server: ServerOptions, listener: socket.socket, nonce: str, log: WorkerLog) -> None:
    """Serve until asked to stop."""

    async def serve() -> None:  # made within the loop: Python 3.9 binds events to the loop that is current
        await Proxy(options, server, nonce, log).run(listener)

    asyncio.run(serve())


class _Link:
    """A peer: what it asked for and what is on its way back."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.greeted = False


class Proxy:
    """The links and the command behind them."""

    def __init__(self, options: WorkerOptions, server: ServerOptions, nonce: str, log: WorkerLog) -> None:
        self._options = options
        self._server = server
        self._nonce = nonce
        self._log = log
        self._command = Command(options, server, log)
        self._report: Optional[Report] = None  # noqa: UP045 - Python 3.9
        self._decided = asyncio.Event()
        self._stop = asyncio.Event()
        self._retiring = False
        self._moved = asyncio.Event()
        """A request ended, or a link did."""
        self._links: set[_Link] = set()
        self._busy_s = time.monotonic()

    async def run(self, listener: socket.socket) -> None:
        """Until asked to stop; ends the process where the command is lost."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        door = await asyncio.start_unix_server(self._link, sock=listener, limit=frames.FRAME_BYTES_MAX)
        starting = asyncio.ensure_future(self._start())
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done() and starting.result():
                lost = asyncio.ensure_future(self._command.watch())
                await asyncio.wait({lost, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if lost.done() and not stopping.done():
                    self._give_up(lost.result())
                lost.cancel()
            await stopping
            await self._drain()
        finally:
            starting.cancel()
            door.close()
            await self._command.stop()

    async def _start(self) -> bool:
        """Bring the command up and decide what this replica says of itself; whether it serves."""
        started_s = time.monotonic()
        try:
            await self._command.start()
        except NotServing as error:
            self._log.write("The server cannot serve.", "error", cause=error.cause, remedy=error.remedy)
            self._report = Report("failed", self._options.runtime, os.getpid(), error.cause, error.remedy)
            await self._command.stop()
        else:
            load_ms = round((time.monotonic() - started_s) * 1000)
            self._log.write("The server is ready.", load_ms=load_ms)
            self._report = Report("ready", self._options.runtime, os.getpid(), load_ms=load_ms)
        self._decided.set()
        return self._report.state == "ready"

    def _give_up(self, why: str) -> None:
        self._log.write(f"{why} The worker ends.", "error", status=EXIT_LOST)
        os._exit(EXIT_LOST)  # the agent ends what is left of the process group, and starts the worker anew

    async def _drain(self) -> None:
        """Tell every link, then wait until nothing more comes."""
        self._retire()
        while not self._quiet():
            self._moved.clear()
            await _moved_or(self._moved, _LOOK_S)
        for link in list(self._links):
            link.writer.close()

    def _quiet(self) -> bool:
        """Nothing is under way, and nothing came for so long that nothing is on its way."""
        if any(link.tasks for link in self._links):
            return False
        return not self._links or time.monotonic() - self._busy_s > self._options.drain_quiet_s

    def _retire(self) -> None:
        self._retiring = True
        self._busy_s = time.monotonic()
        for link in self._links:
            if link.greeted:
                link.writer.write(frames.encode(Kind.DRAIN, 0, {}))

    # Links

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(reader, writer)
        self._links.add(link)
        try:
            check_peer(writer.get_extra_info("socket"))
            while True:
                await self._frame(link, await _read(reader))
        except (OSError, EOFError, FrameError, ValueError):
            pass  # the peer is gone, or speaks something else
        finally:
            for task in link.tasks.values():
                task.cancel()
            self._links.discard(link)
            self._moved.set()
            writer.close()

    async def _frame(self, link: _Link, frame: Frame) -> None:
        if frame.kind is Kind.HELLO:
            frames.check_hello(frame)
            await self._decided.wait()
            assert self._report is not None, "decided"
            link.writer.write(frames.hello(self._options.uid, self._nonce, CREDITS, self._report.to_json()))
            link.greeted = True
            if self._retiring:
                link.writer.write(frames.encode(Kind.DRAIN, 0, {}))
        elif frame.kind is Kind.REQUEST:
            self._take(link, frame)
        elif frame.kind is Kind.CANCEL:
            if frame.id in link.tasks:
                link.tasks[frame.id].cancel()
        elif frame.kind is Kind.PING:
            link.writer.write(frames.encode(Kind.PING, frame.id, {}))
        elif frame.kind is Kind.DRAIN and frame.head.get(Tag.NONCE) == self._nonce.encode():
            self._retire()

    # Requests

    def _take(self, link: _Link, frame: Frame) -> None:
        reply = _Reply(link, frame)
        task = link.tasks[frame.id] = asyncio.ensure_future(self._serve(frame, reply))

        def ended(task: asyncio.Task[None]) -> None:
            link.tasks.pop(frame.id, None)
            if task.cancelled():  # perhaps before its first step, where no handler of its own would run
                reply.fail(0, "nobody waits for this request any more", b"cancelled")
            elif task.exception() is not None:
                self._log.write("A request failed inside the worker.", "error", cause=repr(task.exception()))
                reply.fail(500, "the worker failed; its log says why", b"runtime")
            self._busy_s = time.monotonic()
            self._moved.set()

        task.add_done_callback(ended)

    async def _serve(self, frame: Frame, reply: _Reply) -> None:
        left_ms = frames.number(frame.head, Tag.DEADLINE_MS, round(self._options.predict_s * 1000))
        try:
            if self._report is None or self._report.state != "ready":
                reply.fail(503, "the server could not be started", b"failed")
            elif frame.head.get(Tag.TARGET_MODEL):
                reply.fail(400, "this model is not a multi-model one", b"target_model")
            else:
                await asyncio.wait_for(self._ask(frame, reply), left_ms / 1000)
        except (asyncio.TimeoutError, TimeoutError):
            reply.fail(0, "the server did not answer in time", b"timeout")
        except HttpError as error:
            self._log.write("A request failed.", "error", frames.text(frame.head, Tag.REQUEST_ID), cause=str(error))
            reply.fail(0, f"The server behind this endpoint failed: {error}", _LOST)

    async def _ask(self, frame: Frame, reply: _Reply) -> None:
        named = ((Tag.CONTENT_TYPE, "Content-Type"), (Tag.ACCEPT, "Accept"))
        headers = {name: frames.text(frame.head, tag) for tag, name in named if frame.head.get(tag)}
        if frame.head.get(Tag.CUSTOM_ATTRIBUTES):
            headers["X-Amzn-SageMaker-Custom-Attributes"] = frames.text(frame.head, Tag.CUSTOM_ATTRIBUTES)
        headers.update(frames.trace_headers(frame.head))
        answer = await self._command.http.ask("POST", self._server.route, headers, bytes(frame.body))
        if Tag.STREAM in frame.head:
            await reply.stream(answer)
        else:
            await reply.whole(answer)


class _Reply:
    """What goes back for one request."""

    def __init__(self, link: _Link, frame: Frame) -> None:
        self._link = link
        self._frame = frame
        self._started_ns = time.monotonic_ns()
        self._begun = False

    async def whole(self, answer: Answer) -> None:
        """One RESPONSE."""
        body = b"".join([part async for part in answer.parts])
        head = {**_head(answer.status), **self._timings(), **_described(answer)}
        self._write(frames.encode(Kind.RESPONSE, self._frame.id, head, len(body)) + body)
        await self._link.writer.drain()

    async def stream(self, answer: Answer) -> None:
        """A CHUNK for each part, END at the end; the peer's pace is the server's."""
        head = {**_head(answer.status), **_described(answer)}
        self._write(frames.encode(Kind.CHUNK, self._frame.id, head))
        self._begun = True
        try:
            async for part in answer.parts:
                self._write(frames.encode(Kind.CHUNK, self._frame.id, {}, len(part)) + part)
                await self._link.writer.drain()
        finally:
            await answer.parts.aclose()
        self._write(frames.encode(Kind.END, self._frame.id, self._timings()))

    def fail(self, status: int, message: str, error: bytes) -> None:
        """An answer that is an error; of a stream that began, its end."""
        body = message.encode("utf-8", "replace")
        if self._begun:
            head = {**self._timings(), Tag.ERROR: error if error == b"timeout" else b"runtime"}
            self._write(frames.encode(Kind.END, self._frame.id, head, len(body)) + body)
            return
        streamed = Tag.STREAM in self._frame.head
        head = {**_head(status), **self._timings(), Tag.CONTENT_TYPE: _TEXT, Tag.ERROR: error}
        kind = Kind.CHUNK if streamed else Kind.RESPONSE
        self._write(frames.encode(kind, self._frame.id, head, len(body)) + body)
        if streamed:
            self._write(frames.encode(Kind.END, self._frame.id, {}))

    def _timings(self) -> dict[int, bytes]:
        spent_us = (time.monotonic_ns() - self._started_ns) // 1000
        return {Tag.PREDICT_US: frames.u32(spent_us), Tag.QUEUE_US: frames.u32(0), Tag.BATCH_ROWS: frames.u32(1)}

    def _write(self, data: bytes) -> None:
        if not self._link.writer.is_closing():
            self._link.writer.write(data)


def _head(status: int) -> dict[int, bytes]:
    return {Tag.STATUS: frames.u16(status)}


def _described(answer: Answer) -> dict[int, bytes]:
    """Content type and custom attributes of an answer."""
    named = ((Tag.CONTENT_TYPE, "content-type"), (Tag.CUSTOM_ATTRIBUTES, _ATTRIBUTES))
    return {tag: answer.headers[name].encode("latin-1", "replace") for tag, name in named if answer.headers.get(name)}


async def _moved_or(moved: asyncio.Event, most_s: float) -> None:
    with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
        await asyncio.wait_for(moved.wait(), most_s)


async def _read(reader: asyncio.StreamReader) -> Frame:
    """The next frame; EOFError at the end, FrameError for nonsense."""
    prefix = await reader.readexactly(frames.PREFIX_BYTES)
    length, kind, frame_id, head_bytes = _PREFIX.unpack(prefix)
    if not 11 + head_bytes <= length <= frames.FRAME_BYTES_MAX:
        raise FrameError(f"a frame of {length} bytes with a header of {head_bytes} is impossible")
    rest = await reader.readexactly(length - 11)
    return Frame(Kind(kind), frame_id, frames.decode_head(rest[:head_bytes]), rest[head_bytes:])
