"""The plan of a guarded rollout: an update that moves traffic step by step, and goes back when it must. Pure.

Each step starts what it needs, moves its share of the traffic once all of that is ready, and bakes. Where the rollout
stands is noted before anything is done about it, so that control may be killed anywhere. Back it goes when an alarm is
in ALARM, when a process of the new fleet cannot live, when it takes too long, or by hand: at once where the old fleet
is whole, as in every blue/green update, and batch by batch where a rolling one has ended some of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from clary.domain.endpoint import RevisionVariant, failure_reason
from clary.domain.rollout import Deployment, Progress, Step, steps_of
from clary.domain.states import EndpointStatus
from clary.domain.versions import Fleet
from clary.kit.clock import MICROS
from clary.reconcile.actions import (
    Action,
    FallBack,
    NoteMix,
    NoteRollout,
    Publish,
    Rules,
    SetStatus,
    StartReplica,
    WakeAt,
)
from clary.reconcile.facts import Have, Want
from clary.reconcile.fleets import Part, Standing, route_of
from clary.reconcile.upkeep import broken, fill, missing, note_ready, retirements

TROUBLE_REMEDY = "See logs/control.log in the server's HOME, then delete the endpoint and create it again."
MIX_REMEDY = "Update the endpoint again, to either configuration, or delete it."
BY_HAND = "The deployment was rolled back by hand."


def in_service(want: Want, have: Have) -> tuple[Part, ...]:
    """What serves beside the newest generation: the fleet that came into service last and, where a rolling update
    could not be taken back, what is left of that."""
    base = want.base or want.target
    if want.mixed is None or have.mix is None:
        return (Part(base),)
    found = _Return.of(base, want.mixed, have.mix)
    return found.parts(have.mix.back, have.mix.back)


def plan_rollout(want: Want, have: Have, now_us: int, rules: Rules) -> list[Action]:
    """The next actions of an update with a deployment configuration, beside a fleet that serves."""
    progress = have.rollout
    if progress is None:
        return [NoteRollout(Progress(now_us, now_us))]
    if progress.reason:
        return _back(want, have, progress, now_us, rules)
    seen = _with_deaths(want, have, progress)
    cause = _cause(want, have, seen, now_us, rules)
    if cause:
        return [NoteRollout(replace(seen, reason=cause))]
    if seen != progress:
        return [NoteRollout(seen)]
    return _ahead(want, have, progress, now_us, rules)


def _with_deaths(want: Want, have: Have, progress: Progress) -> Progress:
    """The same with the processes of the new fleet that ended since: after one of them the bake begins anew."""
    mine = [r for r in have.replicas if r.generation == want.target.generation and r.stopping_us is None]
    restarts = {replica.uid: replica.restarts for replica in mine if replica.restarts}
    if restarts == progress.restarts:
        return progress
    # One that died while it loaded is placement's to judge.
    deaths = sum(max(0, r.restarts - progress.restarts.get(r.uid, 0)) for r in mine if r.was_ready)
    if not deaths:
        return replace(progress, restarts=restarts)
    return replace(progress, restarts=restarts, deaths=progress.deaths + deaths, baked_us=0, looked_us=None)


def _cause(want: Want, have: Have, progress: Progress, now_us: int, rules: Rules) -> str:
    """Why the rollout goes back; empty while it goes ahead."""
    deployment = _deployment(want.target)
    if have.trouble:
        return failure_reason(have.trouble, TROUBLE_REMEDY)
    cause = broken(want.target, have, forgiving=False)
    if cause:
        return cause
    if want.aborted:
        return BY_HAND
    for name in deployment.alarms:
        watched = have.alarms.get(name)
        if watched is not None and (watched.alarm or watched.tripped):
            told = f"The alarm {name} {'is' if watched.alarm else 'was'} in ALARM"
            return failure_reason(told, "The endpoint goes on as it was before the update.")
    if progress.deaths >= rules.deaths_max:
        return failure_reason(
            f"Processes of the new fleet ended {progress.deaths} times during the deployment",
            "See the replica's log (clary logs); the model may need more memory or other libraries.",
        )
    if deployment.timeout_s is not None and now_us >= progress.started_us + deployment.timeout_s * MICROS:
        return f"The deployment did not finish within {deployment.timeout_s} s (MaximumExecutionTimeoutInSeconds)."
    return ""


def _ahead(want: Want, have: Have, progress: Progress, now_us: int, rules: Rules) -> list[Action]:
    """Start what the step needs, move its share of the traffic, bake; after the last step: in service."""
    steps = steps_of(_deployment(want.target), want.target.revision)
    step = steps[progress.step - 1]
    target = Part(want.target, step.counts, trial=True)
    old = _beside(in_service(want, have), step, rolls=want.mixed is None)
    standing = Standing.of([*old, target], have.replicas)
    fetches = missing([target], have)
    whole = not fetches and standing.complete(target, ready_now=True)
    actions: list[Action] = [*note_ready(standing), *fill(standing, have, now_us, rules)]
    taken = progress.step if whole or progress.reached_us is not None else progress.step - 1
    route = route_of(want, _shared(old, target, steps[taken - 1] if taken else None), standing)
    if route != have.route:
        actions.append(Publish(route))
    elif whole and not actions:
        actions += _after(want, have, _Bake(progress, step, progress.step == len(steps)), now_us, rules)
    timeout_s = _deployment(want.target).timeout_s
    due_us = [now_us + rules.look_us, *([] if timeout_s is None else [progress.started_us + timeout_s * MICROS])]
    if progress.looked_us is not None and not whole:
        actions.append(NoteRollout(replace(progress, looked_us=None)))
    return [*actions, WakeAt(min(due_us)), *retirements(have, standing, now_us, rules), *fetches]


@dataclass(frozen=True)
class _Bake:
    """A step whose share is routed, its fleet being whole."""

    progress: Progress
    step: Step
    last: bool


def _after(want: Want, have: Have, bake: _Bake, now_us: int, rules: Rules) -> list[Action]:
    """Begin, count or end the bake.

    Time counts up to the last evaluation of every alarm, so that a bake ends with one; not where evaluations lie too
    far apart, nor looks: then nobody watched, or the clock stepped. Every new replica is ready meanwhile.
    """
    progress, wait_us = bake.progress, bake.step.wait_s * MICROS
    if progress.reached_us is None:
        return [NoteRollout(replace(progress, reached_us=now_us, baked_us=0).begun(now_us))]
    if wait_us == 0 or progress.step <= want.promoted_step:
        return [_next(progress, last=bake.last, now_us=now_us)]
    if progress.looked_us is None or not 0 <= now_us - progress.looked_us <= 2 * rules.look_us:
        return [NoteRollout(progress.begun(now_us))]
    looked = _counted(progress, _watched_until_us(want, have, now_us), rules)
    if looked.baked_us >= wait_us:
        return [_next(looked, last=bake.last, now_us=now_us)]
    look_us = min(rules.look_us, max(MICROS, wait_us // 6))
    if now_us >= progress.looked_us + look_us:
        return [NoteRollout(replace(looked, looked_us=now_us))]
    due_us = progress.looked_us + look_us
    return [WakeAt(due_us if _deployment(want.target).alarms else min(due_us, now_us + wait_us - looked.baked_us))]


def _watched_until_us(want: Want, have: Have, now_us: int) -> int:
    """The last instant at which every alarm of the rollout had been evaluated; 0 where one never was, or is gone."""
    names = _deployment(want.target).alarms
    evaluated = [have.alarms[name].evaluated_us or 0 for name in names if name in have.alarms]
    return min([now_us, *evaluated]) if len(evaluated) == len(names) else 0


def _counted(progress: Progress, until_us: int, rules: Rules) -> Progress:
    """The bake counted up to `until_us`, unless nobody watched for too long before."""
    passed_us = until_us - progress.counted_us
    if passed_us <= 0:
        return progress
    credit_us = passed_us if passed_us <= rules.fresh_us else 0
    return replace(progress, baked_us=progress.baked_us + credit_us, counted_us=until_us)


def _next(progress: Progress, *, last: bool, now_us: int) -> Action:
    return SetStatus(EndpointStatus.IN_SERVICE) if last else NoteRollout(progress.stepped(now_us))


def _beside(old: tuple[Part, ...], step: Step, *, rolls: bool) -> tuple[Part, ...]:
    """The old fleets with what of them runs during a step; a mix is kept whole until the new fleet is proven."""
    if not rolls:
        return old
    return tuple(
        replace(part, counts={v.name: step.kept_of(v.name, part.count(v)) for v in part.fleet.revision.variants})
        for part in old
    )


def _shared(old: tuple[Part, ...], target: Part, step: Step | None) -> tuple[Part, ...]:
    """The parts with the shares that `step` gives them; None: none of it to the new fleet."""
    if step is None:
        return old
    left = tuple(
        replace(
            part,
            shares={v.name: part.share(v.name) * (1 - step.share(v.name)) for v in part.fleet.revision.variants},
        )
        for part in old
    )
    return (*left, replace(target, shares=step.shares))


def _back(want: Want, have: Have, progress: Progress, now_us: int, rules: Rules) -> list[Action]:
    """Give the traffic back to what served before; start what of that was ended."""
    assert want.base is not None, "a rollout has something to go back to"
    found = _Return.of(want.base, want.target, progress)
    if want.mixed is not None or progress.back >= found.rounds:
        old = in_service(want, have)
        standing = Standing.of(old, have.replicas)
        return [Publish(route_of(want, old, standing)), FallBack(progress.reason)]
    cause = have.trouble or broken(want.base, have, forgiving=True)
    if cause:
        return [NoteMix(failure_reason(f"{progress.reason} The way back failed, too: {cause}", MIX_REMEDY))]
    parts = found.parts(progress.back, progress.back + 1)
    standing = Standing.of(parts, have.replicas)
    fetches = missing(parts[:1], have)
    # Of the fleet that failed nothing is started any more.
    starts = fill(standing, have, now_us, rules)
    starts = [s for s in starts if not isinstance(s, StartReplica) or s.generation != want.target.generation]
    actions: list[Action] = [*note_ready(standing), *starts]
    route = route_of(want, parts, standing)
    if route != have.route:
        actions.append(Publish(route))
    elif not fetches and standing.complete(parts[0], ready_now=True) and not actions:
        actions.append(NoteRollout(replace(progress, back=progress.back + 1)))
    return [*actions, *retirements(have, standing, now_us, rules), *fetches]


@dataclass(frozen=True)
class _Return:
    """The way back of a rolling update, in batches of the old fleet."""

    base: Fleet
    fleet: Fleet
    """The new one."""
    step: Step
    """The step that it failed in."""
    taken: Step | None
    """The last step whose shares were routed; None: none was."""

    @staticmethod
    def of(base: Fleet, fleet: Fleet, progress: Progress) -> _Return:
        steps = steps_of(_deployment(fleet), fleet.revision)
        taken = progress.taken
        return _Return(base, fleet, steps[progress.step - 1], steps[taken - 1] if taken else None)

    @property
    def rounds(self) -> int:
        """Batches until the old fleet is whole; 0 where it is."""
        return max(
            -(-(variant.instance_count - self._kept(variant)) // self._batch(variant))
            for variant in self.base.revision.variants
        )

    def parts(self, back: int, starting: int) -> tuple[Part, ...]:
        """The old fleet with `starting` batches of it started again, of which `back` take traffic, and the new one."""
        shares = {variant.name: self._share(variant, back) for variant in self.base.revision.variants}
        counts = {variant.name: self._restored(variant, starting) for variant in self.base.revision.variants}
        slowest = min(shares.values())
        left = {variant.name: 1 - shares.get(variant.name, slowest) for variant in self.fleet.revision.variants}
        new = {
            variant.name: min(self.step.counts[variant.name], ceil(variant.instance_count * left[variant.name]))
            for variant in self.fleet.revision.variants
        }
        return Part(self.base, counts, shares), Part(self.fleet, new, left, trial=True)

    def _kept(self, variant: RevisionVariant) -> int:
        return self.step.kept_of(variant.name, variant.instance_count)

    def _batch(self, variant: RevisionVariant) -> int:
        rolling = _deployment(self.fleet).rolling
        size = rolling.rollback_batch if rolling else None
        return max(1, variant.instance_count if size is None else size.replicas_of(variant.instance_count))

    def _restored(self, variant: RevisionVariant, back: int) -> int:
        return min(variant.instance_count, self._kept(variant) + back * self._batch(variant))

    def _share(self, variant: RevisionVariant, back: int) -> Fraction:
        """Of the traffic, with `back` batches restored: what it had when the update failed, or what its part is."""
        had = Fraction(1) if self.taken is None else 1 - self.taken.share(variant.name)
        if not back:
            return had
        if not variant.instance_count:  # scaled to zero, it starts again when it is asked
            return Fraction(1)
        return max(had, Fraction(self._restored(variant, back), variant.instance_count))


def _deployment(fleet: Fleet) -> Deployment:
    assert fleet.deployment is not None, "a rollout has a deployment configuration"
    return fleet.deployment
