"""Heads that are too long or too slow, after the first of a connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from clary.edge.patience import HeadLimits, PatientHttp

WHOLE = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
BEGUN = b"GET / HTTP/1.1\r\nHost: a\r\n"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@contextlib.asynccontextmanager
async def connected(limits: HeadLimits) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client whose first request was answered."""
    config = uvicorn.Config(app, http="httptools", lifespan="off", log_config=None, access_log=False)
    config.load()
    state = uvicorn.Server(config).server_state
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: PatientHttp(config=config, server_state=state, app_state={}, limits=limits), "127.0.0.1", 0
    )
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        writer.write(WHOLE)
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("before", [b"", WHOLE])
async def test_a_slow_head_ends_its_connection(before: bytes) -> None:
    async with connected(HeadLimits(head_s=0.05)) as (reader, writer):
        writer.write(before + BEGUN)
        assert b"HTTP/1.1 408 " in await asyncio.wait_for(reader.read(), 10)


async def test_a_head_that_begins_where_a_slow_one_ends_has_its_own_time() -> None:
    async with connected(HeadLimits(head_s=0.05)) as (reader, writer):
        writer.write(BEGUN)
        await writer.drain()
        await asyncio.sleep(0)
        writer.write(b"\r\n" + BEGUN)
        assert b"HTTP/1.1 408 " in await asyncio.wait_for(reader.read(), 10)


@pytest.mark.parametrize("line", [b"X: " + b"y" * 1000 + b"\r\n", b"y" * 1000])
async def test_a_head_without_end_is_cut_off(line: bytes) -> None:
    async with connected(HeadLimits(head_bytes_max=10_000)) as (reader, writer):
        writer.write(BEGUN + b"X: ")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 50_000_000 and not reader.at_eof():
                writer.write(line)
                await writer.drain()
                await asyncio.sleep(0)
                sent += len(line)
            assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 431 ")
        assert sent < 5_000_000


async def test_heads_within_the_limits_are_answered_however_they_come() -> None:
    async with connected(HeadLimits(head_bytes_max=200, head_s=60)) as (reader, writer):
        for at in range(len(WHOLE)):
            writer.write(WHOLE[at : at + 1])
            await writer.drain()
        assert (await asyncio.wait_for(reader.readuntil(b"ok"), 10)).startswith(b"HTTP/1.1 200")
        body = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100000
        writer.write(body + WHOLE * 3)
        for _ in range(4):
            assert (await asyncio.wait_for(reader.readuntil(b"ok"), 10)).startswith(b"HTTP/1.1 200")
