"""A variant without replicas: its requests wait, control is told at once, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

from clary.dataplane.limits import Limits
from tests.support.hot_path import REGION, Rig, endpoint, parse_answers, snapshot, variant

ASKED = f"e-Ridge-{REGION}/AllTraffic".encode()


def rest(rig: Rig) -> None:
    rig.use(snapshot(endpoint("Ridge", variant(replicas=0))))


async def test_control_is_told_once_and_again_each_second(rig: Rig) -> None:
    rest(rig)
    first, second = rig.invoke(b"1"), rig.invoke(b"2")
    assert rig.asked == [ASKED]
    assert (first.written, second.written) == (b"", b"")
    for _ in range(10):
        await rig.clock.advance(0.3)
        rig.sweep()
    assert rig.asked == [ASKED] * 3
    rig.use(snapshot(endpoint("Ridge", variant(replicas=1))))
    rig.turn()
    rig.wires["v-AllTraffic-0"].answer_last()
    assert [parse_answers(client.written)[0].status for client in (first, second)] == [200, 200]
    await rig.clock.advance(5)
    rig.sweep()
    assert rig.asked == [ASKED] * 3


def test_the_last_replica_finishes_while_the_next_request_asks_for_another(rig: Rig) -> None:
    running = rig.invoke(b"1")
    rest(rig)
    wire = rig.wires["v-AllTraffic-0"]
    assert not wire.closed
    waiting = rig.invoke(b"2")
    assert rig.asked == [ASKED]
    wire.answer_last()
    wire.replica.link_read()
    assert parse_answers(running.written)[0].status == 200
    assert waiting.written == b""
    rig.use(snapshot(endpoint("Ridge", variant(replicas=1))))
    rig.turn()
    rig.wires["v-AllTraffic-0"].answer_last()
    assert parse_answers(waiting.written)[0].status == 200


async def test_those_that_wait_are_bounded_in_number_and_time(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Limits(waiting_calls_max=1, handler_s=10))
    rest(rig)
    held, refused = rig.invoke(b"1"), rig.invoke(b"2")
    answer = parse_answers(refused.written)[0]
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    await rig.clock.advance(11)
    rig.sweep()
    answer = parse_answers(held.written)[0]
    assert (answer.status, "Retry-After".lower() in answer.headers) == (503, True)
    assert "No replica" in answer.json["Message"]


def test_a_replica_that_is_there_is_not_asked_for(rig: Rig) -> None:
    rig.invoke(b"1")
    rig.invoke(b"2")
    rig.wires["v-AllTraffic-0"].down()  # it is on its way back
    rig.invoke(b"3")
    rig.sweep()
    assert rig.asked == []
