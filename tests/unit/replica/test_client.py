"""A link: HELLO both ways, frames split anywhere, lost and found again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.kit.backoff import Backoff
from clary.kit.clock import SystemClock
from clary.replica import frames
from clary.replica.client import ReplicaLink, Report, _LinkProtocol
from clary.replica.frames import Frame, Kind, Tag

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class User:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []
        self.changed = asyncio.Event()

    def _note(self, *what: object) -> None:
        self.told.append(what)
        self.changed.set()

    def link_up(self, report: Report, credits: int) -> None:
        self._note("up", dict(report), credits)

    def link_answer(self, frame_id: int, head: bytes, body: bytes) -> None:
        self._note("answer", frame_id, frames.decode_head(head), body)

    def link_frame(self, frame: Frame) -> None:
        self._note("frame", frame.kind)

    def link_read(self) -> None:
        self._note("read")

    def link_down(self, cause: str) -> None:
        self._note("down", cause)

    async def until(self, what: str, times: int = 1) -> None:
        async with asyncio.timeout(5):
            while sum(told[0] == what for told in self.told) < times:
                self.changed.clear()
                await self.changed.wait()


async def read_frame(reader: asyncio.StreamReader) -> Frame:
    length = await reader.readexactly(4)
    (frame,) = frames.frames([length + await reader.readexactly(int.from_bytes(length, "big"))])
    return frame


@contextlib.asynccontextmanager
async def replica(path: Path, talk: Talk) -> AsyncIterator[None]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await talk(reader, writer)
        writer.close()

    server = await asyncio.start_unix_server(handle, str(path))
    async with server:
        yield


@contextlib.asynccontextmanager
async def linked(address: str, user: User) -> AsyncIterator[ReplicaLink]:
    link = ReplicaLink(
        address, user, SystemClock(), name="router-0", nonce="n", token=b"t", reconnect=Backoff(0.001, 2, 0.01)
    )
    running = asyncio.create_task(link.run())
    yield link
    link.close()
    async with asyncio.timeout(5):
        await running


READY = frames.hello("r1", "w", 7, b'{"state":"ready"}')


async def test_the_client_says_hello_first_and_hears_the_report(tmp_path: Path) -> None:
    heard: list[Frame] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await read_frame(reader))
        writer.write(READY)
        heard.append(await read_frame(reader))
        writer.write(frames.encode(Kind.RESPONSE, 5, {Tag.STATUS: frames.u16(200)}, 2) + b"ok")
        await reader.read()

    user = User()
    async with replica(tmp_path / "w", talk), linked(f"unix:{tmp_path / 'w'}", user) as link:
        await user.until("up")
        link.send(frames.encode(Kind.REQUEST, 5, {}, 1) + b"x")
        await user.until("read", 2)
    frames.check_hello(heard[0])
    assert (frames.text(heard[0].head, Tag.REPLICA_UID), frames.text(heard[0].head, Tag.TOKEN)) == ("router-0", "t")
    assert (heard[1].kind, bytes(heard[1].body)) == (Kind.REQUEST, b"x")
    assert user.told[0] == ("up", {"state": "ready"}, 7)
    assert ("answer", 5, {Tag.STATUS: b"\x00\xc8"}, b"ok") in user.told


async def test_a_lost_link_is_told_once_and_found_again(tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_frame(reader)
        writer.write(READY)

    user = User()
    # The link starts before anybody listens.
    async with linked(f"unix:{tmp_path / 'w'}", user), replica(tmp_path / "w", talk):
        await user.until("up", 3)
    ups = [told[0] for told in user.told if told[0] in ("up", "down")]
    assert ups[:5] == ["up", "down", "up", "down", "up"]


async def test_a_peer_that_does_not_speak_frames_is_never_up(tmp_path: Path) -> None:
    met = asyncio.Event()
    visits = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal visits
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 100)
        visits += 1
        if visits == 3:
            met.set()

    user = User()
    async with replica(tmp_path / "w", talk), linked(f"unix:{tmp_path / 'w'}", user):
        async with asyncio.timeout(5):
            await met.wait()
    assert user.told == []


async def test_pings_are_answered_and_tcp_works() -> None:
    pong = asyncio.get_running_loop().create_future()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_frame(reader)
        writer.write(READY + frames.encode(Kind.PING, 9, {}))
        pong.set_result(await read_frame(reader))
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, linked(f"tcp:127.0.0.1:{port}", User()):
        frame = await asyncio.wait_for(pong, 5)
    assert (frame.kind, frame.id) == (Kind.PING, 9)


ANSWERS = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.binary(max_size=300)), max_size=6)


@given(ANSWERS, st.lists(st.integers(1, 50), max_size=60))
def test_answers_do_not_depend_on_how_the_bytes_are_split(answers: list[tuple[int, bytes]], sizes: list[int]) -> None:
    async def run() -> None:
        user = User()
        protocol = _LinkProtocol(user, b"", asyncio.get_running_loop().create_future())
        head = {Tag.STATUS: frames.u16(200)}
        raw = READY + b"".join(frames.encode(Kind.RESPONSE, i, head, len(b)) + b for i, b in answers)
        for size in [*sizes, len(raw)]:
            if raw:
                protocol.data_received(raw[:size])
            raw = raw[size:]
        got = [(told[1], told[3]) for told in user.told if told[0] == "answer"]
        assert got == answers

    asyncio.run(run())


@pytest.mark.parametrize(
    "raw",
    [
        READY,  # a second one
        (frames.FRAME_BYTES_MAX + 1).to_bytes(4, "big") + b"\xff" * 11,
        b"\x00\x00\x00\x0c\x03" + b"\x00" * 8 + b"\x00\x09x",  # a header longer than its frame
        b"\x00\x00\x00\x0b\x63" + b"\x00" * 10,  # an unknown kind
    ],
)
async def test_nonsense_closes_the_link(tmp_path: Path, raw: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_frame(reader)
        writer.write(READY + raw)
        await reader.read()

    user = User()
    async with replica(tmp_path / "w", talk), linked(f"unix:{tmp_path / 'w'}", user):
        await user.until("down")
