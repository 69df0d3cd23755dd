"""The plan of one scalable target: what is wanted, what there is, and the time -> what to set and to note. Pure.

Level-triggered: it reads the states that alarms are in, not their transitions, so that nothing is lost by a restart.
What must survive one is in `Memory`, which is written in the transaction of what it remembers.

One decision a look, in this order: what a schedule sets, then the bounds, then what policies ask for. Out if any policy
wants it, in only if every target-tracking policy that may scale in agrees; of several results the largest wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from clary.domain.scaling import (
    COOLDOWN_S,
    ActivityText,
    Bounds,
    Memory,
    Reason,
    Suspended,
    bounds_of,
    stepped,
    tracked_in,
    tracked_out,
)
from clary.domain.schedules import next_due
from clary.kit.clock import MICROS
from clary.reconcile.scaling_facts import (
    Action,
    Arm,
    Due,
    EndActivity,
    Have,
    Note,
    Open,
    PolicyFacts,
    Ran,
    Reading,
    Remember,
    SetScale,
    Signal,
    Stepping,
    Tracking,
    WakeAt,
    Want,
)

REPEAT_US = 60 * MICROS
"""A step policy acts again while its alarm stays, but not more often (user guide: once a minute)."""
FULFIL_US = 900 * MICROS
"""After that long without the replicas an activity is Unfulfilled; they are still wanted."""

UPDATING = "updating"
"""Memory.noted, once a policy's wish was refused because of an update."""


@dataclass(frozen=True)
class _Wish:
    """What one policy asks for."""

    policy: PolicyFacts
    signal: Signal
    count: int

    @property
    def cause(self) -> str:
        return f"monitor alarm {self.signal.alarm} in state {self.signal.state} triggered policy {self.policy.name}"


def plan(want: Want, have: Have, memory: Memory, now_us: int) -> list[Action]:
    """The next actions, in order; applied, they lead to [], or to a WakeAt alone."""
    known = _known(memory, have, now_us)
    actions: list[Action] = [Arm(one.uid) for one in want.policies if isinstance(one, Tracking) and not one.armed]
    known = _end_open(have, known, now_us, actions)
    known = _run_schedule(want, known, now_us, actions)
    bounds = bounds_of(want.spec, known.bounds)
    known = _clamp(bounds, have, known, now_us, actions) or _follow(want, have, known, now_us, actions)
    if known != memory:
        actions.append(Remember(known))
    return [*actions, *_wakes(want, have, known, now_us)]


def cooling_out(memory: Memory, now_us: int) -> bool:
    """Whether a scale-out cooldown is under way."""
    return memory.out_us is not None and now_us < memory.out_us + memory.out_cooldown_s * MICROS


def cooling_in(memory: Memory, now_us: int) -> bool:
    """Whether a scale-in cooldown is under way."""
    return memory.in_us is not None and now_us < memory.in_us + memory.in_cooldown_s * MICROS


def _known(memory: Memory, have: Have, now_us: int) -> Memory:
    """Memory without what another generation made void, and without instants that a clock which stepped back left in
    the future: a wait may begin anew, but lasts no longer than it was meant to."""
    if memory.generation != have.generation:
        return Memory(generation=have.generation, bounds=memory.bounds)

    def past(at_us: int | None) -> int | None:
        return None if at_us is None else min(at_us, now_us)

    return replace(
        memory,
        set_us=past(memory.set_us),
        settled_us=past(memory.settled_us),
        out_us=past(memory.out_us),
        in_us=past(memory.in_us),
        acted={uid: min(at_us, now_us) for uid, at_us in memory.acted.items()},
    )


def _end_open(have: Have, memory: Memory, now_us: int, actions: list[Action]) -> Memory:
    """End the activity that came to its end, and remember since when the count that was set stands."""
    if have.active and memory.set_us is not None and memory.settled_us is None and have.ready == have.count:
        memory = replace(memory, settled_us=now_us)
    activity = have.open
    if activity is None:
        return memory
    done = f"Successfully set desired instance count to {activity.count}."
    status, message = "", ""
    if activity.generation != have.generation or activity.count != have.count:
        status, message = "Overridden", f"{done} A later change took its place before it was fulfilled."
    elif have.active and have.ready == have.count:
        status, message = "Successful", f"{done} Change successfully fulfilled by sagemaker."
    elif now_us >= _begun_us(activity, memory) + FULFIL_US:
        status, message = "Unfulfilled", f"{done} The change was not fulfilled by sagemaker in time."
        # What has not come by now is waited for no more: values speak of what there is, and it may scale in.
        memory = replace(memory, settled_us=memory.settled_us or now_us)
    if status:
        actions.append(EndActivity(activity, status, replace(activity.text, message=message)))
    return memory


def _begun_us(activity: Open, memory: Memory) -> int:
    """By a clock that may have been set back since."""
    return activity.started_us if memory.set_us is None else min(activity.started_us, memory.set_us)


def _run_schedule(want: Want, memory: Memory, now_us: int, actions: list[Action]) -> Memory:
    """Let every scheduled action that fell due set its bounds; of those missed by one action, the last counts."""
    due = [(at_us, one) for one in want.schedule if (at_us := _due(one, one.ran_us)) is not None and at_us <= now_us]
    for _, one in sorted(due, key=lambda item: (item[0], item[1].uid)):
        actions.append(Ran(one.uid, now_us))
        if want.spec.suspended.scheduled:
            continue
        now = bounds_of(want.spec, memory.bounds)
        least = now.min_capacity if one.spec.min_capacity is None else one.spec.min_capacity
        most = now.max_capacity if one.spec.max_capacity is None else one.spec.max_capacity
        words = f"min capacity to {least} and max capacity to {most}"
        text = ActivityText(f"Setting {words}", f"scheduled action name {one.name} was triggered")
        if least > most:
            message = f"Failed to set {words}. Reason: Maximum capacity cannot be less than minimum capacity"
            actions.append(Note("Failed", replace(text, message=message)))
            continue
        actions.append(Note("Successful", replace(text, message=f"Successfully set {words}")))
        memory = replace(memory, bounds=Bounds(want.spec.revision, least, most))
    return memory


def _due(action: Due, after_us: int) -> int | None:
    return next_due(action.spec.times, action.made_us, after_us)


def _clamp(bounds: Bounds, have: Have, memory: Memory, now_us: int, actions: list[Action]) -> Memory | None:
    """Bring the count within the bounds, whatever the cooldowns; None where it is."""
    count = min(max(have.count, bounds.min_capacity), bounds.max_capacity)
    if count == have.count:
        return None
    if not have.active:
        return memory  # once it is in service again
    which = "minimum" if count > have.count else "maximum"
    actions.append(_set(count, f"{which} capacity was set to {count}"))
    # Not a policy's doing: it begins no cooldown, and a scale-out ends the one of a scale-in.
    return replace(memory, set_us=now_us, settled_us=None, in_us=None if count > have.count else memory.in_us)


def _follow(want: Want, have: Have, memory: Memory, now_us: int, actions: list[Action]) -> Memory:
    """Do what the policies ask for."""
    bounds = bounds_of(want.spec, memory.bounds)
    out, into = _wishes(want.policies, want.spec.suspended, have, memory, now_us)
    wish = max(out, key=lambda one: one.count, default=None)
    if wish is None:
        wish = max(into, key=lambda one: one.count, default=None)
    if wish is None:
        return replace(memory, noted="")
    count = min(max(wish.count, bounds.min_capacity), bounds.max_capacity)
    if count == have.count:
        return _note_bound(wish, bounds, have, memory, actions)
    if not have.active:
        return _note_refused(wish, count, have, memory, actions)
    actions.append(_set(count, wish.cause))
    memory = replace(memory, set_us=now_us, settled_us=None, noted="")
    if isinstance(wish.policy, Stepping):
        memory = replace(memory, acted={**memory.acted, wish.policy.uid: now_us})
    cooldown_s = _cooldown_s(wish.policy, out=count > have.count)
    if count > have.count:
        # What a larger scale-out within the cooldown adds to is what there was before the first.
        out_from = memory.out_from if cooling_out(memory, now_us) else have.count
        return replace(memory, out_us=now_us, out_from=out_from, out_cooldown_s=cooldown_s, in_us=None)
    return replace(memory, in_us=now_us, in_cooldown_s=cooldown_s)


def _wishes(
    policies: Sequence[PolicyFacts], suspended: Suspended, have: Have, memory: Memory, now_us: int
) -> tuple[list[_Wish], list[_Wish]]:
    """What policies want beyond the present count: out, and in where that may be."""
    tracking = [one for one in policies if isinstance(one, Tracking)]
    steps = [wish for one in policies if isinstance(one, Stepping) for wish in _step(one, have, memory, now_us)]
    out = [wish for one in tracking for wish in _track_out(one, have, memory, now_us)]
    out += [wish for wish in steps if wish.count > have.count]
    if suspended.scale_out:
        out = []
    if suspended.scale_in or cooling_in(memory, now_us):
        return out, []
    into = [wish for wish in steps if wish.count < have.count]
    voters = [one for one in tracking if not one.spec.disable_scale_in]
    votes = [wish for one in voters for wish in _track_in(one, have, memory)]
    # One that does not scale in has no vote, but would scale out again: no lower than it could stand.
    least = max(
        (
            tracked_out(have.count, one.reading.value, one.spec.target)
            for one in tracking
            if one.spec.disable_scale_in and one.reading is not None
        ),
        default=0,
    )
    votes = [replace(wish, count=max(wish.count, least)) for wish in votes if least < have.count]
    return out, into + votes if len(votes) == len(voters) else into


def _track_out(policy: Tracking, have: Have, memory: Memory, now_us: int) -> Iterator[_Wish]:
    if policy.high is None or policy.reading is None:
        return
    # A value measured before the last change says nothing about the replicas that came since: what it speaks of is
    # the count before. While replicas start, those that are ready bear what is measured.
    base = min(have.ready, have.count)
    if cooling_out(memory, now_us) or (memory.out_us is not None and not _fresh(policy.reading, memory)):
        base = min(memory.out_from, have.count)
    count = tracked_out(base, policy.reading.value, policy.spec.target)
    if count > have.count:
        yield _Wish(policy, policy.high, count)


def _track_in(policy: Tracking, have: Have, memory: Memory) -> Iterator[_Wish]:
    if policy.low is None or policy.reading is None or not _fresh(policy.reading, memory):
        return
    count = tracked_in(have.count, policy.reading.value, policy.spec.target)
    if count < have.count:
        yield _Wish(policy, policy.low, count)


def _fresh(reading: Reading, memory: Memory) -> bool:
    """Whether a value was measured with the present count alone."""
    return memory.set_us is None or (memory.settled_us is not None and reading.at_us >= memory.settled_us)


def _step(policy: Stepping, have: Have, memory: Memory, now_us: int) -> Iterator[_Wish]:
    acted_us = memory.acted.get(policy.uid)
    base = min(memory.out_from, have.count) if cooling_out(memory, now_us) else have.count
    for trigger in policy.triggers:
        if acted_us is not None and trigger.signal.since_us <= acted_us and now_us < acted_us + REPEAT_US:
            continue
        out = stepped(policy.spec, base, trigger.breach, above=trigger.above)
        into = stepped(policy.spec, have.count, trigger.breach, above=trigger.above)
        if out is not None and out > have.count:
            yield _Wish(policy, trigger.signal, out)
        elif into is not None and into < have.count:
            yield _Wish(policy, trigger.signal, into)


def _cooldown_s(policy: PolicyFacts, *, out: bool) -> int:
    if isinstance(policy, Stepping):
        given = policy.spec.cooldown_s
    else:
        given = policy.spec.scale_out_cooldown_s if out else policy.spec.scale_in_cooldown_s
    return COOLDOWN_S if given is None else given


def _set(count: int, cause: str) -> SetScale:
    message = f"Successfully set desired instance count to {count}. Waiting for change to be fulfilled by sagemaker."
    return SetScale(count, ActivityText(f"Setting desired instance count to {count}.", cause, message))


def _note_bound(wish: _Wish, bounds: Bounds, have: Have, memory: Memory, actions: list[Action]) -> Memory:
    """A policy wants more than the bounds allow: noted once for as long as its alarm stays."""
    most = wish.count > have.count
    noted = f"{'max' if most else 'min'} {have.count} {wish.signal.alarm} {wish.signal.since_us}"
    if noted == memory.noted:
        return memory
    if most:
        reason = Reason("AlreadyAtMaxCapacity", bounds.max_capacity)
    else:
        reason = Reason("AlreadyAtMinCapacity", bounds.min_capacity)
    words = f"The desired instance count is {have.count}, the {'maximum' if most else 'minimum'} capacity, already."
    text = ActivityText("Attempting to scale due to alarm triggered", wish.cause, words, (reason,))
    actions.append(Note("NotScaled", text))
    return replace(memory, noted=noted)


def _note_refused(wish: _Wish, count: int, have: Have, memory: Memory, actions: list[Action]) -> Memory:
    """A policy wants something while the endpoint is updated: noted once an update."""
    if not have.updating or memory.noted == UPDATING:
        return memory
    message = (
        f"Failed to set desired instance count to {count}. Reason: "
        f'Cannot update in-progress endpoint "{have.arn}". It is scaled once the update has ended.'
    )
    actions.append(Note("Failed", ActivityText(f"Setting desired instance count to {count}.", wish.cause, message)))
    return replace(memory, noted=UPDATING)


def _wakes(want: Want, have: Have, memory: Memory, now_us: int) -> list[Action]:
    """The next instant at which the same facts may mean something else."""
    due: list[int] = []
    for one in want.schedule:
        at_us = _due(one, max(one.ran_us, now_us))
        due += [] if at_us is None else [at_us]
    if memory.out_us is not None:
        due.append(memory.out_us + memory.out_cooldown_s * MICROS)
    if memory.in_us is not None:
        due.append(memory.in_us + memory.in_cooldown_s * MICROS)
    due += [at_us + REPEAT_US for at_us in memory.acted.values()]
    if have.open is not None:
        due.append(_begun_us(have.open, memory) + FULFIL_US)
    later = [at_us for at_us in due if at_us > now_us]
    return [WakeAt(min(later))] if later else []
