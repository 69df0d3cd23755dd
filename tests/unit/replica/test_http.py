"""The client of one HTTP server: bodies of every kind, kept connections, and servers that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from clary.replica.http import HttpError, HttpReplica

Script = Callable[[int, int], "bytes | None"]
"""(connection, request on it) -> what to send, None to close without a word."""


@asynccontextmanager
async def scripted(script: Script, *, close_after: bool = False) -> AsyncIterator[tuple[HttpReplica, list[bytes]]]:
    heads: list[bytes] = []
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        mine, connections, request = connections, connections + 1, 0
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                for line in head.decode().lower().split("\r\n"):
                    if line.startswith("content-length:"):
                        head += await reader.readexactly(int(line[15:]))
                heads.append(head)
                said = script(mine, request)
                request += 1
                if said is None:
                    break
                writer.write(said)
                await writer.drain()
                if close_after:
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = HttpReplica("127.0.0.1", server.sockets[0].getsockname()[1])
    try:
        yield client, heads
    finally:
        client.close()
        server.close()


async def ask(client: HttpReplica, body: bytes = b"b") -> tuple[int, bytes]:
    answer = await client.ask("POST", "/invocations", {"Accept": "text/csv"}, body)
    return answer.status, b"".join([part async for part in answer.parts])


@pytest.mark.parametrize(
    ("said", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200, b"abc"),
        (b"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n", 200, b""),
        (b"HTTP/1.1 204 No\r\n\r\n", 204, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 418 T\r\nContent-Length: 1\r\n\r\nx", 418, b"x"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nT: 1\r\n\r\n",
            200,
            b"abc",
        ),
    ],
)
async def test_bodies_of_every_kind_and_one_connection_for_many(said: bytes, status: int, body: bytes) -> None:
    async with scripted(lambda connection, _: said if connection == 0 else None) as (client, heads):
        for _ in range(3):
            assert await ask(client) == (status, body)
        assert heads[0].startswith(b"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1:")
        assert heads[0].endswith(b"Accept: text/csv\r\nContent-Length: 1\r\n\r\nb")


async def test_a_body_without_a_length_ends_with_the_connection() -> None:
    async with scripted(lambda _, __: b"HTTP/1.0 200 OK\r\n\r\nabc", close_after=True) as (client, _):
        assert [await ask(client), await ask(client)] == [(200, b"abc")] * 2


async def test_a_kept_connection_that_was_closed_meanwhile_is_replaced_once() -> None:
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"
    async with scripted(lambda connection, request: good if request == 0 else None) as (client, heads):
        assert [await ask(client), await ask(client)] == [(200, b"x")] * 2
        assert len(heads) >= 2
    async with scripted(lambda _, __: None) as (client, heads):
        with pytest.raises(HttpError, match="closed the connection without an answer"):
            await ask(client)
        assert len(heads) == 1


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"SSH-2.0-x\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "broke off in its body"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "as Content-Length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "a chunk's length belongs"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "broke off in its body"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", "longer than"),
        (b"HTTP/1.1 200", "broke off in its head"),
    ],
)
async def test_a_server_that_misbehaves_is_an_error_that_says_how(said: bytes, why: str) -> None:
    async with scripted(lambda _, __: said, close_after=True) as (client, _):
        with pytest.raises(HttpError, match=why):
            await ask(client)


async def test_a_port_that_nobody_listens_on_and_headers_with_line_ends() -> None:
    with pytest.raises(HttpError, match="no connection to port 1"):
        await HttpReplica("127.0.0.1", 1).ask("GET", "/ping")
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    async with scripted(lambda _, __: good) as (client, heads):
        answer = await client.ask("GET", "/", {"A": "x\r\nEvil: 1"})
        assert [part async for part in answer.parts] == []
        assert b"A: x  Evil: 1\r\n" in heads[0]
