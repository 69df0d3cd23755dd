"""The plan of one endpoint: what is wanted, what there is, and the time -> the next actions. Pure.

Applied again and again the actions converge, and then the plan is `[]`, or only a WakeAt. The order within a plan is
the order of acting: traffic is turned away before a replica drains, a replica drains before it stops.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from clary.dataplane.routes import EndpointRoute, ReplicaRoute, VariantRoute
from clary.domain.endpoint import Revision, RevisionVariant, failure_reason
from clary.domain.principal import Scope
from clary.domain.states import EndpointStatus
from clary.kit.clock import MICROS
from clary.placement.base import ReplicaPhase


@dataclass(frozen=True)
class Rules:
    """Times the plan goes by, in microseconds."""

    drain_us: int = 1 * MICROS
    """From drain to stop. Routers swap routes when told and look each second themselves, so that after one second none
    sends any more; what a replica still has in hand it finishes within its grace after the stop."""
    restart_wait_us: int = 10 * MICROS
    """From the start of a replica that failed to the start of its replacement: a model that cannot live must not
    take the machine with it."""


RULES = Rules()
TROUBLE_REMEDY = "See logs/control.log in the server's HOME, then delete the endpoint and create it again."


@dataclass(frozen=True)
class Want:
    """What control wrote."""

    uid: str
    scope: Scope
    name: str
    generation: int
    deleting: bool
    revision: Revision


@dataclass(frozen=True)
class PinHave:
    """What became of an artifact: a digest, or a cause with its remedy."""

    digest: str
    cause: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class ReplicaHave:
    """A replica as noted and as observed."""

    uid: str
    generation: int
    variant: str
    phase: ReplicaPhase
    """GONE where it was told to stop and placement knows it no more; STARTING where placement does not know it yet."""
    started_us: int
    address: str = ""
    """As observed."""
    routed_address: str = ""
    """As noted when it was first ready; empty before."""
    draining_us: int | None = None
    stopping_us: int | None = None
    cause: str = ""
    remedy: str = ""

    @property
    def live(self) -> bool:
        """Counts towards its variant."""
        return self.draining_us is None and self.stopping_us is None and not self.dead

    @property
    def dead(self) -> bool:
        """Will not come back by itself."""
        return self.phase in (ReplicaPhase.FAILED, ReplicaPhase.GONE)

    @property
    def was_ready(self) -> bool:
        """Ready now or once: routers hold requests for it while the agent restarts it."""
        return bool(self.routed_address)


@dataclass(frozen=True)
class Have:
    """What reconcile noted and placement observed."""

    status: EndpointStatus
    """As described; for the generation of Want."""
    pins: Mapping[str, PinHave] = field(default_factory=dict)
    """By artifact URL."""
    replicas: tuple[ReplicaHave, ...] = ()
    route: EndpointRoute | None = None
    """As published to the routers."""
    trouble: str = ""
    """What went wrong unexpectedly, again and again; empty while things go well or may yet."""


@dataclass(frozen=True)
class Fetch:
    """Fetch, verify and pin an artifact; note a digest or a cause."""

    url: str


@dataclass(frozen=True)
class StartReplica:
    """Wish one more replica of a variant, under a new uid."""

    variant: str


@dataclass(frozen=True)
class MarkReady:
    """Note that a replica was ready, and where."""

    uid: str
    address: str


@dataclass(frozen=True)
class Publish:
    """Give the routers this route and tell them."""

    route: EndpointRoute


@dataclass(frozen=True)
class Unpublish:
    """Take the endpoint's route from the routers and tell them."""


@dataclass(frozen=True)
class DrainReplica:
    """Ask a replica to finish what it has."""

    uid: str


@dataclass(frozen=True)
class StopReplica:
    """Take a replica off the wish."""

    uid: str


@dataclass(frozen=True)
class ForgetReplica:
    """Drop the note of a replica whose process is gone."""

    uid: str


@dataclass(frozen=True)
class SetStatus:
    """Note how the generation ended."""

    status: EndpointStatus
    reason: str = ""


@dataclass(frozen=True)
class ForgetEndpoint:
    """Drop every row of a deleted endpoint: nothing of it runs any more."""


@dataclass(frozen=True)
class WakeAt:
    """Nothing to do before this instant; plan again then."""

    at_us: int


Action = (
    Fetch
    | StartReplica
    | MarkReady
    | Publish
    | Unpublish
    | DrainReplica
    | StopReplica
    | ForgetReplica
    | SetStatus
    | ForgetEndpoint
    | WakeAt
)


def plan(want: Want, have: Have, now_us: int, rules: Rules = RULES) -> list[Action]:
    """The next actions, in order; [] at the fixed point."""
    if want.deleting:
        return _leave(have, now_us, rules) or [ForgetEndpoint()]
    if have.status is EndpointStatus.FAILED:
        # A failed endpoint holds nothing; only its record and its reason stay until it is deleted.
        return _leave(have, now_us, rules)
    return _serve(want, have, now_us, rules)


def _leave(have: Have, now_us: int, rules: Rules) -> list[Action]:
    """Turn traffic away, then end every replica."""
    actions: list[Action] = [] if have.route is None else [Unpublish()]
    for replica in have.replicas:
        actions += _retire(replica, now_us, rules)
    waiting = any(replica.stopping_us is not None for replica in have.replicas)
    # Processes that are still ending: nothing to do, yet not the end.
    return actions or ([WakeAt(now_us + rules.restart_wait_us)] if waiting else [])


def _retire(replica: ReplicaHave, now_us: int, rules: Rules) -> list[Action]:
    """The next step of a replica that is no longer wanted: drain, stop, forget."""
    if replica.stopping_us is not None:
        return [ForgetReplica(replica.uid)] if replica.phase is ReplicaPhase.GONE else []
    if replica.phase is not ReplicaPhase.READY or not replica.was_ready:
        return [StopReplica(replica.uid)]
    if replica.draining_us is None:
        return [DrainReplica(replica.uid)]
    due_us = replica.draining_us + rules.drain_us
    return [StopReplica(replica.uid)] if now_us >= due_us else [WakeAt(due_us)]


def _serve(want: Want, have: Have, now_us: int, rules: Rules) -> list[Action]:
    if have.trouble and have.status is not EndpointStatus.IN_SERVICE:
        # It would stay in transition for ever, and an endpoint in transition cannot be deleted.
        return [SetStatus(EndpointStatus.FAILED, failure_reason(have.trouble, TROUBLE_REMEDY))]
    missing = [url for url in want.revision.artifact_urls if url not in have.pins]
    if missing:
        return [Fetch(url) for url in missing]
    settled = have.status is EndpointStatus.IN_SERVICE
    if not settled:
        reason = _failure(want, have)
        if reason:
            return [SetStatus(EndpointStatus.FAILED, reason)]

    kept = {variant.name: _kept(want.generation, variant, have.replicas) for variant in want.revision.variants}
    actions: list[Action] = [
        MarkReady(replica.uid, replica.address)
        for replicas in kept.values()
        for replica in replicas
        if replica.phase is ReplicaPhase.READY and replica.address != replica.routed_address
    ]
    for variant in want.revision.variants:
        actions += _fill(want.generation, variant, len(kept[variant.name]), have.replicas, now_us, rules)

    complete = all(
        len(kept[variant.name]) == variant.instance_count and all(replica.was_ready for replica in kept[variant.name])
        for variant in want.revision.variants
    )
    route = _route(want, kept) if complete or settled else _without_dead(have)
    if route is not None and route != have.route:
        actions.append(Publish(route))
    elif complete and not settled and not actions:
        # Only after the routers were told: a client that sees InService may invoke.
        actions.append(SetStatus(EndpointStatus.IN_SERVICE))
    return actions + _retirements(have, kept, now_us, rules)


def _failure(want: Want, have: Have) -> str:
    """Why this generation cannot come into service; empty while it still may."""
    several = len(want.revision.variants) > 1
    for variant in want.revision.variants:
        pin = have.pins[variant.container.model_data_url]
        if pin.cause:
            return failure_reason(pin.cause, pin.remedy)
        for replica in _of(want.generation, variant, have.replicas):
            if replica.dead and replica.stopping_us is None and not replica.was_ready:
                cause = replica.cause or "The replica ended before it was ready."
                return failure_reason(f"Variant {variant.name}: {cause}" if several else cause, replica.remedy)
    return ""


def _of(generation: int, variant: RevisionVariant, replicas: Iterable[ReplicaHave]) -> list[ReplicaHave]:
    return [replica for replica in replicas if replica.generation == generation and replica.variant == variant.name]


def _kept(generation: int, variant: RevisionVariant, replicas: Iterable[ReplicaHave]) -> list[ReplicaHave]:
    """The replicas that stand for a variant: ready ones first, then those that were, then the oldest."""
    live = [replica for replica in _of(generation, variant, replicas) if replica.live]
    live.sort(key=lambda r: (r.phase is not ReplicaPhase.READY, not r.was_ready, r.started_us, r.uid))
    return sorted(live[: variant.instance_count], key=lambda replica: replica.uid)


def _fill(
    generation: int,
    variant: RevisionVariant,
    present: int,
    replicas: Iterable[ReplicaHave],
    now_us: int,
    rules: Rules,
) -> list[Action]:
    """Start what a variant lacks, but not right after one of its replicas died young."""
    lacking = variant.instance_count - present
    if lacking <= 0:
        return []
    # A dead row is kept until its replacement may start (_retirements), so that the wait survives a restart.
    waits = [r.started_us + rules.restart_wait_us for r in _of(generation, variant, replicas) if _died(r)]
    due_us = max(waits, default=now_us)
    return [WakeAt(due_us)] if now_us < due_us else [StartReplica(variant.name)] * lacking


def _died(replica: ReplicaHave) -> bool:
    """Ended unasked; a replica that was drained ended as planned."""
    return replica.draining_us is None and (replica.dead or replica.stopping_us is not None)


def _route(want: Want, kept: Mapping[str, list[ReplicaHave]]) -> EndpointRoute:
    return EndpointRoute(
        account=want.scope.account,
        region=want.scope.region,
        name=want.name,
        uid=want.uid,
        generation=want.generation,
        variants=tuple(
            VariantRoute(
                name=variant.name,
                uid=variant.uid,
                weight=variant.weight,
                replicas=tuple(
                    ReplicaRoute(replica.uid, replica.routed_address)
                    for replica in kept[variant.name]
                    if replica.was_ready
                ),
                instances=variant.instance_count,
            )
            for variant in want.revision.variants
        ),
    )


def _without_dead(have: Have) -> EndpointRoute | None:
    """The route as it is, without replicas that will not come back: routers would keep requests for them."""
    if have.route is None:
        return None
    dead = {replica.uid for replica in have.replicas if replica.dead}
    variants = tuple(
        msgspec.structs.replace(variant, replicas=tuple(r for r in variant.replicas if r.uid not in dead))
        for variant in have.route.variants
    )
    return msgspec.structs.replace(have.route, variants=variants)


def _retirements(have: Have, kept: Mapping[str, list[ReplicaHave]], now_us: int, rules: Rules) -> list[Action]:
    """End what does not stand for a variant any more, once no router sends to it."""
    routed = {r.uid for variant in (have.route.variants if have.route else ()) for r in variant.replicas}
    standing = {replica.uid for replicas in kept.values() for replica in replicas}
    actions: list[Action] = []
    for replica in have.replicas:
        if replica.uid in standing or (replica.uid in routed and not replica.dead):
            continue
        held_until_us = replica.started_us + rules.restart_wait_us
        ended = replica.stopping_us is not None and replica.phase is ReplicaPhase.GONE
        if ended and _died(replica) and now_us < held_until_us:
            actions.append(WakeAt(held_until_us))
            continue
        last_ready = replica.phase is ReplicaPhase.READY and not any(
            other.phase is ReplicaPhase.READY for other in kept.get(replica.variant, [replica])
        )
        # Draining already: it takes nothing new, but what stands for it crashed meanwhile and is on its way back.
        if last_ready and replica.variant in kept:
            continue
        actions += _retire(replica, now_us, rules)
    return actions
