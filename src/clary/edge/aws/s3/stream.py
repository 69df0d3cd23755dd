"""An object on its way to a client: blocks, one read ahead on a thread while the one before is sent."""

from __future__ import annotations

import asyncio
import contextlib
import functools

from clary.kit.threads import Threads
from clary.objects.reader import Reader

BLOCK_BYTES = 1024 * 1024


class ObjectStream:
    """Asynchronous iterator of the bytes of one span of an object. Close it (`aclose`), begun or not."""

    def __init__(self, threads: Threads, reader: Reader, start: int, count: int, first: bytes) -> None:
        """`first` are the first bytes, read already."""
        self._threads = threads
        self._reader = reader
        self._offset = start + len(first)
        self._left = count - len(first)
        self._first = first
        self._ahead: asyncio.Task[bytes] | None = None

    def __aiter__(self) -> ObjectStream:
        return self

    async def __anext__(self) -> bytes:
        data, self._first = self._first, b""
        if not data:
            if self._ahead is None:
                raise StopAsyncIteration
            data, self._ahead = await self._ahead, None
            self._offset += len(data)
            self._left -= len(data)
        if self._left > 0:
            read = functools.partial(self._reader.read_at, self._offset, min(BLOCK_BYTES, self._left))
            self._ahead = asyncio.create_task(self._threads.run(read))
        return data

    def close(self) -> None:
        """Let go of an object of which nothing was sent."""
        assert self._ahead is None, "a stream that has begun is closed by aclose"
        self._reader.close()

    async def aclose(self) -> None:
        """Wait for the read that runs, then let go of the object."""
        try:
            if self._ahead is not None:
                with contextlib.suppress(OSError):
                    await self._ahead
        finally:
            self._reader.close()
