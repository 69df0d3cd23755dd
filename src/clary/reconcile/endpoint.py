"""The plan of one endpoint: what is wanted, what there is, and the time -> the next actions. Pure.

Applied again and again the actions converge, and then the plan is `[]`, or only a WakeAt. The order within a plan is
the order of acting: traffic is turned away before a replica drains, a replica drains before it stops.

An update is blue/green, all at once: the fleet in service (`base`) is kept whole, the new one (`target`) is started
beside it, takes all traffic once every replica of it is ready, and only then the old one drains. A target that cannot
come into service is given up, and the base goes on as if nothing had been. Fleets share the replicas of variants with
the same uid: so other weights and capacities start and end only what differs. An update with a deployment
configuration moves traffic step by step instead: rollout.py.
"""

from __future__ import annotations

from clary.dataplane.routes import EndpointRoute
from clary.domain.endpoint import RevisionVariant, failure_reason
from clary.domain.states import EndpointStatus
from clary.kit.clock import MICROS
from clary.placement.base import ReplicaPhase
from clary.reconcile.actions import (
    RULES,
    Action,
    FallBack,
    ForgetEndpoint,
    Publish,
    Rules,
    SetStatus,
    WakeAt,
)
from clary.reconcile.facts import Have, ReplicaHave, Want
from clary.reconcile.fleets import Part, Standing, route_of, without_dead
from clary.reconcile.rollout import TROUBLE_REMEDY, in_service, plan_rollout
from clary.reconcile.upkeep import broken, fill, leave, missing, note_ready, retirements

UNSTEADY = "See the replica's log (clary logs); the model may need more memory or other libraries."


def plan(want: Want, have: Have, now_us: int, rules: Rules = RULES) -> list[Action]:
    """The next actions, in order; [] at the fixed point."""
    if want.deleting:
        return leave(have, now_us, rules) or [ForgetEndpoint()]
    if have.status is EndpointStatus.FAILED:
        # A failed endpoint holds nothing; only its record and its reason stay until it is deleted.
        return leave(have, now_us, rules)
    if have.status in (EndpointStatus.IN_SERVICE, EndpointStatus.ROLLBACK_FAILED):
        return _keep(want, have, now_us, rules)
    if want.base is not None and want.target.deployment is not None:
        return plan_rollout(want, have, now_us, rules)
    return _change(want, have, now_us, rules)


def _keep(want: Want, have: Have, now_us: int, rules: Rules) -> list[Action]:
    """Keep what is in service whole."""
    parts = in_service(want, have)
    fetches = missing(parts, have)
    if fetches:
        return [*fetches]
    standing = Standing.of(parts, have.replicas)
    actions: list[Action] = [*note_ready(standing), *fill(standing, have, now_us, rules)]
    route = route_of(want, parts, standing)
    if route != have.route:
        actions.append(Publish(route))
    return actions + retirements(have, standing, now_us, rules)


def _change(want: Want, have: Have, now_us: int, rules: Rules) -> list[Action]:
    """Bring the newest generation into service, beside what serves, if anything does; or give it up."""
    base, target = in_service(want, have) if want.base else (), Part(want.target)
    standing = Standing.of([*base, target], have.replicas)
    cause = _failure(want, have, standing, now_us)
    if cause:
        # It would stay in transition for ever, and an endpoint in transition cannot be changed or deleted.
        return [FallBack(cause) if base else SetStatus(EndpointStatus.FAILED, cause)]
    fetches = missing([target], have)
    complete = not fetches and standing.complete(target, ready_now=bool(base))
    actions: list[Action] = [*note_ready(standing), *([] if complete else fill(standing, have, now_us, rules))]
    route: EndpointRoute | None
    if complete:
        route = route_of(want, [target], standing)
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
    return [*actions, *_late(want, standing, now_us), *retirements(have, standing, now_us, rules), *fetches]


def _failure(want: Want, have: Have, standing: Standing, now_us: int) -> str:
    """Why the newest generation cannot come into service; empty while it still may."""
    if have.trouble:
        return failure_reason(have.trouble, TROUBLE_REMEDY)
    # While nothing serves yet, a replica that was ready once may die and be replaced.
    cause = broken(want.target, have, forgiving=want.base is None)
    if cause:
        return cause
    several = len(want.target.revision.variants) > 1
    for variant in want.target.revision.variants:
        for replica in _unsteady(want, variant, standing):
            if now_us >= replica.started_us + variant.load_timeout_s * MICROS:
                prefix = f"Variant {variant.name}: " if several else ""
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
