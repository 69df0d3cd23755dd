"""One question to one replica, over a link of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clary.kit.backoff import Backoff
from clary.kit.clock import Clock
from clary.replica import frames
from clary.replica.client import ReplicaLink, Report
from clary.replica.frames import Frame, Kind, Tag

_RECONNECT = Backoff(first_s=0.01, factor=1.5, max_s=0.1)
_REQUEST = 1


@dataclass(frozen=True)
class Reply:
    """What a replica said."""

    report: Mapping[str, Any]
    """Of its load: `state` is `ready` or `failed`, with `cause` and `remedy`."""
    status: int = 0
    """HTTP status of its answer; 0 where nothing was asked or it gave none."""
    content_type: str = ""
    body: bytes = b""


class _Asker:
    """The user of the link: asks as soon as the replica is ready, and once."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.link: ReplicaLink | None = None
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._report: Mapping[str, Any] = {}

    def link_up(self, report: Report, credits: int) -> None:  # noqa: ARG002 - one request is all
        self._report = report
        if report.get("state") != "ready" or not self._request:
            self._end(Reply(report))
        elif self.link is not None:
            self.link.send(self._request)

    def link_answer(self, frame_id: int, head: bytes, body: bytes) -> None:  # noqa: ARG002 - there is only one
        tlvs = frames.decode_head(head)
        status = frames.number(tlvs, Tag.STATUS, 500)
        self._end(Reply(self._report, status, frames.text(tlvs, Tag.CONTENT_TYPE), bytes(body)))

    def link_frame(self, frame: Frame) -> None:
        """A replica that drains says so; the answer still comes."""

    def link_read(self) -> None:
        """Nothing else to send."""

    def link_down(self, cause: str) -> None:
        if self._report:
            failed = {
                "state": "failed",
                "cause": f"Its process ended ({cause}).",
                "remedy": "See its log (clary logs).",
            }
            self._end(Reply({**self._report, **failed}))

    def _end(self, reply: Reply) -> None:
        if not self.reply.done():
            self.reply.set_result(reply)


async def ask(clock: Clock, address: str, body: bytes, content_type: str, timeout_s: float) -> Reply:
    """Wait until the replica at `address` is loaded, ask it `body` unless that is empty; TimeoutError."""
    request = b""
    if body:
        head: dict[int, bytes] = {
            Tag.CONTENT_TYPE: content_type.encode("latin-1", "replace"),
            Tag.REQUEST_ID: b"0" * 36,
            Tag.DEADLINE_MS: frames.u32(round(timeout_s * 1000)),
        }
        request = frames.encode(Kind.REQUEST, _REQUEST, head, len(body)) + body
    asker = _Asker(request)
    link = ReplicaLink(address, asker, clock, name="trial", nonce="trial", reconnect=_RECONNECT)
    asker.link = link
    running = asyncio.create_task(link.run(), name="trial link")
    try:
        async with asyncio.timeout(timeout_s):
            return await asker.reply
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
