"""Chunked bodies (RFC 9112 section 7.1), decoded so that the first byte after the body is known exactly.

httptools would read on into the next pipelined request; a connection that may be handed over must not lose its place.
"""

from __future__ import annotations

import re

from clary.dataplane.head import Refused

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\Z").match
_LINE_BYTES_MAX = 1024
_TRAILER_BYTES_MAX = 16 * 1024


class ChunkedBody:
    """Feed bytes until `done`; then `body()` and what `feed` gave back belongs to the next request."""

    def __init__(self, body_bytes_max: int) -> None:
        self._max = body_bytes_max
        self._parts: list[bytes] = []
        self._got = 0
        self._left = 0
        """Bytes of the current chunk still to come; its CRLF is not counted."""
        self._step = "size"
        self._rest = b""
        self._trailer_bytes = 0
        self.done = False

    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self._parts)

    def feed(self, data: bytes) -> bytes:
        """Take what belongs to the body; the bytes after its end. Refused: malformed, or larger than allowed."""
        data = self._rest + data
        self._rest = b""
        at = 0
        while not self.done and at < len(data):
            if self._step == "data":
                taken = data[at : at + self._left]
                self._parts.append(taken)
                self._left -= len(taken)
                at += len(taken)
                if not self._left:
                    self._step = "end"
                continue
            stop = data.find(b"\r\n", at)
            if stop < 0:
                if len(data) - at > _LINE_BYTES_MAX:
                    raise Refused(400, "BadRequest", "A line of the chunked body is too long.")
                self._rest = data[at:]
                return b""
            self._line(data[at:stop])
            at = stop + 2
        return data[at:]

    def _line(self, line: bytes) -> None:
        if self._step == "end":
            if line:
                raise Refused(400, "BadRequest", "A chunk is longer than it said.")
            self._step = "size"
        elif self._step == "trailer":
            self._trailer_bytes += len(line)
            if self._trailer_bytes > _TRAILER_BYTES_MAX or b"\n" in line:
                raise Refused(400, "BadRequest", "The trailer is malformed or too long.")
            self.done = not line
        else:
            size = _SIZE(line)
            if not size:
                raise Refused(400, "BadRequest", "A chunk's size is not a hexadecimal number.")
            self._left = int(size[1], 16)
            self._got += self._left
            if self._got > self._max:
                raise too_large(self._max)
            self._step = "data" if self._left else "trailer"


def too_large(limit: int) -> Refused:
    """In the words of the hosted service, which sends a bare 413 without an error type (public-issue)."""
    return Refused(413, "", f"HTTP content length exceeded {limit} bytes.")
