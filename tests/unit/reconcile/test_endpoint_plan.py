"""The plan of one endpoint: a table of situations, then properties over whole lives in a world that we make up.

The example for plan tests: `want`, `have` and `replica` build a situation in a line, and each row says what follows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clary.domain.states import EndpointStatus
from clary.domain.versions import Fleet
from clary.kit.clock import MICROS
from clary.reconcile.actions import (
    Action,
    DrainReplica,
    FallBack,
    Fetch,
    ForgetEndpoint,
    ForgetReplica,
    MarkReady,
    Publish,
    SetStatus,
    StartReplica,
    StopReplica,
    Unpublish,
    WakeAt,
)
from clary.reconcile.endpoint import UNSTEADY, plan
from clary.reconcile.facts import Have, PinHave, Want
from clary.reconcile.rollout import TROUBLE_REMEDY
from tests.support.plans import (
    BOTH,
    CREATING,
    DEAD,
    FAILED,
    GONE,
    IN_SERVICE,
    NOW,
    OLD,
    PINNED,
    READY,
    RULES,
    STARTING,
    UPDATING,
    World,
    fleet,
    replica,
    route,
    want,
)

ONE, TWO, GOING = want(1), want(2), want(1, deleting=True)
ROUTED = route(ONE, "r1")
NEXT = want(1, base=fleet(1), version=2)
MORE, LESS = want(2, base=fleet(1), generation=2), want(1, base=fleet(2), generation=2)

TABLE: dict[str, tuple[Want, Have, list[Action]]] = {
    "first the artifact": (ONE, Have(CREATING), [Fetch(1, "s3://b/m")]),
    "an artifact that cannot be had ends it": (
        ONE,
        Have(CREATING, {(1, "s3://b/m"): PinHave("", "It is not there", "Upload it")}),
        [SetStatus(FAILED, "It is not there. Upload it.")],
    ),
    "trouble that comes back ends it": (
        ONE,
        Have(CREATING, trouble="OSError: no space"),
        [SetStatus(FAILED, f"OSError: no space. {TROUBLE_REMEDY}")],
    ),
    "but not what is in service": (ONE, Have(IN_SERVICE, PINNED, (replica("r1"),), ROUTED, "OSError"), []),
    "then a replica for each instance": (TWO, Have(CREATING, PINNED), [StartReplica(1, "A"), StartReplica(1, "A")]),
    "then waiting for them": (ONE, Have(CREATING, PINNED, (replica("r1", STARTING),)), []),
    "a ready one is noted": (
        ONE,
        Have(CREATING, PINNED, (replica("r1", routed=False),)),
        [MarkReady("r1", "unix:r1")],
    ),
    "all noted: routers first": (ONE, Have(CREATING, PINNED, (replica("r1"),)), [Publish(ROUTED)]),
    "not while one is missing": (TWO, Have(CREATING, PINNED, (replica("r1"), replica("r2", STARTING))), []),
    "then in service": (ONE, Have(CREATING, PINNED, (replica("r1"),), ROUTED), [SetStatus(IN_SERVICE)]),
    "in service only on the address that answers": (
        ONE,
        Have(CREATING, PINNED, (replica("r1", address="unix:other"),), ROUTED),
        [MarkReady("r1", "unix:other")],
    ),
    "and nothing more": (ONE, Have(IN_SERVICE, PINNED, (replica("r1"),), ROUTED), []),
    "a replica that will never load ends it": (
        ONE,
        Have(CREATING, PINNED, (replica("r1", DEAD, cause="Bad model", remedy="Mend it"),)),
        [SetStatus(FAILED, "Bad model. Mend it.")],
    ),
    "a failed endpoint frees what it holds": (
        ONE,
        Have(FAILED, PINNED, (replica("r1", DEAD), replica("r2"))),
        [StopReplica("r1"), DrainReplica("r2")],
    ),
    "and keeps its record": (ONE, Have(FAILED, PINNED), []),
    "one restarting in place stays": (
        ONE,
        Have(IN_SERVICE, PINNED, (replica("r1", STARTING, routed=True),), ROUTED),
        [],
    ),
    "a dead one is unrouted, stopped and replaced": (
        ONE,
        Have(IN_SERVICE, PINNED, (replica("r1", DEAD, routed=True),), ROUTED),
        [StartReplica(1, "A"), Publish(route(ONE)), StopReplica("r1")],
    ),
    "but not at once if it died young": (
        ONE,
        Have(IN_SERVICE, PINNED, (replica("r1", DEAD, routed=True, started_us=NOW - 1, stopping_us=NOW),), route(ONE)),
        [WakeAt(NOW - 1 + RULES.restart_wait_us)],
    ),
    "nor only when a clock that was set back comes there again": (
        ONE,
        Have(IN_SERVICE, PINNED, (replica("r1", DEAD, routed=True, started_us=NOW + 1, stopping_us=NOW),), route(ONE)),
        [StartReplica(1, "A")],
    ),
    "the address of a replica moved": (
        ONE,
        Have(IN_SERVICE, PINNED, (replica("r1", address="unix:other"),), ROUTED),
        [MarkReady("r1", "unix:other")],
    ),
    "too many: the youngest is unrouted first": (
        ONE,
        Have(IN_SERVICE, PINNED, (replica("r1"), replica("r2", started_us=OLD + 1)), route(ONE, "r1", "r2")),
        [Publish(ROUTED)],
    ),
    "then drained": (
        ONE,
        Have(IN_SERVICE, PINNED, (replica("r1"), replica("r2", started_us=OLD + 1)), ROUTED),
        [DrainReplica("r2")],
    ),
    "then waited for": (
        ONE,
        Have(IN_SERVICE, PINNED, (replica("r1"), replica("r2", draining_us=NOW - 1)), ROUTED),
        [WakeAt(NOW - 1 + RULES.drain_us)],
    ),
    "a clock that was set back begins the wait anew": (
        ONE,
        Have(IN_SERVICE, PINNED, (replica("r1"), replica("r2", draining_us=NOW + 1)), ROUTED),
        [DrainReplica("r2")],
    ),
    "then stopped": (
        ONE,
        Have(IN_SERVICE, PINNED, (replica("r1"), replica("r2", draining_us=OLD)), ROUTED),
        [StopReplica("r2")],
    ),
    "not while it is the last that is ready": (
        ONE,
        Have(IN_SERVICE, PINNED, (replica("r1", STARTING, routed=True), replica("r2", draining_us=OLD)), ROUTED),
        [],
    ),
    "then forgotten": (
        ONE,
        Have(IN_SERVICE, PINNED, (replica("r1"), replica("r2", GONE, draining_us=OLD, stopping_us=OLD)), ROUTED),
        [ForgetReplica("r2")],
    ),
    "a delete turns traffic away first": (
        GOING,
        Have(EndpointStatus.DELETING, PINNED, (replica("r1"),), ROUTED),
        [Unpublish(), DrainReplica("r1")],
    ),
    "a delete waits for processes": (
        GOING,
        Have(EndpointStatus.DELETING, PINNED, (replica("r1", stopping_us=OLD),)),
        [WakeAt(NOW + RULES.restart_wait_us)],
    ),
    "and forgets the endpoint last": (GOING, Have(EndpointStatus.DELETING, PINNED), [ForgetEndpoint()]),
    "an update starts with its artifact": (
        NEXT,
        Have(UPDATING, PINNED, (replica("r1"),), ROUTED),
        [Fetch(2, "s3://b/m")],
    ),
    "an artifact that cannot be had leaves the old one": (
        NEXT,
        Have(UPDATING, {**PINNED, (2, "s3://b/m"): PinHave("", "No", "Do")}, (replica("r1"),), ROUTED),
        [FallBack("No. Do.")],
    ),
    "a new version starts beside the old": (
        NEXT,
        Have(UPDATING, BOTH, (replica("r1"),), ROUTED),
        [StartReplica(2, "A")],
    ),
    "while it starts, the old one is replaced when it dies": (
        NEXT,
        Have(UPDATING, BOTH, (replica("r1", DEAD), replica("r2", STARTING, of=2)), ROUTED),
        [StartReplica(1, "A"), Publish(route(ONE)), StopReplica("r1")],
    ),
    "and takes its traffic when it is whole": (
        NEXT,
        Have(UPDATING, BOTH, (replica("r1"), replica("r2", of=2)), ROUTED),
        [Publish(route(NEXT, "r2"))],
    ),
    "then it is in service": (
        NEXT,
        Have(UPDATING, BOTH, (replica("r1"), replica("r2", of=2)), route(NEXT, "r2")),
        [SetStatus(IN_SERVICE)],
    ),
    "only then the old one drains": (
        replace(NEXT, base=NEXT.target),
        Have(IN_SERVICE, BOTH, (replica("r1"), replica("r2", of=2)), route(NEXT, "r2")),
        [DrainReplica("r1")],
    ),
    "a new one that crashes before that gives the traffic back": (
        NEXT,
        Have(
            UPDATING,
            BOTH,
            (replica("r1"), replica("r2", STARTING, of=2, routed=True, started_us=NOW)),
            route(NEXT, "r2"),
        ),
        [Publish(ROUTED), WakeAt(NOW + 480 * MICROS)],
    ),
    "and is given up when it does not come to rest": (
        NEXT,
        Have(
            UPDATING,
            BOTH,
            (replica("r1"), replica("r2", STARTING, of=2, routed=True, started_us=NOW - 480 * MICROS)),
            ROUTED,
        ),
        [FallBack(f"The replica was ready, but its process ends again and again. {UNSTEADY}")],
    ),
    "a new one that will never load leaves the old one": (
        NEXT,
        Have(UPDATING, BOTH, (replica("r1"), replica("r2", DEAD, of=2, cause="Bad", remedy="Mend")), ROUTED),
        [FallBack("Bad. Mend.")],
    ),
    "what was given up is ended, what serves stays": (
        NEXT,
        Have(IN_SERVICE, BOTH, (replica("r1"), replica("r2", DEAD, of=2), replica("r3", STARTING, of=2)), ROUTED),
        [StopReplica("r2"), StopReplica("r3")],
    ),
    "trouble that comes back leaves the old one": (
        NEXT,
        Have(UPDATING, PINNED, (replica("r1"),), ROUTED, "OSError"),
        [FallBack(f"OSError. {TROUBLE_REMEDY}")],
    ),
    "more of the same start what is lacking": (
        MORE,
        Have(UPDATING, PINNED, (replica("r1"),), ROUTED),
        [StartReplica(2, "A")],
    ),
    "and are routed together": (
        MORE,
        Have(UPDATING, PINNED, (replica("r1"), replica("r2")), ROUTED),
        [Publish(route(MORE, "r1", "r2"))],
    ),
    "fewer of the same: the rest is unrouted first": (
        LESS,
        Have(UPDATING, PINNED, (replica("r1"), replica("r2")), route(TWO, "r1", "r2")),
        [Publish(route(LESS, "r1"))],
    ),
    "then the change is in service": (
        LESS,
        Have(UPDATING, PINNED, (replica("r1"), replica("r2")), route(LESS, "r1")),
        [SetStatus(IN_SERVICE)],
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_what_follows(case: str) -> None:
    wanted, have, actions = TABLE[case]
    assert plan(wanted, have, NOW) == actions


def test_several_variants_are_named_in_the_reason() -> None:
    have = Have(CREATING, PINNED, (replica("r1"), replica("r2", DEAD, variant="B", cause="Bad", remedy="Mend")))
    assert plan(want(1, 1), have, NOW)[0] == SetStatus(FAILED, "Variant B: Bad. Mend.")


# -- Lives ------------------------------------------------------------------------------------------------------------


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("turn"), st.integers(0, 9), st.sampled_from([STARTING, READY, DEAD])),
        st.tuples(st.just("end"), st.integers(0, 9), st.none()),
        st.tuples(st.just("pass"), st.integers(1, 30), st.none()),
        st.tuples(st.just("update"), st.integers(1, 3), st.sampled_from(["good", "bad"])),
        st.tuples(st.just("rescale"), st.integers(1, 3), st.none()),
        st.tuples(st.just("delete"), st.none(), st.none()),
        st.tuples(st.just("plan"), st.none(), st.none()),
    ),
    max_size=30,
)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), EVENTS)
def test_lives_converge_and_harm_nobody(counts: list[int], events: list[tuple[str, object, object]]) -> None:
    world = World(want(*counts))
    for kind, number, phase in events:
        if world.forgotten:
            break
        happen(world, kind, number, phase)
    world.settle()
    if world.wanted.deleting:
        assert world.forgotten
        return
    assert plan(world.wanted, world.have(), world.now_us, RULES) == []
    assert world.status in (IN_SERVICE, FAILED)
    live = list(world.replicas.values())
    if world.status is FAILED:
        assert live == []
        assert world.route is None
    else:
        world.check_in_service()
        serves = world.wanted.base
        assert serves is not None
        for variant in serves.revision.variants:
            mine = [r for r in live if r.variant == variant.name]
            assert len(mine) == variant.instance_count
            assert all(r.phase is READY and r.live and r.variant_uid == variant.uid for r in mine)


def happen(world: World, kind: str, number: object, phase: Any) -> None:
    uids = sorted(world.replicas)
    match kind:
        case "turn" if uids:
            uid = uids[int(str(number)) % len(uids)]
            if world.replicas[uid].phase is not GONE:
                world.change(uid, phase=phase)
        case "end":
            stopped = [uid for uid in uids if world.replicas[uid].stopping_us is not None]
            for uid in stopped[:1]:
                world.change(uid, phase=GONE)
        case "pass":
            world.pass_us(int(str(number)) * MICROS)
        case "update" if world.status is IN_SERVICE:
            generation = world.wanted.target.generation + 1
            count = int(str(number))
            target = fleet(count, 4 - count, version=generation)
            if phase == "bad":
                world.bad.add(generation)
            world.wanted = replace(world.wanted, target=target)
        case "rescale" if world.status is IN_SERVICE:
            base = world.wanted.base
            assert base is not None
            changed = tuple(replace(v, instance_count=int(str(number)), weight=2.0) for v in base.revision.variants)
            target = Fleet(world.wanted.target.generation + 1, base.version, replace(base.revision, variants=changed))
            world.wanted = replace(world.wanted, target=target)
        case "delete" if world.status in (IN_SERVICE, FAILED):
            world.wanted = replace(world.wanted, deleting=True)
        case _:
            world.settle(obey=False)
