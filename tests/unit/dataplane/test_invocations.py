"""Invocations for trails: told where one asks, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from clary.kit.clock import VirtualClock
from clary.replica.frames import Tag
from clary.telemetry import invocations
from clary.telemetry.invocations import FOLDER, Invocation, InvocationWriter, decode, encode
from clary.telemetry.spool import segments
from tests.support.hot_path import Rig, endpoint, invocation, snapshot

ONE = Invocation(1, "123456789012", "r", "e", "q", "arn:x", "K", "agent", "127.0.0.1", 200, stream=False)


def recorded(*places: str) -> object:
    return msgspec.structs.replace(snapshot(endpoint()), recorded=places)


def ask(rig: Rig, status: int = 200, *, stream: bool = False) -> None:
    connection, _ = rig.client()
    line = b"\r\nUser-Agent: Boto3/1\r\nAuthorization: AWS4-HMAC-SHA256 Credential=KEY/20310105/eu-west-1/x\r\n\r\n"
    connection.data_received(invocation(stream=stream).replace(b"\r\n\r\n", line, 1))
    rig.turn()
    wire = rig.wires["v-AllTraffic-0"]
    if stream:
        frame = wire.requests[-1]
        wire.chunk(frame, b"a", {Tag.STATUS: (200).to_bytes(2, "big")})
        wire.end(frame)
    else:
        wire.answer_last(status=status)


def test_nothing_is_told_where_no_trail_asks(rig: Rig) -> None:
    for places in ((), ("123456789012/elsewhere",)):
        rig.use(recorded(*places))  # type: ignore[arg-type]
        ask(rig)
        assert rig.invocations == []


def test_who_invoked_and_what_became_of_it_is_told(rig: Rig) -> None:
    route = endpoint()
    rig.use(recorded(f"{route.account}/{route.region}"))  # type: ignore[arg-type]
    ask(rig)
    ask(rig, status=500)
    ask(rig, stream=True)
    good, bad, streamed = rig.invocations
    assert (good.account, good.region, good.endpoint, good.status, good.stream) == (
        route.account, route.region, route.name, 200, False,
    )  # fmt: skip
    assert (good.principal_arn, good.key_id, good.user_agent) == (
        f"arn:aws:iam::{route.account}:root", "KEY", "Boto3/1",
    )  # fmt: skip
    assert (bad.status, streamed.status, streamed.stream) == (424, 200, True)
    assert len({one.request_id for one in rig.invocations}) == 3


async def test_segments_are_given_up_once_a_minute(tmp_path: Path) -> None:
    clock = VirtualClock()
    writer = InvocationWriter(tmp_path, clock)
    writer.step()
    assert segments(tmp_path / FOLDER) == []
    for _ in range(2):
        writer.keep(ONE)
        writer.step()
        await clock.advance(61)
        writer.step()
    first, second = segments(tmp_path / FOLDER)
    assert decode(first.read_bytes()) == decode(second.read_bytes()) == [ONE]


async def test_too_many_in_a_second_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invocations, "SECOND_MAX", 2)
    lost: list[int] = []
    writer = InvocationWriter(tmp_path, VirtualClock(), lost.append)
    for _ in range(3):
        writer.keep(ONE)
    writer.step()
    writer.step()
    assert lost == [1]
    assert len(decode(segments(tmp_path / FOLDER)[0].read_bytes())) == 2


async def test_what_the_disk_does_not_take_is_told_of(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("in the way")
    lost: list[int] = []
    writer = InvocationWriter(tmp_path, VirtualClock(), lost.append)
    writer.keep(ONE)
    writer.step()
    assert lost == [1]


def test_a_line_that_a_kill_cut_short_is_passed_over() -> None:
    assert decode(encode([ONE]) + encode([ONE])[:20]) == [ONE]
