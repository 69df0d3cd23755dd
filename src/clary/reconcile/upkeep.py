"""The steps of single replicas within a plan: started, noted ready, drained, stopped, forgotten. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from clary.domain.endpoint import failure_reason
from clary.domain.versions import Fleet
from clary.placement.base import ReplicaPhase
from clary.reconcile.actions import (
    Action,
    DrainReplica,
    Fetch,
    ForgetReplica,
    MarkReady,
    Rules,
    StartReplica,
    StopReplica,
    Unpublish,
    WakeAt,
)
from clary.reconcile.facts import Have, ReplicaHave
from clary.reconcile.fleets import Part, Standing


def leave(have: Have, now_us: int, rules: Rules) -> list[Action]:
    """Turn traffic away, then end every replica."""
    actions: list[Action] = [] if have.route is None else [Unpublish()]
    for replica in have.replicas:
        actions += retire(replica, now_us, rules)
    waiting = any(replica.stopping_us is not None for replica in have.replicas)
    # Processes that are still ending: nothing to do, yet not the end.
    return actions or ([WakeAt(now_us + rules.restart_wait_us)] if waiting else [])


def retire(replica: ReplicaHave, now_us: int, rules: Rules) -> list[Action]:
    """The next step of a replica that is no longer wanted: drain, stop, forget. A clock that was set back before the
    drain began makes it begin anew, so that it is no shorter and not longer by as much."""
    if replica.stopping_us is not None:
        return [ForgetReplica(replica.uid)] if replica.phase is ReplicaPhase.GONE else []
    if replica.phase is not ReplicaPhase.READY or not replica.was_ready:
        return [StopReplica(replica.uid)]
    if replica.draining_us is None or replica.draining_us > now_us:
        return [DrainReplica(replica.uid)]
    due_us = replica.draining_us + rules.drain_us
    return [StopReplica(replica.uid)] if now_us >= due_us else [WakeAt(due_us)]


def note_ready(standing: Standing) -> list[Action]:
    """Note what is ready and not noted so, or not where it is."""
    return [
        MarkReady(replica.uid, replica.address)
        for replicas in standing.kept.values()
        for replica in sorted(replicas, key=lambda replica: replica.uid)
        if replica.phase is ReplicaPhase.READY and replica.address != replica.routed_address
    ]


def fill(standing: Standing, have: Have, now_us: int, rules: Rules) -> list[Action]:
    """Start what variants lack, but not right after one of their replicas died young."""
    actions: list[Action] = []
    for uid, place in standing.places.items():
        fleet, variant = place.fleet, place.variant
        lacking = place.count - len(standing.kept[uid])
        pin = have.pins.get((fleet.version, variant.container.artifact))
        if lacking <= 0 or pin is None or not pin.digest:
            continue
        # A dead row is kept until its replacement may start (_retirements), so that the wait survives a restart.
        waits = [_held_until_us(r, now_us, rules) for r in have.replicas if r.variant_uid == uid and died(r)]
        due_us = max(waits, default=now_us)
        start = StartReplica(fleet.generation, variant.name)
        actions += [WakeAt(due_us)] if now_us < due_us else [start] * lacking
    return actions


def died(replica: ReplicaHave) -> bool:
    """Ended unasked; a replica that was drained ended as planned."""
    return replica.draining_us is None and (replica.dead or replica.stopping_us is not None)


def _held_until_us(replica: ReplicaHave, now_us: int, rules: Rules) -> int:
    """When one that died may be replaced: at once where the clock was set back since it started."""
    return replica.started_us + rules.restart_wait_us if replica.started_us <= now_us else now_us


def retirements(have: Have, standing: Standing, now_us: int, rules: Rules) -> list[Action]:
    """End what does not stand for a variant any more, once no router sends to it."""
    routed = {r.uid for variant in (have.route.variants if have.route else ()) for r in variant.replicas}
    kept = [replica for replicas in standing.kept.values() for replica in replicas]
    uids = {replica.uid for replica in kept}
    names = {place.variant.name for place in standing.places.values() if place.count}
    ready = {replica.variant for replica in kept if replica.phase is ReplicaPhase.READY}
    actions: list[Action] = []
    for replica in have.replicas:
        if replica.uid in uids or (replica.uid in routed and not replica.dead):
            continue
        held_until_us = _held_until_us(replica, now_us, rules)
        ended = replica.stopping_us is not None and replica.phase is ReplicaPhase.GONE
        if ended and died(replica) and now_us < held_until_us and replica.variant_uid in standing.places:
            actions.append(WakeAt(held_until_us))
            continue
        # Draining already: it takes nothing new, but what stands for it crashed meanwhile and is on its way back.
        if replica.phase is ReplicaPhase.READY and replica.variant in names - ready:
            continue
        actions += retire(replica, now_us, rules)
    return actions


def missing(parts: Iterable[Part], have: Have) -> list[Fetch]:
    """Artifacts of `parts` that nobody fetched yet."""
    wanted = [(part.fleet.version, url) for part in parts for url in part.fleet.revision.artifact_urls]
    return [Fetch(version, url) for version, url in dict.fromkeys(wanted) if (version, url) not in have.pins]


def broken(fleet: Fleet, have: Have, *, forgiving: bool) -> str:
    """Why `fleet` cannot come into service: its artifact cannot be had, or a replica of it will never load; empty
    while it still may. `forgiving`: a replica that was ready once may die and be replaced."""
    several = len(fleet.revision.variants) > 1
    for variant in fleet.revision.variants:
        pin = have.pins.get((fleet.version, variant.container.artifact))
        if pin is not None and pin.cause:
            return failure_reason(pin.cause, pin.remedy)
        for replica in have.replicas:
            if replica.variant_uid != variant.uid or replica.generation != fleet.generation:
                continue
            if replica.dead and replica.stopping_us is None and not (forgiving and replica.was_ready):
                prefix = f"Variant {variant.name}: " if several else ""
                return failure_reason(
                    prefix + (replica.cause or "The replica ended before it was ready."), replica.remedy
                )
    return ""
