"""The worker's loop: links in turn, everything that has arrived as one batch, answers as soon as they are done.

Blocking and single-threaded on purpose: a predict holds the core anyway, and the time of a request is spent in it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import select
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Callable, Optional, Protocol

from clary.kit.lifeline import check_peer
from clary.replica import frames
from clary.replica.frames import Kind, Tag
from clary.worker.executor import TEXT
from clary.worker.link import Link, Request
from clary.worker.options import WorkerOptions

LINKS_MAX = 256
_POLL_MS = 1000
_STOPPING_POLL_MS = 20


def listen(path: str) -> socket.socket:
    """A Unix listener that only our own user can reach; what a former process left there is replaced."""
    address = Path(path)
    if address.is_socket():
        address.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        address.chmod(0o600)
        listener.listen(LINKS_MAX)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


class Runner(Protocol):
    """What answers requests: an Executor or a HandlerExecutor."""

    def run(self, batch: Sequence[Request]) -> None:
        """Answer every request of a batch."""
        ...


class Server:
    """Serves until `request_stop`. Without an executor it says its report and refuses every request."""

    def __init__(
        self,
        listener: socket.socket,
        options: WorkerOptions,
        nonce: str,
        report: bytes,
        executor: Optional[Runner],  # noqa: UP045 - Python 3.9
        *,
        credits: int,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._listener = listener
        self._options = options
        self._nonce = nonce
        self._hello = frames.hello(options.uid, nonce, credits, report)
        self._executor = executor
        self._credits = credits
        self._now_ns = now_ns
        self._poll = select.epoll()
        self._links: dict[int, Link] = {}
        self._turn: list[Link] = []
        """Links in the order of their turns."""
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._stopping = False
        self._retiring = False
        """Every link is told to send no more."""
        self._busy_ns = 0
        """When the last request was answered."""
        for waker in (self._wake_reader, self._wake_writer):
            waker.setblocking(False)
        self._poll.register(listener.fileno(), select.EPOLLIN)
        self._poll.register(self._wake_reader.fileno(), select.EPOLLIN)

    def request_stop(self) -> None:
        """Finish what has arrived, take no more, then let `run` return. Safe in a signal handler or a thread."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._wake_writer.send(b"\0")

    def run(self) -> None:
        """Serve."""
        while not self._finished():
            batch = self._gather()
            if batch:
                self._serve(batch)
            self._turn_once(self._wait_ms())
        self._close()

    def _wait_ms(self) -> int:
        if any(link.waiting for link in self._turn):
            return 0
        return _STOPPING_POLL_MS if self._stopping else _POLL_MS

    def _turn_once(self, wait_ms: int) -> None:
        """Take what has arrived on every link, and write what could not be written before."""
        for fd, events in self._poll.poll(wait_ms / 1000):
            if fd == self._listener.fileno():
                self._accept()
            elif fd == self._wake_reader.fileno():
                with contextlib.suppress(BlockingIOError):
                    self._wake_reader.recv(64)
            else:
                self._serve_link(self._links[fd], events)
        if self._stopping and not self._retiring:
            self._retire()

    def _meanwhile(self, link: Link, wait_ms: int) -> None:
        """A turn while a request of `link` is being answered: nothing is served, everything is taken."""
        if not link.closed:
            self._settle(link)
        self._turn_once(wait_ms)

    def _serve_link(self, link: Link, events: int) -> None:
        if events & select.EPOLLOUT:
            link.flush()
        if events & ~select.EPOLLOUT:
            link.receive()
            if link.others:
                self._others(link)
        self._settle(link)

    def _settle(self, link: Link) -> None:
        """Close a link that is done; wait for room on one that has bytes left to write."""
        idle = link.draining and not link.waiting and not link.pending and not link.serving
        if link.closed or idle:
            self._drop(link)
            return
        if link.pending != link.waits_to_write:
            link.waits_to_write = link.pending
            self._poll.modify(link.socket.fileno(), select.EPOLLIN | (select.EPOLLOUT if link.pending else 0))

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ECONNABORTED):
                    return
                raise
            peer.setblocking(False)
            try:
                check_peer(peer)
            except OSError:
                peer.close()
                continue
            if len(self._links) >= LINKS_MAX:
                peer.close()
                continue
            link = Link(peer, self._now_ns, int(self._options.predict_s * 1e9))
            link.turn = functools.partial(self._meanwhile, link)
            self._links[peer.fileno()] = link
            self._turn.append(link)
            self._poll.register(peer.fileno(), select.EPOLLIN)

    def _others(self, link: Link) -> None:
        """Frames that are not requests."""
        frames_, link.others = link.others, []
        for frame in frames_:
            if frame.kind is Kind.HELLO:
                link.send(self._hello)
                if self._retiring:
                    link.send(frames.encode(Kind.DRAIN, 0, {}))
            elif frame.kind is Kind.PING:
                link.send(frames.encode(Kind.PING, frame.id, {}))
            elif frame.kind is Kind.CANCEL:
                link.cancel(frame.id)
            elif frame.kind is Kind.DRAIN:
                # With our own nonce it is placement's: the whole replica is to be drained, not that link alone.
                if frame.head.get(Tag.NONCE) == self._nonce.encode():
                    self._retire()
                else:
                    link.draining = True
        link.flush()

    def _retire(self) -> None:
        self._retiring = True
        self._busy_ns = self._now_ns()
        for link in self._links.values():
            if link.greeted:
                link.send(frames.encode(Kind.DRAIN, 0, {}))
                link.flush()

    def _gather(self) -> list[Request]:
        """What has arrived, one request a link in turn, bounded by count and bytes."""
        waiting = [link for link in self._turn if link.waiting]
        if not waiting:
            return []
        batch: list[Request] = []
        bytes_left = self._options.batch_bytes_max
        while waiting and len(batch) < self._credits:
            for link in waiting:
                request = link.waiting[0]
                bytes_left -= len(request.body)
                if (bytes_left < 0 and batch) or len(batch) >= self._credits:
                    return batch
                batch.append(link.waiting.popleft())
            waiting = [link for link in waiting if link.waiting]
        if len(self._turn) > 1:
            self._turn.append(self._turn.pop(0))
        return batch

    def _serve(self, batch: list[Request]) -> None:
        if self._executor is not None:
            self._executor.run(batch)
        else:
            for request in batch:
                request.link.answer(request, 503, TEXT, b"the model could not be loaded", (0, 0, 0), b"failed")
                request.link.flush()
        self._busy_ns = self._now_ns()
        for link in {request.link for request in batch}:
            if link.pending or link.closed or link.draining:
                self._settle(link)

    def _finished(self) -> bool:
        """When stopping: every link is gone or drained, or quiet for long enough."""
        if not (self._stopping and self._retiring):
            return False
        if any(link.waiting or link.pending for link in self._links.values()):
            return False
        quiet_ns = self._now_ns() - self._busy_ns
        return not self._links or quiet_ns > self._options.drain_quiet_s * 1e9

    def _drop(self, link: Link) -> None:
        fd = link.socket.fileno()
        if self._links.pop(fd, None) is not None:
            self._poll.unregister(fd)
            self._turn.remove(link)
            link.waiting.clear()
            link.socket.close()

    def _close(self) -> None:
        for link in list(self._links.values()):
            self._drop(link)
        for closing in (self._listener, self._wake_reader, self._wake_writer, self._poll):
            closing.close()
