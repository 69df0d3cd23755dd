"""The plan of one endpoint: a table of situations, then properties over whole lives in a world that we make up.

The example for plan tests: `want`, `have` and `replica` build a situation in a line, and each row says what follows.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clary.dataplane.routes import EndpointRoute, ReplicaRoute, VariantRoute
from clary.domain.endpoint import Revision, RevisionVariant
from clary.domain.model import Container
from clary.domain.principal import Scope
from clary.domain.states import EndpointStatus, step
from clary.domain.versions import Fleet
from clary.kit.clock import MICROS
from clary.placement.base import ReplicaPhase
from clary.reconcile.actions import (
    Action,
    DrainReplica,
    FallBack,
    Fetch,
    ForgetEndpoint,
    ForgetReplica,
    MarkReady,
    Publish,
    Rules,
    SetStatus,
    StartReplica,
    StopReplica,
    Unpublish,
    WakeAt,
)
from clary.reconcile.endpoint import UNSTEADY, plan
from clary.reconcile.facts import Have, PinHave, ReplicaHave, Want
from clary.reconcile.rollout import TROUBLE_REMEDY

NOW = 1_000 * MICROS
OLD = NOW - 100 * MICROS
RULES = Rules()
CREATING, IN_SERVICE, FAILED = EndpointStatus.CREATING, EndpointStatus.IN_SERVICE, EndpointStatus.FAILED
UPDATING = EndpointStatus.UPDATING
STARTING, READY, DEAD, GONE = ReplicaPhase.STARTING, ReplicaPhase.READY, ReplicaPhase.FAILED, ReplicaPhase.GONE
PINNED = {(1, "s3://b/m"): PinHave("d1")}
BOTH = {**PINNED, (2, "s3://b/m"): PinHave("d2")}


def fleet(*counts: int, version: int = 1, generation: int = 0) -> Fleet:
    """Variants A, B, ... with these instance counts, all on the artifact s3://b/m; of generation `version`."""
    variants = tuple(
        RevisionVariant(
            f"v{name}{version}", name, "m", count, "ml.m5.large", 1.0, 480, Container("i", "x", "1", "s3://b/m")
        )
        for name, count in zip("ABCD", counts, strict=False)
    )
    return Fleet(generation or version, version, Revision("c", variants))


def want(
    *counts: int, deleting: bool = False, base: Fleet | None = None, version: int = 1, generation: int = 0
) -> Want:
    """A fleet of `version` and generation, wanted while `base` serves."""
    target = fleet(*counts, version=version, generation=generation)
    return Want("e1", Scope("123456789012", "us-east-1"), "e", deleting, target, base)


def replica(uid: str, phase: ReplicaPhase = READY, variant: str = "A", **more: object) -> ReplicaHave:
    """An old replica of generation and version 1; `routed=True`: it was ready and noted so; `of=2`: of version 2."""
    routed = f"unix:{uid}" if more.pop("routed", phase is READY) else ""
    version = more.pop("of", 1)
    base = ReplicaHave(uid, int(str(version)), variant, f"v{variant}{version}", phase, OLD, f"unix:{uid}", routed)
    return replace(base, **more)  # type: ignore[arg-type]


def route(of: Want, *uids: str) -> EndpointRoute:
    """The route of an endpoint of one variant with these replicas."""
    (variant,) = of.target.revision.variants
    replicas = tuple(ReplicaRoute(uid, f"unix:{uid}") for uid in uids)
    return EndpointRoute(
        "123456789012", "us-east-1", "e", "e1", of.target.generation,
        (VariantRoute(variant.name, variant.uid, 1.0, replicas, variant.instance_count, config="c"),), of.target.version,
    )  # fmt: skip


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


@dataclass
class World:
    """Applies actions as act.py does, with processes that obey, crash and recover as hypothesis draws."""

    wanted: Want
    now_us: int = NOW
    observed: tuple[int | None, EndpointStatus | None] = (None, None)
    pins: dict[tuple[int, str], PinHave] = field(default_factory=dict)
    bad: set[int] = field(default_factory=set)
    """Versions whose replicas never load."""
    replicas: dict[str, ReplicaHave] = field(default_factory=dict)
    route: EndpointRoute | None = None
    forgotten: bool = False
    count: int = 0

    @property
    def status(self) -> EndpointStatus:
        generation, status = self.observed
        if self.wanted.deleting:
            return EndpointStatus.DELETING
        if status is None:
            return EndpointStatus.CREATING
        return status if generation == self.wanted.target.generation else UPDATING

    def have(self) -> Have:
        return Have(self.status, dict(self.pins), tuple(self.replicas.values()), self.route)

    def change(self, uid: str, **columns: object) -> None:
        self.replicas[uid] = replace(self.replicas[uid], **columns)  # type: ignore[arg-type]

    def apply(self, action: Action) -> None:
        match action:
            case Fetch(version, url):
                self.pins[version, url] = PinHave("d")
            case StartReplica(generation, variant):
                self.start(generation, variant)
            case MarkReady(uid, address):
                self.change(uid, routed_address=address)
            case Publish(route):
                self.check_switch(route)
                self.route = route
            case Unpublish():
                self.route = None
            case DrainReplica(uid):
                self.check_unrouted(uid)
                self.check_base(uid)
                self.change(uid, draining_us=self.now_us)
            case StopReplica(uid):
                self.check_unrouted(uid)
                self.check_base(uid)
                self.check_last(uid)
                self.change(uid, stopping_us=self.now_us)
            case ForgetReplica(uid):
                assert self.replicas.pop(uid).phase is GONE, "a process that may still run was forgotten"
            case SetStatus(status):
                step(self.status, status)
                self.observed = (self.wanted.target.generation, status)
                if status is IN_SERVICE:
                    self.wanted = replace(self.wanted, base=self.wanted.target)
                    self.check_in_service()
            case FallBack():
                step(self.status, IN_SERVICE)
                assert self.wanted.base is not None
                self.observed = (self.wanted.target.generation, IN_SERVICE)
            case ForgetEndpoint():
                assert not self.replicas
                assert self.route is None
                self.forgotten = True
            case WakeAt(at_us):
                assert at_us > self.now_us

    def start(self, generation: int, variant: str) -> None:
        self.count += 1
        uid = f"r{self.count:03}"
        of = self.wanted.target
        if generation != of.generation:
            assert self.wanted.base is not None
            of = self.wanted.base
        assert generation == of.generation
        found = next(v for v in of.revision.variants if v.name == variant)
        self.replicas[uid] = ReplicaHave(uid, generation, variant, found.uid, STARTING, self.now_us, f"unix:{uid}")

    def check_unrouted(self, uid: str) -> None:
        routed = {r.uid for variant in (self.route.variants if self.route else ()) for r in variant.replicas}
        assert uid not in routed, "a replica was ended while routers send to it"

    def check_base(self, uid: str) -> None:
        """Never ends a live replica of what serves before something else does, but for one too many."""
        ended, base = self.replicas[uid], self.wanted.base
        if self.status not in (UPDATING, IN_SERVICE) or base is None or not ended.live:
            return
        for variant in base.revision.variants:
            if variant.uid == ended.variant_uid:
                others = [r for r in self.replicas.values() if r.variant_uid == variant.uid and r.live and r.uid != uid]
                assert len(others) >= variant.instance_count, "the last good fleet lost a replica"

    def check_switch(self, new: EndpointRoute) -> None:
        """Traffic moves to another generation only when every replica of it is ready."""
        if self.wanted.base is None or new.generation == self.wanted.base.generation:
            return
        assert new.generation == self.wanted.target.generation
        for variant, routed in zip(self.wanted.target.revision.variants, new.variants, strict=True):
            assert len(routed.replicas) == variant.instance_count
            assert all(self.replicas[r.uid].phase is READY for r in routed.replicas)

    def check_last(self, uid: str) -> None:
        """Never stops the last ready replica of a variant that serves."""
        stopped = self.replicas[uid]
        serves = self.wanted.base or self.wanted.target
        names = {variant.name for variant in serves.revision.variants}
        if self.wanted.deleting or self.status is FAILED or stopped.variant not in names:
            return
        if stopped.phase is READY:
            others = [r for r in self.replicas.values() if r.variant == stopped.variant and r.live and r.uid != uid]
            assert any(other.phase is READY for other in others), "the last ready replica was stopped"

    def check_in_service(self) -> None:
        assert self.route is not None
        serves = self.wanted.base
        assert serves is not None
        assert self.route.generation == serves.generation
        for variant, routed in zip(serves.revision.variants, self.route.variants, strict=True):
            assert len(routed.replicas) == variant.instance_count

    def settle(self, *, obey: bool = True, passes_max: int = 400) -> None:
        """Plan and act until nothing is left but what time and processes bring; with `obey` those come, too."""
        for _ in range(passes_max):
            if self.forgotten:
                return
            actions = plan(self.wanted, self.have(), self.now_us, RULES)
            assert actions == plan(self.wanted, self.have(), self.now_us, RULES)
            for action in actions:
                self.apply(action)
            if any(not isinstance(action, WakeAt) for action in actions):
                continue
            if not obey or not (self.processes() or actions):
                return
            self.now_us = max([self.now_us, *(a.at_us for a in actions if isinstance(a, WakeAt))])
        raise AssertionError("the plan does not converge")

    def processes(self) -> bool:
        """Processes do as they were told; whether any had to."""
        moved = False
        for uid, found in list(self.replicas.items()):
            loads = DEAD if found.generation in self.bad else READY
            obeyed = GONE if found.stopping_us is not None else loads if found.phase is STARTING else found.phase
            if obeyed is not found.phase:
                self.change(uid, phase=obeyed)
                moved = True
        return moved


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
            world.now_us += int(str(number)) * MICROS
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
