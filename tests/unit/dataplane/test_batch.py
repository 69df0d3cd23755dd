"""Who waits, who goes together, who is tried again."""

from __future__ import annotations

from pathlib import Path

import pytest

from clary.dataplane.limits import Limits
from clary.replica.frames import Frame, Kind, Tag
from tests.support.hot_path import Rig, endpoint, invocation, parse_answers, snapshot, variant


def bodies(batch: list[Frame]) -> list[bytes]:
    return [bytes(frame.body) for frame in batch]


def two(rig: Rig, count: int = 2) -> None:
    """An endpoint with `count` replicas."""
    rig.use(snapshot(endpoint("Ridge", variant("AllTraffic", replicas=count, uid="many"))))


def test_a_lonely_request_goes_at_once_and_the_rest_gathers(rig: Rig) -> None:
    wire = rig.wires["v-AllTraffic-0"]
    rig.invoke(b"1")
    assert [bodies(b) for b in wire.batches] == [[b"1"]]
    rig.invoke(b"2")
    rig.invoke(b"3")
    assert len(wire.batches) == 1
    wire.answer_last()
    assert [bodies(b) for b in wire.batches] == [[b"1"], [b"2", b"3"]]


def test_the_next_batch_waits_for_the_whole_one_before(rig: Rig) -> None:
    wire = rig.wires["v-AllTraffic-0"]
    rig.invoke(b"0")
    rig.invoke(b"1")
    rig.invoke(b"2")
    wire.answer_last()
    rig.invoke(b"3")
    first, second = wire.batches[1]
    wire.answer(second)
    wire.replica.link_read()
    assert len(wire.batches) == 2
    wire.answer(first)
    wire.replica.link_read()
    assert bodies(wire.batches[2]) == [b"3"]


def test_requests_of_one_turn_go_together_and_are_shared_among_idle_replicas(rig: Rig) -> None:
    two(rig)
    connection, _ = rig.client()
    connection.data_received(b"".join(invocation(b"%d" % n) for n in range(5)))
    rig.turn()
    assert bodies(rig.wires["many-0"].batches[0]) == [b"0", b"1", b"2"]
    assert bodies(rig.wires["many-1"].batches[0]) == [b"3", b"4"]


def test_the_replica_idle_longest_is_next(rig: Rig) -> None:
    two(rig)
    for n in range(4):
        rig.invoke(b"%d" % n)
        rig.wires[f"many-{n % 2}"].answer_last()
    assert [len(rig.wires[f"many-{n}"].batches) for n in (0, 1)] == [2, 2]


@pytest.mark.parametrize(("joins", "together"), [("exact", 4), ("rounding", 4), ("never", 1)])
def test_unknown_code_gets_one_request_at_a_time(rig: Rig, joins: str, together: int) -> None:
    rig.use(snapshot(endpoint("Other", variant("B"))), up=False)
    wire = rig.wires["v-B-0"]
    connection, _ = rig.client()
    connection.data_received(b"".join(invocation(b"%d" % n, "other") for n in range(4)))
    rig.turn()
    wire.up(joins=joins)
    assert len(wire.batches[0]) == together


def test_a_batch_is_bounded_by_credits_count_and_bytes(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Limits(batch_calls_max=3, batch_bytes_max=10))
    rig.use(snapshot(endpoint()), up=False)
    wire = rig.wires["v-AllTraffic-0"]
    for body in (b"1", b"2", b"3", b"4", b"x" * 9, b"y" * 20, b"z"):
        rig.invoke(body)
    wire.up(credits=2)
    for _ in range(4):
        wire.answer_last()
    assert [bodies(b) for b in wire.batches] == [[b"1", b"2"], [b"3", b"4"], [b"x" * 9], [b"y" * 20], [b"z"]]
    wire.answer_last()
    wire.down()
    for n in range(4):
        rig.invoke(b"%d" % n)
    wire.up()
    assert len(wire.batches[-1]) == 3


def test_a_replica_that_failed_to_load_gets_nothing(rig: Rig) -> None:
    wire = rig.wires["v-AllTraffic-0"]
    wire.down()
    rig.invoke()
    wire.up(state="failed", cause="no such file")
    assert wire.batches == []
    assert "replica not ready" in rig.notes


def test_requests_wait_while_no_replica_is_live(rig: Rig) -> None:
    wire = rig.wires["v-AllTraffic-0"]
    wire.down()
    client = rig.invoke(b"1")
    assert client.written == b""
    wire.up()
    wire.answer_last(b"ok")
    assert parse_answers(client.written)[0].body == b"ok"


def test_a_crash_is_not_seen_by_clients_of_a_pure_runtime(rig: Rig) -> None:
    wire = rig.wires["v-AllTraffic-0"]
    clients = [rig.invoke(b"%d" % n) for n in range(4)]
    wire.answer_last()
    assert len(wire.batches[1]) == 3
    wire.down()
    wire.up()
    for _ in range(3):
        (retried,) = wire.batches[-1]  # alone in its frame and in its batch
        assert Tag.ALONE in retried.head
        wire.answer(retried, bytes(retried.body))
        wire.replica.link_read()
    assert [parse_answers(c.written)[0].body for c in clients] == [b"1.5", b"1", b"2", b"3"]


def test_a_crash_moves_what_was_delivered_to_another_replica(rig: Rig) -> None:
    two(rig)
    client = rig.invoke(b"1")
    rig.wires["many-0"].down()
    rig.turn()
    assert bodies(rig.wires["many-1"].batches[0]) == [b"1"]
    rig.wires["many-1"].answer_last()
    assert parse_answers(client.written)[0].status == 200


def test_what_kills_two_workers_fails_alone_and_is_refused_for_a_minute(rig: Rig) -> None:
    wire = rig.wires["v-AllTraffic-0"]
    rig.invoke(b"0")
    killer, other = rig.invoke(b"kill"), rig.invoke(b"good")
    wire.answer_last()
    wire.down()
    wire.up()
    assert bodies(wire.batches[-1]) == [b"kill"]
    wire.down()
    error = parse_answers(killer.written)[0]
    assert (error.status, error.json["OriginalStatusCode"]) == (424, 0)
    assert "process ended" in error.json["OriginalMessage"]
    wire.up()
    wire.answer_last()
    assert parse_answers(other.written)[0].status == 200
    delivered = len(wire.batches)
    assert parse_answers(rig.invoke(b"kill").written)[0].status == 424
    assert len(wire.batches) == delivered
    rig.invoke(b"another body")
    assert len(wire.batches) == delivered + 1
    wire.answer_last()


def test_a_body_that_a_worker_answered_is_no_killer(rig: Rig) -> None:
    wire = rig.wires["v-AllTraffic-0"]
    rig.invoke(b"0")
    first, second = rig.invoke(b"same"), rig.invoke(b"same")
    wire.answer_last()
    for _ in range(2):  # somebody kills workers, and the same innocent request is there both times
        wire.down()
        wire.up()
    assert parse_answers(first.written)[0].status == 424
    wire.answer_last()
    assert parse_answers(second.written)[0].status == 200
    delivered = len(wire.batches)
    rig.invoke(b"same")
    assert len(wire.batches) == delivered + 1


async def test_the_refusal_of_a_killer_ends(rig: Rig) -> None:
    wire = rig.wires["v-AllTraffic-0"]
    rig.invoke(b"kill")
    for _ in range(2):
        wire.down()
        wire.up()
    delivered = len(wire.batches)
    await rig.clock.advance(61)
    rig.invoke(b"kill")
    assert len(wire.batches) == delivered + 1


def test_user_code_is_never_run_twice(rig: Rig) -> None:
    wire = rig.wires["v-AllTraffic-0"]
    wire.down()
    wire.up(pure=False)
    client = rig.invoke(b"1")
    waiting = rig.invoke(b"2")
    wire.down()
    assert parse_answers(client.written)[0].status == 424
    wire.up(pure=False)
    wire.answer_last()
    assert parse_answers(waiting.written)[0].status == 200  # it was never delivered


async def test_a_deadline_while_the_model_works(rig: Rig) -> None:
    wire = rig.wires["v-AllTraffic-0"]
    client, behind = rig.invoke(b"1"), rig.invoke(b"2")
    (frame,) = wire.batches[0]
    assert frame.head[Tag.DEADLINE_MS] == (60_000).to_bytes(4, "big")
    await rig.clock.advance(59)
    rig.sweep()
    assert client.written == b""
    await rig.clock.advance(2)
    rig.sweep()
    for late in (client, behind):
        error = parse_answers(late.written)[0]
        assert (error.status, error.json["OriginalStatusCode"]) == (424, 0)
        assert "Your invocation timed out" in error.json["Message"]
    assert wire.batches[-1][0].kind is Kind.CANCEL
    assert wire.batches[-1][0].id == frame.id
    # The replica is still busy until it answers; its late answer goes nowhere.
    third = rig.invoke(b"3")
    assert len(wire.requests) == 1
    written = client.written
    wire.answer(frame)
    wire.replica.link_read()
    assert client.written == written
    wire.answer_last()
    assert parse_answers(third.written)[0].status == 200


async def test_a_deadline_while_no_replica_is_live(rig: Rig) -> None:
    rig.wires["v-AllTraffic-0"].down()
    client = rig.invoke(b"1")
    await rig.clock.advance(61)
    rig.sweep()
    error = parse_answers(client.written)[0]
    assert (error.status, error.headers["x-amzn-errortype"]) == (503, "ServiceUnavailable")


async def test_time_in_the_queue_counts(rig: Rig) -> None:
    wire = rig.wires["v-AllTraffic-0"]
    wire.down()
    rig.invoke(b"1")
    await rig.clock.advance(45)
    wire.up()
    assert wire.batches[0][0].head[Tag.DEADLINE_MS] == (15_000).to_bytes(4, "big")


def test_a_full_queue_is_refused_with_when_to_come_back(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Limits(waiting_calls_max=2))
    rig.use(snapshot(endpoint()))
    for _ in range(3):
        rig.invoke()
    error = parse_answers(rig.invoke().written)[0]
    assert (error.status, error.headers["x-amzn-errortype"]) == (503, "ServiceUnavailable")
    assert int(error.headers["retry-after"]) >= 1
    assert 100 <= int(error.headers["x-amz-retry-after"]) <= 10_000


def test_a_queue_is_bounded_by_bytes_too(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Limits(waiting_bytes_max=100))
    rig.use(snapshot(endpoint()), up=False)
    assert rig.invoke(b"x" * 101).written == b""
    assert parse_answers(rig.invoke(b"x").written)[0].status == 503
    rig.wires["v-AllTraffic-0"].up()
    rig.wires["v-AllTraffic-0"].answer_last()
    assert rig.invoke(b"x").written == b""


def test_a_client_that_leaves_never_breaks_a_link(rig: Rig) -> None:
    wire = rig.wires["v-AllTraffic-0"]
    delivered, _ = rig.client()
    delivered.data_received(invocation(b"1"))
    rig.turn()
    waiting, _ = rig.client()
    waiting.data_received(invocation(b"2"))
    stays = rig.invoke(b"3")
    delivered.connection_lost(None)
    waiting.connection_lost(None)
    assert [frame.kind for frame in wire.batches[-1]] == [Kind.CANCEL]
    (request,) = wire.requests
    wire.answer(request)
    wire.replica.link_read()
    assert bodies(wire.batches[-1]) == [b"3"]
    wire.answer_last()
    assert parse_answers(stays.written)[0].status == 200
    assert not wire.aborted
    assert rig.hot.inflight == 0


def test_a_draining_replica_finishes_and_gets_no_more(rig: Rig) -> None:
    wire = rig.wires["v-AllTraffic-0"]
    client = rig.invoke(b"1")
    wire.replica.link_frame(Frame(Kind.DRAIN, 0))
    rig.invoke(b"2")
    assert not wire.aborted
    wire.answer_last()
    assert parse_answers(client.written)[0].status == 200
    assert wire.aborted
    assert len(wire.batches) == 1
    wire.down()
    wire.up()
    assert bodies(wire.batches[-1]) == [b"2"]


def test_a_replica_that_leaves_the_routes_finishes_what_it_has(rig: Rig) -> None:
    wire = rig.wires["v-AllTraffic-0"]
    client, behind = rig.invoke(b"1"), rig.invoke(b"2")
    moved = variant("AllTraffic", replicas=2)
    rig.use(snapshot(endpoint("Ridge", moved.__class__("AllTraffic", "v-AllTraffic", 1.0, moved.replicas[1:], 1))))
    assert bodies(rig.wires["v-AllTraffic-1"].batches[0]) == [b"2"]
    assert not wire.closed
    wire.answer_last()
    assert wire.closed
    rig.wires["v-AllTraffic-1"].answer_last()
    assert [parse_answers(c.written)[0].status for c in (client, behind)] == [200, 200]
