"""The plan of one endpoint: what is wanted, what there is, and the time -> the next actions. Pure.

Applied again and again the actions converge, and then the plan is `[]`, or only a WakeAt. The order within a plan is
the order of acting: traffic is turned away before a replica drains, a replica drains before it stops.

An update is blue/green, all at once: the fleet in service (`base`) is kept whole, the new one (`target`) is started
beside it, takes all traffic once every replica of it is ready, and only then the old one drains. A target that cannot
come into service is given up, and the base goes on as if nothing had been. Fleets share the replicas of variants with
the same uid: so other weights and capacities start and end only what differs.
"""

from __future__ import annotations

from dataclasses import dataclass

from clary.dataplane.routes import EndpointRoute
from clary.domain.endpoint import RevisionVariant, failure_reason
from clary.domain.states import EndpointStatus
from clary.domain.versions import Fleet
from clary.kit.clock import MICROS
from clary.placement.base import ReplicaPhase
from clary.reconcile.facts import Have, ReplicaHave, Want
from clary.reconcile.fleets import Standing, route_of, without_dead


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
UNSTEADY = "See the replica's log (clary logs); the model may need more memory or other libraries."
TROUBLE_REMEDY = "See logs/control.log in the server's HOME, then delete the endpoint and create it again."


@dataclass(frozen=True)
class Fetch:
    """Fetch, verify and pin an artifact for a version; note a digest or a cause."""

    version: int
    url: str


@dataclass(frozen=True)
class StartReplica:
    """Wish one more replica of a variant of a generation, under a new uid."""

    generation: int
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
class FallBack:
    """Note that the newest generation cannot come into service: the one before it goes on."""

    reason: str


@dataclass(frozen=True)
class SetStatus:
    """Note how the newest generation ended: in service or, where there is none to go on with, failed."""

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
    | FallBack
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
    if have.status is EndpointStatus.IN_SERVICE:
        return _keep(want, want.base or want.target, have, now_us, rules)
    return _change(want, have, now_us, rules)


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


def _keep(want: Want, fleet: Fleet, have: Have, now_us: int, rules: Rules) -> list[Action]:
    """Keep the fleet in service whole."""
    missing = [url for url in fleet.revision.artifact_urls if (fleet.version, url) not in have.pins]
    if missing:
        return [Fetch(fleet.version, url) for url in missing]
    standing = Standing.of([fleet], have.replicas)
    actions: list[Action] = [*_ready(standing), *_fill(standing, have, now_us, rules)]
    route = route_of(want, fleet, standing)
    if route != have.route:
        actions.append(Publish(route))
    return actions + _retirements(have, standing, now_us, rules)


def _change(want: Want, have: Have, now_us: int, rules: Rules) -> list[Action]:
    """Bring the newest generation into service, beside the one that serves, if any; or give it up."""
    target, base = want.target, want.base
    standing = Standing.of([base, target] if base else [target], have.replicas)
    cause = _failure(want, have, standing, now_us)
    if cause:
        # It would stay in transition for ever, and an endpoint in transition cannot be changed or deleted.
        return [FallBack(cause) if base else SetStatus(EndpointStatus.FAILED, cause)]
    missing = [url for url in target.revision.artifact_urls if (target.version, url) not in have.pins]
    complete = not missing and standing.complete(target, ready_now=base is not None)
    actions: list[Action] = [*_ready(standing), *([] if complete else _fill(standing, have, now_us, rules))]
    route: EndpointRoute | None
    if complete:
        route = route_of(want, target, standing)
    elif base:
        route = route_of(want, base, standing)
    else:
        route = without_dead(have.route, have.replicas)
    if route is not None and route != have.route:
        actions.append(Publish(route))
    elif complete and not actions:
        # Only after the routers were told: a client that sees InService may invoke.
        actions.append(SetStatus(EndpointStatus.IN_SERVICE))
    # Last, for a fetch may take minutes: what serves is looked after first.
    fetches = [Fetch(target.version, url) for url in missing]
    return [*actions, *_late(want, standing, now_us), *_retirements(have, standing, now_us, rules), *fetches]


def _failure(want: Want, have: Have, standing: Standing, now_us: int) -> str:
    """Why the newest generation cannot come into service; empty while it still may."""
    if have.trouble:
        return failure_reason(have.trouble, TROUBLE_REMEDY)
    several = len(want.target.revision.variants) > 1
    for variant in want.target.revision.variants:
        pin = have.pins.get((want.target.version, variant.container.artifact))
        if pin is not None and pin.cause:
            return failure_reason(pin.cause, pin.remedy)
        prefix = f"Variant {variant.name}: " if several else ""
        for replica in have.replicas:
            if replica.variant_uid != variant.uid or replica.generation != want.target.generation:
                continue
            # While nothing serves yet, one that was ready once may die and be replaced.
            if replica.dead and replica.stopping_us is None and (want.base or not replica.was_ready):
                return failure_reason(
                    prefix + (replica.cause or "The replica ended before it was ready."), replica.remedy
                )
        for replica in _unsteady(want, variant, standing):
            if now_us >= replica.started_us + variant.load_timeout_s * MICROS:
                return failure_reason(f"{prefix}The replica was ready, but its process ends again and again.", UNSTEADY)
    return ""


def _unsteady(want: Want, variant: RevisionVariant, standing: Standing) -> list[ReplicaHave]:
    """Replicas of an update that were ready and are not: it waits for them, but not for ever."""
    return [
        replica
        for replica in (standing.kept[variant.uid] if want.base else ())
        if replica.was_ready
        and replica.phase is not ReplicaPhase.READY
        and replica.generation == want.target.generation
    ]


def _late(want: Want, standing: Standing, now_us: int) -> list[Action]:
    """When to look again at those."""
    due = [
        replica.started_us + variant.load_timeout_s * MICROS
        for variant in want.target.revision.variants
        for replica in _unsteady(want, variant, standing)
    ]
    return [WakeAt(min(due))] if due and min(due) > now_us else []


def _ready(standing: Standing) -> list[Action]:
    """Note what is ready and not noted so, or not where it is."""
    return [
        MarkReady(replica.uid, replica.address)
        for replicas in standing.kept.values()
        for replica in sorted(replicas, key=lambda replica: replica.uid)
        if replica.phase is ReplicaPhase.READY and replica.address != replica.routed_address
    ]


def _fill(standing: Standing, have: Have, now_us: int, rules: Rules) -> list[Action]:
    """Start what variants lack, but not right after one of their replicas died young."""
    actions: list[Action] = []
    for uid, place in standing.places.items():
        fleet, variant = place.fleet, place.variant
        lacking = place.count - len(standing.kept[uid])
        pin = have.pins.get((fleet.version, variant.container.artifact))
        if lacking <= 0 or pin is None or not pin.digest:
            continue
        # A dead row is kept until its replacement may start (_retirements), so that the wait survives a restart.
        waits = [r.started_us + rules.restart_wait_us for r in have.replicas if r.variant_uid == uid and _died(r)]
        due_us = max(waits, default=now_us)
        start = StartReplica(fleet.generation, variant.name)
        actions += [WakeAt(due_us)] if now_us < due_us else [start] * lacking
    return actions


def _died(replica: ReplicaHave) -> bool:
    """Ended unasked; a replica that was drained ended as planned."""
    return replica.draining_us is None and (replica.dead or replica.stopping_us is not None)


def _retirements(have: Have, standing: Standing, now_us: int, rules: Rules) -> list[Action]:
    """End what does not stand for a variant any more, once no router sends to it."""
    routed = {r.uid for variant in (have.route.variants if have.route else ()) for r in variant.replicas}
    kept = [replica for replicas in standing.kept.values() for replica in replicas]
    uids = {replica.uid for replica in kept}
    names = {place.variant.name for place in standing.places.values()}
    ready = {replica.variant for replica in kept if replica.phase is ReplicaPhase.READY}
    actions: list[Action] = []
    for replica in have.replicas:
        if replica.uid in uids or (replica.uid in routed and not replica.dead):
            continue
        held_until_us = replica.started_us + rules.restart_wait_us
        ended = replica.stopping_us is not None and replica.phase is ReplicaPhase.GONE
        if ended and _died(replica) and now_us < held_until_us and replica.variant_uid in standing.places:
            actions.append(WakeAt(held_until_us))
            continue
        # Draining already: it takes nothing new, but what stands for it crashed meanwhile and is on its way back.
        if replica.phase is ReplicaPhase.READY and replica.variant in names - ready:
            continue
        actions += _retire(replica, now_us, rules)
    return actions
