"""Sockets that change hands: nothing lost, nothing doubled, control's death told."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import uvloop

from clary.dataplane.handoff import PART_BYTES_MAX, HandoffSender, HandoffServer

Loop = Callable[[], asyncio.AbstractEventLoop]
LOOPS = pytest.mark.parametrize("new_loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with path, digest and length of the body."""
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    digest, length, more = hashlib.sha256(), 0, True
    while more:
        message = await receive()
        digest.update(message.get("body", b""))
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    text = f"{scope['path']} {digest.hexdigest()} {length}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
    await send({"type": "http.response.body", "body": text})


@contextlib.asynccontextmanager
async def control(path: Path, notice: Callable[[bytes], None] = lambda _: None) -> AsyncIterator[HandoffServer]:
    """A real uvicorn server whose connections come from a router."""
    config = uvicorn.Config(app, log_config=None, lifespan="on")
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.lifespan.startup()

    def make_protocol() -> asyncio.Protocol:
        made = config.http_protocol_class(
            config=config, server_state=server.server_state, app_state=server.lifespan.state
        )
        assert isinstance(made, asyncio.Protocol)
        return made

    handoff = HandoffServer(path, make_protocol, notice)
    handoff.start()
    try:
        yield handoff
    finally:
        handoff.close()
        for connection in list(server.server_state.connections):
            connection.shutdown()
        await server.lifespan.shutdown()


class Door(asyncio.Protocol):
    """A router in small: reads some bytes, then passes the socket on."""

    def __init__(self, sender: HandoffSender, read_bytes: int) -> None:
        self.sender = sender
        self.wanted = read_bytes
        self.read = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.read += data
        if len(self.read) >= self.wanted:
            self.transport.pause_reading()
            fd = self.transport.get_extra_info("socket").fileno()
            if not self.sender.send(fd, self.read, b"refused"):
                self.transport.write(b"down")
                self.transport.close()
                return
            self.transport.abort()


@contextlib.asynccontextmanager
async def door(path: Path, read_bytes: int = 1, handoffs_max: int = 100) -> AsyncIterator[int]:
    sender = HandoffSender(path, handoffs_max)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Door(sender, read_bytes), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    sender.close()


async def ask(port: int, path: str, body: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    answer = await reader.readexactly(length)
    # The connection stays whole: a second request on it is uvicorn's alone.
    writer.write(f"GET {path}/again HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert f"{path}/again ".encode() in await reader.readuntil(b" 0")
    writer.close()
    await writer.wait_closed()
    return answer


def run(new_loop: Loop, test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(bounded())


@LOOPS
@pytest.mark.parametrize("read_bytes", [1, 200, PART_BYTES_MAX, 2 * PART_BYTES_MAX + 17])
def test_every_byte_arrives_once(new_loop: Loop, tmp_path: Path, read_bytes: int) -> None:
    async def test() -> None:
        body = bytes(range(256)) * 2000
        async with control(tmp_path / "h"), door(tmp_path / "h", read_bytes) as port:
            answers = await asyncio.gather(*(ask(port, f"/{n}", body[n:]) for n in range(20)))
        for n, answer in enumerate(answers):
            assert answer == f"/{n} {hashlib.sha256(body[n:]).hexdigest()} {len(body) - n}".encode()

    run(new_loop, test)


@LOOPS
def test_control_down_is_known_at_once_and_its_return_too(new_loop: Loop, tmp_path: Path) -> None:
    async def test() -> None:
        async with door(tmp_path / "h") as port:

            async def told() -> bytes:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET / HTTP/1.1\r\n\r\n")
                answer = await reader.read()
                writer.close()
                return answer

            assert await told() == b"down"
            async with control(tmp_path / "h"):
                await ask(port, "/1", b"")
            assert await told() in (b"down", b"refused")  # before and after the end of the link was seen
            assert await told() == b"down"
            async with control(tmp_path / "h"):  # a new control on the same path
                await ask(port, "/2", b"")

    run(new_loop, test)


def test_who_control_dies_over_is_told(tmp_path: Path) -> None:
    async def test() -> None:
        dead = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        dead.bind(str(tmp_path / "h"))
        dead.listen()
        async with door(tmp_path / "h") as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            loop = asyncio.get_running_loop()
            dead.setblocking(False)
            link, _ = await loop.sock_accept(dead)
            await loop.sock_recv(link, 1)  # it arrived, and control dies before it takes it
            link.close()
            dead.close()
            assert await reader.read() == b"refused"
            writer.close()

    run(uvloop.new_event_loop, test)


def test_a_stuck_control_fills_its_queue_and_then_is_down(tmp_path: Path) -> None:
    async def test() -> None:
        stuck = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stuck.bind(str(tmp_path / "h"))
        stuck.listen()
        async with door(tmp_path / "h", handoffs_max=3) as port:
            clients = []
            for _ in range(4):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                clients.append((reader, writer))
                writer.write(b"GET / HTTP/1.1\r\n\r\n")
            first_told, _ = await asyncio.wait(
                [asyncio.create_task(reader.read()) for reader, _ in clients], return_when=asyncio.FIRST_COMPLETED
            )
            assert [task.result() for task in first_told] == [b"down"]
            stuck.close()
        for _, writer in clients:
            writer.close()

    run(uvloop.new_event_loop, test)


def test_a_client_that_left_meanwhile_harms_nobody(tmp_path: Path) -> None:
    async def test() -> None:
        async with control(tmp_path / "h"), door(tmp_path / "h") as port:
            for _ in range(20):
                with socket.create_connection(("127.0.0.1", port)) as client:
                    client.sendall(b"GET / HTTP/1.1\r\n")
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            await ask(port, "/", b"x")

    run(uvloop.new_event_loop, test)


async def test_what_a_router_says_comes_between_sockets(tmp_path: Path) -> None:
    path, said, both = tmp_path / "handoff.sock", list[bytes](), asyncio.Event()

    def notice(what: bytes) -> None:
        said.append(what)
        if len(said) == 2:
            both.set()

    sender = HandoffSender(path, 8)
    assert not sender.notify(b"nobody listens")
    async with control(path, notice):
        near, far = socket.socketpair()
        with near, far:
            assert sender.notify(b"one")
            assert sender.send(far.fileno(), b"x" * (PART_BYTES_MAX + 1), b"")
            assert sender.notify(b"two")
            await asyncio.wait_for(both.wait(), 10)
        assert said == [b"one", b"two"]
    sender.close()
