"""RoutingStrategy RANDOM: the draw decides, not the load; nobody waits for a replica that is gone."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from clary.dataplane.limits import Limits
from clary.dataplane.routes import RANDOM
from tests.support.hot_path import MemoryTransport, Rig, endpoint, parse_answers, snapshot, variant


def of_two(rig: Rig, *, up: bool = True) -> None:
    """An endpoint `ridge` with the replicas r-0 and r-1, routed at random."""
    both = msgspec.structs.replace(variant("AllTraffic", replicas=2, uid="r"), routing=RANDOM)
    rig.use(snapshot(endpoint("Ridge", both)), up=up)


def had(rig: Rig) -> list[int]:
    """Requests that each replica got."""
    return [len(rig.wires[f"r-{n}"].requests) for n in (0, 1)]


def bodies(rig: Rig, n: int) -> list[bytes]:
    return [bytes(frame.body) for frame in rig.wires[f"r-{n}"].requests]


def ask(rig: Rig, *draws: float) -> list[MemoryTransport]:
    rig.draws += draws
    return [rig.invoke(b"%d" % n) for n in range(len(draws))]


def test_a_call_waits_for_the_replica_it_was_drawn_for_though_another_is_idle(rig: Rig) -> None:
    of_two(rig)
    ask(rig, 0.1, 0.2, 0.3)
    assert had(rig) == [1, 0]
    rig.wires["r-0"].answer_last()
    assert bodies(rig, 0) == [b"0", b"1", b"2"]
    assert had(rig)[1] == 0
    ask(rig, 0.9)
    assert had(rig) == [3, 1]


def test_draws_spread_over_all_live_replicas(rig: Rig) -> None:
    of_two(rig)
    for n in range(100):
        ask(rig, (n % 10) / 10)
        for wire in rig.wires.values():
            if wire.replica.inflight:
                wire.answer_last()
    assert had(rig) == [50, 50]


@pytest.mark.parametrize("pure", [True, False])
def test_what_waits_for_a_replica_that_dies_goes_to_another(rig: Rig, pure: bool) -> None:
    of_two(rig, up=False)
    for n in (0, 1):
        rig.wires[f"r-{n}"].up(pure=pure)
    clients = ask(rig, 0.1, 0.2, 0.3)
    rig.draws += [0.5, 0.5]  # only one is left to draw from
    rig.wires["r-0"].down()
    rig.turn()
    while rig.wires["r-1"].replica.inflight:
        rig.wires["r-1"].answer_last()
    statuses = [parse_answers(client.written)[0].status for client in clients]
    assert statuses == [200 if pure else 424, 200, 200]


def test_what_waits_is_taken_along_when_the_variant_goes(rig: Rig) -> None:
    of_two(rig)
    clients = ask(rig, 0.1, 0.2)
    rig.use(snapshot(endpoint("Ridge", variant("New"))))
    rig.turn()
    rig.wires["r-0"].answer_last(b"old")
    rig.wires["v-New-0"].answer_last(b"new")
    assert [parse_answers(client.written)[0].body for client in clients] == [b"old", b"new"]


def test_without_a_live_replica_calls_wait_for_the_first(rig: Rig) -> None:
    of_two(rig, up=False)
    ask(rig, 0.9)
    assert had(rig) == [0, 0]
    rig.draws = [0.9]
    rig.wires["r-0"].up()
    assert had(rig) == [1, 0]


async def test_deadlines_hold_in_every_line(rig: Rig) -> None:
    of_two(rig)
    clients = ask(rig, 0.1, 0.2)
    await rig.clock.advance(rig.limits.handler_s + 1)
    rig.sweep()
    assert [parse_answers(client.written)[0].status for client in clients] == [424, 424]


def test_all_lines_together_are_bounded(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Limits(waiting_calls_max=2))
    of_two(rig)
    clients = ask(rig, 0.1, 0.2, 0.3, 0.4)
    assert [bool(client.written) for client in clients] == [False, False, False, True]
    assert parse_answers(clients[-1].written)[0].status == 503
