"""Two fleets of one endpoint while an update moves traffic: shares, names, versions, and who takes what is lost."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from clary.dataplane.routes import EndpointRoute, VariantRoute
from tests.support.hot_path import MemoryTransport, Rig, endpoint, invocation, parse_answers, snapshot, variant


def of(version: int, name: str = "A", weight: float = 1.0, *, share: float = 1.0, trial: bool = False) -> VariantRoute:
    found = variant(name, weight, uid=f"{name}{version}")
    return msgspec.structs.replace(found, version=version, share=share, trial=trial, config=f"c{version}")


def moving(*variants: VariantRoute) -> EndpointRoute:
    return msgspec.structs.replace(endpoint("ridge", *variants, uid="e"), version=1, versions=2, starting=2)


def canary(share: float) -> EndpointRoute:
    return moving(of(1, share=1 - share), of(2, share=share, trial=True))


def drawn(rig: Rig, count: int = 1000, **headers: str) -> Counter[str]:
    """Which replicas get `count` requests whose draws are spread evenly."""
    got: Counter[str] = Counter()
    for number in range(count):
        rig.draws = [(number + 0.5) / count]
        rig.invoke(**headers)
        for uid, wire in rig.wires.items():
            if wire.replica.inflight:
                got[uid.removesuffix("-0")] += 1
                wire.answer_last()
    return got


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 1.0])
def test_a_share_is_exact(rig: Rig, share: float) -> None:
    rig.use(snapshot(canary(share)))
    got = drawn(rig)
    assert (got["A1"], got["A2"]) == (round(1000 * (1 - share)), round(1000 * share))


def test_weights_count_within_their_own_fleet(rig: Rig) -> None:
    old = of(1, "A", 3.0, share=0.8), of(1, "B", 1.0, share=0.8)
    new = of(2, "A", 0.1, share=0.2, trial=True), of(2, "B", 0.1, share=0.2, trial=True)
    rig.use(snapshot(moving(*old, *new)))
    assert drawn(rig) == {"A1": 600, "B1": 200, "A2": 100, "B2": 100}
    assert drawn(rig, target_variant="A") == {"A1": 800, "A2": 200}


def test_each_version_can_be_asked_for_whatever_its_share(rig: Rig) -> None:
    rig.use(snapshot(canary(1.0)))
    assert drawn(rig, 10) == {"A2": 10}
    for number, uid in ((1, "A1"), (2, "A2")):
        assert drawn(rig, 10, target_variant=f"v{number}") == {uid: 10}
    connection, transport = rig.client()
    asked = invocation(target_variant="v2").replace(b"/invocations", b"/versions/1/invocations")
    connection.data_received(asked)
    (answer,) = parse_answers(transport.written)
    assert answer.json["Message"] == "The path asks for version 1, TargetVariant for version 2."


def answered_by(rig: Rig, uid: str, transport: MemoryTransport) -> bool:
    rig.turn()
    rig.wires[uid].answer_last(b"good")
    (answer,) = parse_answers(transport.written)
    return (answer.status, answer.body) == (200, b"good")


@pytest.mark.parametrize("pure", [True, False])
def test_what_a_fleet_on_trial_loses_in_a_crash_is_answered_by_the_other(rig: Rig, pure: bool) -> None:
    rig.use(snapshot(canary(0.5)))
    rig.wires["A2-0"].up(pure=pure)
    rig.draws = [0.9]
    client = rig.invoke()
    assert rig.wires["A2-0"].requests
    rig.wires["A2-0"].down()
    assert answered_by(rig, "A1-0", client)
    assert not rig.fleet._queues["A2"].poison, "one death is not the request's fault"


def test_what_waits_for_a_fleet_on_trial_without_a_replica_goes_to_the_other(rig: Rig) -> None:
    rig.use(snapshot(canary(0.5)))
    rig.wires["A2-0"].up(credits=1)
    rig.draws = [0.9, 0.9]
    first, second = rig.invoke(b"1"), rig.invoke(b"2")
    rig.wires["A2-0"].down()
    rig.turn()
    rig.wires["A1-0"].answer_last()
    rig.wires["A1-0"].answer_last()
    assert [parse_answers(client.written)[0].status for client in (first, second)] == [200, 200]
    rig.draws = [0.9]
    assert answered_by(rig, "A1-0", rig.invoke())
    rig.wires["A2-0"].up()
    rig.draws = [0.9]
    assert answered_by(rig, "A2-0", rig.invoke()), "once it is back it gets its share again"


def test_a_version_that_was_asked_for_is_never_answered_by_another(rig: Rig) -> None:
    rig.use(snapshot(canary(0.5)))
    client = rig.invoke(target_variant="v2")
    rig.wires["A2-0"].down()
    rig.turn()
    assert not rig.wires["A1-0"].requests
    rig.wires["A2-0"].up()
    assert answered_by(rig, "A2-0", client), "as without a rollout: tried once more"


def test_the_proven_fleet_keeps_its_calls(rig: Rig) -> None:
    rig.use(snapshot(canary(0.5)))
    rig.draws = [0.1]
    client = rig.invoke()
    rig.wires["A1-0"].down()
    rig.turn()
    assert not rig.wires["A2-0"].requests
    rig.wires["A1-0"].up()
    assert answered_by(rig, "A1-0", client)


def test_a_rollback_takes_along_what_waits(rig: Rig) -> None:
    rig.use(snapshot(canary(0.5)))
    rig.wires["A2-0"].up(credits=1)
    rig.draws = [0.9, 0.9]
    first, second = rig.invoke(b"1"), rig.invoke(b"2")
    rig.use(snapshot(moving(of(1))))
    rig.turn()
    rig.wires["A1-0"].answer_last()
    rig.wires["A2-0"].answer_last()
    assert [parse_answers(client.written)[0].status for client in (first, second)] == [200, 200]
    assert rig.hot.inflight == 0
