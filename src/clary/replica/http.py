"""A client of one HTTP server on this machine: HTTP/1.1, connections kept, no dependency.

It speaks to a command that serves models itself (`/ping`, `/invocations`). Limits are on everything that the server
sends: it is somebody's program.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Optional

HEAD_BYTES_MAX = 64 * 1024
BODY_BYTES_MAX = 64 * 1024 * 1024
IDLE_MAX = 64
"""Connections kept open without a request."""
_PART_BYTES = 64 * 1024


class HttpError(Exception):
    """The server cannot be reached, went away, or does not speak HTTP; the text says which."""


@dataclass(frozen=True)
class Answer:
    """The head of an answer, and its body as it comes."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name; of a repeated one the last."""
    parts: AsyncGenerator[bytes, None]
    """Raises HttpError where the body breaks off or is too long. Must be read to its end, or closed."""


class HttpReplica:
    """Requests to one address. Many at once; each has a connection to itself."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._idle: list[_Connection] = []

    async def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] = {},
        body: Optional[bytes] = None,  # noqa: UP045
    ) -> Answer:
        """Send one request; its answer's head. Raises HttpError.

        A kept connection that the server closed meanwhile, without a byte of an answer, is replaced once: servers
        close idle connections at any moment.
        """
        while self._idle:
            connection = self._idle.pop()
            if connection.closed:
                connection.close()
                continue
            try:
                return await self._on(connection, method, path, headers, body)
            except _NothingCame:
                break
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port, limit=HEAD_BYTES_MAX)
        except OSError as error:
            raise HttpError(f"no connection to port {self._port}: {error.strerror or error}") from None
        try:
            return await self._on(_Connection(reader, writer), method, path, headers, body)
        except _NothingCame:
            raise HttpError("the server closed the connection without an answer") from None

    def close(self) -> None:
        """Close what is kept."""
        while self._idle:
            self._idle.pop().close()

    async def _on(
        self,
        connection: _Connection,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Optional[bytes],  # noqa: UP045
    ) -> Answer:
        try:
            connection.send(method, path, f"{self._host}:{self._port}", headers, body)
            status, given = await connection.head()
        except BaseException:
            connection.close()
            raise
        return Answer(status, given, self._body(connection, method, status, given))

    async def _body(
        self, connection: _Connection, method: str, status: int, headers: Mapping[str, str]
    ) -> AsyncGenerator[bytes, None]:
        whole = False
        try:
            size = 0
            async for part in connection.body(method, status, headers):
                size += len(part)
                if size > BODY_BYTES_MAX:
                    raise HttpError(f"the answer is longer than {BODY_BYTES_MAX} bytes")
                yield part
            whole = True
        finally:
            if whole and connection.keeps(headers) and len(self._idle) < IDLE_MAX:
                self._idle.append(connection)
            else:
                connection.close()


class _NothingCame(Exception):  # noqa: N818 - a fact
    """The connection ended before the first byte of an answer."""


class _Connection:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._until_close = False

    @property
    def closed(self) -> bool:
        return self._reader.at_eof() or self._writer.is_closing()

    def close(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.close()

    def keeps(self, headers: Mapping[str, str]) -> bool:
        """Whether the server leaves it open."""
        return not self._until_close and headers.get("connection", "").lower() != "close" and not self.closed

    def send(self, method: str, path: str, host: str, headers: Mapping[str, str], body: Optional[bytes]) -> None:  # noqa: UP045
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name}: {_one_line(value)}" for name, value in headers.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self._writer.write("\r\n".join([*lines, "", ""]).encode("latin-1", "replace"))
        if body:
            self._writer.write(body)

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the final answer; 1xx are passed over."""
        while True:
            raw = await self._lines()
            first, *rest = raw.decode("latin-1").split("\r\n")
            version, _, code = first.partition(" ")
            if not version.startswith("HTTP/1.") or not (code[:3].isascii() and code[:3].isdigit()):
                raise HttpError(f"the server does not speak HTTP/1.1: it says {first[:80]!r}")
            if version == "HTTP/1.0":
                self._until_close = True
            headers = {}
            for line in rest:
                name, colon, value = line.partition(":")
                if colon:
                    headers[name.strip().lower()] = value.strip()
            if int(code[:3]) >= 200:
                return int(code[:3]), headers

    async def _lines(self) -> bytes:
        try:
            return (await self._reader.readuntil(b"\r\n\r\n"))[:-4]
        except asyncio.IncompleteReadError as error:
            if not error.partial:
                raise _NothingCame from None
            raise HttpError("the answer broke off in its head") from None
        except asyncio.LimitOverrunError:
            raise HttpError(f"the head of the answer is longer than {HEAD_BYTES_MAX} bytes") from None
        except OSError:
            raise _NothingCame from None

    async def body(self, method: str, status: int, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
        """The parts of a body."""
        try:
            if method == "HEAD" or status in (204, 304):
                return
            if headers.get("transfer-encoding", "").lower() == "chunked":
                async for part in self._chunks():
                    yield part
            elif "content-length" in headers:
                left = _length(headers["content-length"])
                while left:
                    part = await self._reader.read(min(left, _PART_BYTES))
                    if not part:
                        raise HttpError("the answer broke off in its body")
                    left -= len(part)
                    yield part
            else:
                self._until_close = True
                while part := await self._reader.read(_PART_BYTES):
                    yield part
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            raise HttpError("the answer broke off in its body") from None

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            line = (await self._reader.readuntil(b"\r\n")).split(b";")[0].strip()
            try:
                size = int(line, 16)
            except ValueError:
                raise HttpError(f"the server sent {line[:40]!r} where a chunk's length belongs") from None
            if not 0 <= size <= BODY_BYTES_MAX:
                raise HttpError(f"a chunk of {size} bytes")
            if size == 0:
                while await self._reader.readuntil(b"\r\n") != b"\r\n":
                    pass
                return
            for_now = size
            while for_now:
                part = await self._reader.read(min(for_now, _PART_BYTES))
                if not part:
                    raise HttpError("the answer broke off in its body")
                for_now -= len(part)
                yield part
            await self._reader.readexactly(2)


def _length(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise HttpError(f"the server sent {text[:40]!r} as Content-Length")
    return int(text)


def _one_line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ")
