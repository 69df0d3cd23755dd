"""A scaling policy under traffic: the plan of a scalable target, its alarm pair, and a fleet that grows and shrinks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from clary.domain.alarms import AlarmValue
from clary.domain.errors import Invalid
from clary.domain.scaling import Memory, TargetSpec, TargetTracking, alarm_of, is_whole, queries_of, threshold_of
from clary.kit.clock import MICROS
from clary.reconcile.scaling import plan
from clary.reconcile.scaling_facts import (
    Action,
    Arm,
    EndActivity,
    Have,
    Note,
    Open,
    Ran,
    Reading,
    Remember,
    SetScale,
    Signal,
    Tracking,
    WakeAt,
    Want,
)
from clary.simulation.service import Behaviour, Queue
from clary.simulation.signals import Record, SimulatedAlarm
from clary.simulation.timeline import Event, Timeline, row_of
from clary.simulation.traffic import Traffic

LOOK_S = 10
"""Between looks of the plan: its alarms change no oftener."""
EPOCH_US = 1_800_000_000 * MICROS
"""Second 0: an even minute, so that periods begin where they begin for real."""
_PASSES_MAX = 10


@dataclass(frozen=True)
class ScalingQuestion:
    """What is simulated."""

    traffic: Traffic
    behaviour: Behaviour
    spec: TargetSpec
    policies: Sequence[TargetTracking]
    span_s: int
    every_s: int
    """Seconds of a row."""
    instances: int | None = None
    """At the start; None: the minimum."""


@dataclass
class _Fleet:
    """The variant: replicas that run, and those that are on their way."""

    count: int
    start_s: float
    ready: int = 0
    due_s: list[float] = field(default_factory=list)

    def want(self, count: int, now_s: int) -> None:
        """Another count: starts what lacks, ends what is too many, those that are not ready first."""
        self.count = count
        lacking = count - self.ready - len(self.due_s)
        self.due_s += [now_s + self.start_s] * max(0, lacking)
        self.due_s = self.due_s[: max(0, count - self.ready)]
        self.ready = min(self.ready, count)

    def pass_to(self, now_s: int) -> None:
        """What started meanwhile is ready."""
        self.ready += sum(due_s <= now_s for due_s in self.due_s)
        self.due_s = [due_s for due_s in self.due_s if due_s > now_s]


@dataclass(frozen=True)
class _Pair:
    """A policy with the alarms that call for it."""

    policy: TargetTracking
    high: SimulatedAlarm
    low: SimulatedAlarm


class ScalingSimulation:
    """One run; `run` gives its timeline."""

    def __init__(self, question: ScalingQuestion) -> None:
        self._question = question
        count = question.instances or question.spec.min_capacity
        self._fleet = _Fleet(count, question.behaviour.start_s, ready=count)
        self._queue = Queue(question.behaviour)
        self._record = Record(concurrency=question.behaviour.concurrency)
        self._pairs = [self._pair(number, policy) for number, policy in enumerate(question.policies)]
        self._memory = Memory(generation=1)
        self._open: Open | None = None
        self._timeline = Timeline()

    def _pair(self, number: int, policy: TargetTracking) -> _Pair:
        queries = queries_of(policy, "simulated", "simulated")
        if any(query.stat is None for query in queries):
            raise Invalid("Metric math in a policy is not simulated; name a metric.")
        high, low = (
            SimulatedAlarm(
                f"policy {number + 1} {'high' if above else 'low'}",
                alarm_of(policy, queries, "simulated", high=above),
                self._record,
            )
            for above in (True, False)
        )
        return _Pair(policy, high, low)

    def run(self) -> Timeline:
        """Second by second to the end."""
        question, fleet = self._question, self._fleet
        for now_s in range(question.span_s):
            fleet.pass_to(now_s)
            self._record.seconds.append(self._queue.second(question.traffic.rate(now_s), fleet.ready))
            end_s = now_s + 1
            if end_s % LOOK_S == 0:
                self._look(end_s)
            if end_s % question.every_s == 0 or end_s == question.span_s:
                self._row(end_s)
        self._timeline.summary = self._summary()
        return self._timeline

    def _look(self, now_s: int) -> None:
        for pair in self._pairs:
            for alarm, high in ((pair.high, True), (pair.low, False)):
                if is_whole(pair.policy):
                    count = max(1, self._fleet.count)
                    alarm.spec = replace(alarm.spec, threshold=threshold_of(pair.policy, count, high=high))
                alarm.look(now_s)
        for _ in range(_PASSES_MAX):
            fleet = self._fleet
            have = Have(1, fleet.count, fleet.ready, active=True, open=self._open)
            want = Want(self._question.spec, tuple(self._facts(n, pair) for n, pair in enumerate(self._pairs)))
            actions = plan(want, have, self._memory, EPOCH_US + now_s * MICROS)
            changed = [self._apply(action, now_s) for action in actions]
            if not any(changed):
                return

    def _facts(self, number: int, pair: _Pair) -> Tracking:
        def signal(alarm: SimulatedAlarm) -> Signal | None:
            if alarm.value is not AlarmValue.ALARM:
                return None
            return Signal(alarm.name, "ALARM", EPOCH_US + alarm.since_s * MICROS)

        newest, period_s = pair.high.newest, pair.high.spec.period_s
        reading = None
        if newest is not None and pair.high.evaluated_s is not None:
            value = newest / max(1, self._fleet.count) if is_whole(pair.policy) else newest
            reading = Reading(value, EPOCH_US + (pair.high.evaluated_s - period_s) * MICROS)
        return Tracking(str(number), str(number + 1), pair.policy, signal(pair.high), signal(pair.low), reading)

    def _apply(self, action: Action, now_s: int) -> bool:
        """Do it; whether the plan may see something else now."""
        match action:
            case SetScale(count, text):
                before = self._fleet.count
                self._fleet.want(count, now_s)
                self._open = Open("open", 1, count, EPOCH_US + now_s * MICROS, text)
                self._timeline.events.append(Event(now_s, f"{before} -> {count}: {text.cause}"))
            case Note():
                said = action.text.message or action.text.cause
                self._timeline.events.append(Event(now_s, f"{action.status}: {said}"))
            case EndActivity():
                self._open = None
            case Remember(memory):
                self._memory = memory
            case Ran() | Arm() | WakeAt():  # no schedules here; alarms are armed, and the plan looks, every LOOK_S
                return False
            case _:
                assert_never(action)
        return True

    def _row(self, now_s: int) -> None:
        rows = self._timeline.rows
        since_s = rows[-1].at_s if rows else 0
        seconds = self._record.seconds[since_s:now_s]
        rows.append(row_of(now_s, now_s - since_s, seconds, {"replicas": self._fleet.ready}, self._fleet.count))

    def _summary(self) -> dict[str, float | int]:
        seconds = self._record.seconds
        arrived = sum(second.arrived for second in seconds)
        errors = sum(second.errors for second in seconds)
        return {
            "requests": round(arrived),
            "failed_share": round(errors / arrived, 6) if arrived else 0.0,
            "replica_hours": round(sum(second.ready for second in seconds) / 3600, 3),
            "replicas_max": max(second.ready for second in seconds),
            "changes": sum("->" in event.what for event in self._timeline.events),
        }


def simulate_scaling(question: ScalingQuestion) -> Timeline:
    """The timeline of a policy under traffic. Raises Invalid for a metric that the simulation does not have."""
    return ScalingSimulation(question).run()
