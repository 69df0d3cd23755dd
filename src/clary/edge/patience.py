"""Control's HTTP with limits on heads: uvicorn's protocol has none, and a router looks at no head but the first.

What a router hands over has a head within the same limits already (dataplane.limits); this holds the heads that follow.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


@dataclass(frozen=True)
class HeadLimits:
    """Limits on one request head."""

    head_bytes_max: int = 65_536
    """As dataplane.limits. What comes in one read (at most 256 KiB) is parsed before it is counted."""
    head_s: float = 10.0
    """Seconds from its first byte to its last."""


class PatientHttp(HttpToolsProtocol):
    """One connection. A head that is too long or too slow ends it: 431 or 408, where no answer is still on its way."""

    def __init__(self, *, limits: HeadLimits = HeadLimits(), **given: Any) -> None:
        super().__init__(**given)
        self._limits = limits
        self._open = False
        """Whether a head has begun and not ended."""
        self._new = False
        """Whether it began in this read."""
        self._head_bytes = 0
        self._late: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        self._new = False
        super().data_received(data)
        if not self._open or self.transport.is_closing():
            return
        if self._new:
            self._head_bytes = 0
            self._late = self.loop.call_later(self._limits.head_s, self._end, b"408 Request Timeout")
        else:
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.head_bytes_max:
                self._end(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        self._open = self._new = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._open = False
        self._forget_timer()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_timer()
        super().connection_lost(exc)

    def _forget_timer(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _end(self, status: bytes) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(b"HTTP/1.1 %s\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % status)
        self.transport.close()
