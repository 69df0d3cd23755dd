"""A guarded rollout under traffic: the plan of an endpoint that is updated, its alarms, and two fleets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from clary.dataplane.routes import EndpointRoute
from clary.domain.alarms import AlarmValue
from clary.domain.endpoint import Revision, RevisionVariant
from clary.domain.model import Container
from clary.domain.objectives import Watched as Subject
from clary.domain.objectives import alarm_of, parse_objective
from clary.domain.principal import Scope
from clary.domain.rollout import Deployment, Progress, check_deployment, check_sizes
from clary.domain.states import EndpointStatus
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
    NoteMix,
    NoteRollout,
    Publish,
    SetStatus,
    StartReplica,
    StopReplica,
    Unpublish,
    WakeAt,
)
from clary.reconcile.endpoint import plan
from clary.reconcile.facts import Have, PinHave, ReplicaHave, Want, Watched
from clary.simulation.scaling import EPOCH_US
from clary.simulation.service import Behaviour, Queue
from clary.simulation.signals import Record, SimulatedAlarm
from clary.simulation.timeline import Event, Row, Timeline, row_of
from clary.simulation.traffic import Traffic

VARIANT = "AllTraffic"
_URL = "s3://simulated/model"
_PASSES_MAX = 100


@dataclass(frozen=True)
class RolloutQuestion:
    """What is simulated."""

    traffic: Traffic
    old: Behaviour
    new: Behaviour
    replicas: int
    deployment: Deployment
    """Its alarms are the objectives."""
    at_s: int
    """When UpdateEndpoint is called."""
    span_s: int
    every_s: int
    crash_s: float | None = None
    """Seconds after it is ready that a replica of the new fleet dies, again and again; None: it does not."""


def objectives(texts: Sequence[str]) -> tuple[str, ...]:
    """The names that alarms of these objectives have: their words. Raises Invalid for one that cannot be read."""
    return tuple(parse_objective(text).text for text in texts)


def _fleet(question: RolloutQuestion, version: int) -> Fleet:
    container = Container("simulated", "simulated", "1", _URL)
    variant = RevisionVariant(
        f"v{version}", VARIANT, "simulated", question.replicas, "ml.m5.large", 1.0, 480, container
    )
    return Fleet(version, version, Revision(f"config-{version}", (variant,)), question.deployment)


@dataclass
class _World:
    """The rows and processes that the plan reads and its actions change."""

    question: RolloutQuestion
    want: Want
    replicas: dict[str, ReplicaHave] = field(default_factory=dict)
    ready_at_s: dict[str, float] = field(default_factory=dict)
    """When a process that starts is ready; when one that crashes is back."""
    dies_at_s: dict[str, float] = field(default_factory=dict)
    route: EndpointRoute | None = None
    progress: Progress | None = None
    status: EndpointStatus = EndpointStatus.IN_SERVICE
    number: int = 0
    events: list[Event] = field(default_factory=list)

    def have(self, alarms: Mapping[str, Watched]) -> Have:
        return Have(
            self.status,
            {(1, _URL): PinHave("old"), (2, _URL): PinHave("new")},
            tuple(self.replicas.values()),
            self.route,
            rollout=self.progress,
            alarms=dict(alarms),
        )

    def share(self) -> float:
        """Of the traffic, what the new fleet has."""
        return sum(v.share for v in (self.route.variants if self.route else ()) if v.uid == "v2")

    def ready(self, version: int) -> int:
        """Replicas of a fleet that answer."""
        routed = {r.uid for v in (self.route.variants if self.route else ()) for r in v.replicas}
        return sum(
            one.generation == version and one.phase is ReplicaPhase.READY and one.uid in routed
            for one in self.replicas.values()
        )

    def pass_to(self, now_s: int) -> None:
        """What processes do by themselves."""
        for uid, one in list(self.replicas.items()):
            if one.stopping_us is not None:
                self.replicas[uid] = replace(one, phase=ReplicaPhase.GONE)
            elif one.phase is ReplicaPhase.STARTING and self.ready_at_s[uid] <= now_s:
                self.replicas[uid] = replace(one, phase=ReplicaPhase.READY)
                if one.generation == 2 and self.question.crash_s is not None:
                    self.dies_at_s[uid] = now_s + self.question.crash_s
            elif one.phase is ReplicaPhase.READY and self.dies_at_s.get(uid, now_s + 1) <= now_s:
                self.events.append(Event(now_s, "a process of the new fleet dies"))
                self.replicas[uid] = replace(one, phase=ReplicaPhase.STARTING, restarts=one.restarts + 1)
                self.ready_at_s[uid] = now_s + self.question.new.start_s

    def apply(self, action: Action, now_s: int) -> None:
        now_us = EPOCH_US + now_s * MICROS
        match action:
            case StartReplica(generation, variant):
                self._start(generation, variant, now_s)
            case MarkReady(uid, address):
                self.replicas[uid] = replace(self.replicas[uid], routed_address=address)
            case Publish(route):
                before = self.share()
                self.route = route
                if self.share() != before:
                    self.events.append(Event(now_s, f"traffic of the new fleet: {before:.0%} -> {self.share():.0%}"))
            case DrainReplica(uid):
                self.replicas[uid] = replace(self.replicas[uid], draining_us=now_us)
            case StopReplica(uid):
                self.replicas[uid] = replace(self.replicas[uid], stopping_us=now_us)
            case ForgetReplica(uid):
                del self.replicas[uid]
            case SetStatus(status):
                self.status = status
                self.want = replace(self.want, base=self.want.target)
                self.events.append(Event(now_s, "the new fleet is in service"))
            case NoteRollout(progress):
                self._tell(progress, now_s)
                self.progress = progress
            case FallBack(reason) | NoteMix(reason):
                self.status = EndpointStatus.IN_SERVICE
                self.events.append(Event(now_s, f"rolled back: {reason}"))
            case Fetch() | Unpublish() | ForgetEndpoint() | WakeAt():
                pass
            case _:
                assert_never(action)

    def _start(self, generation: int, variant: str, now_s: int) -> None:
        self.number += 1
        uid = f"r{self.number:04}"
        started_us = EPOCH_US + now_s * MICROS
        self.replicas[uid] = ReplicaHave(
            uid, generation, variant, f"v{generation}", ReplicaPhase.STARTING, started_us, f"unix:{uid}"
        )
        behaviour = self.question.old if generation == 1 else self.question.new
        self.ready_at_s[uid] = now_s + behaviour.start_s

    def _tell(self, progress: Progress, now_s: int) -> None:
        before = self.progress
        if progress.reason and (before is None or not before.reason):
            self.events.append(Event(now_s, f"going back: {progress.reason}"))
        elif progress.reached_us is not None and (before is None or before.reached_us is None):
            self.events.append(Event(now_s, f"step {progress.step} bakes"))


class RolloutSimulation:
    """One run; `run` gives its timeline."""

    def __init__(self, question: RolloutQuestion) -> None:
        check_deployment(question.deployment)
        self._question = question
        old = _fleet(question, 1)
        check_sizes(question.deployment, old.revision)
        want = Want("simulated", Scope("000000000000", "us-east-1"), "simulated", False, old, old)
        self._world = _World(question, want)
        for _ in range(question.replicas):
            self._world.apply(StartReplica(1, VARIANT), -round(question.old.start_s))
        self._records = {
            1: Record(concurrency=question.old.concurrency),
            2: Record(concurrency=question.new.concurrency),
        }
        self._queues = {1: Queue(question.old), 2: Queue(question.new)}
        subject = Subject("simulated", VARIANT, "config-2")
        self._alarms = [
            SimulatedAlarm(text, alarm_of(parse_objective(text), subject), self._records[2])
            for text in question.deployment.alarms
        ]
        self._rows: list[Row] = []

    def run(self) -> Timeline:
        """Second by second to the end."""
        question, world = self._question, self._world
        for now_s in range(question.span_s):
            if now_s == question.at_s:
                world.want = replace(world.want, target=_fleet(question, 2))
                world.status = EndpointStatus.UPDATING
                world.events.append(Event(now_s, "UpdateEndpoint"))
            world.pass_to(now_s)
            self._settle(now_s)
            self._serve(now_s)
            for alarm in self._alarms:
                if alarm.look(now_s + 1):
                    world.events.append(Event(now_s + 1, f"alarm '{alarm.name}': {alarm.value.value}"))
            if (now_s + 1) % question.every_s == 0 or now_s + 1 == question.span_s:
                self._row(now_s + 1)
        return Timeline(self._rows, world.events, self._summary())

    def _settle(self, now_s: int) -> None:
        world = self._world
        for _ in range(_PASSES_MAX):
            alarms = {alarm.name: self._watched(alarm) for alarm in self._alarms}
            actions = plan(world.want, world.have(alarms), EPOCH_US + now_s * MICROS)
            for action in actions:
                world.apply(action, now_s)
            if all(isinstance(action, WakeAt) for action in actions):
                return

    def _watched(self, alarm: SimulatedAlarm) -> Watched:
        evaluated_us = None if alarm.evaluated_s is None else EPOCH_US + alarm.evaluated_s * MICROS
        return Watched(alarm.value is AlarmValue.ALARM, evaluated_us)

    def _serve(self, now_s: int) -> None:
        rate, share = self._question.traffic.rate(now_s), self._world.share()
        ready = {version: self._world.ready(version) for version in (1, 2)}
        if not ready[2]:
            share = 0.0  # what a fleet on trial cannot serve goes to the proven one
        for version, part in ((1, 1 - share), (2, share)):
            self._records[version].seconds.append(self._queues[version].second(rate * part, ready[version]))

    def _row(self, now_s: int) -> None:
        since_s = self._rows[-1].at_s if self._rows else 0
        both = zip(*(record.seconds[since_s:now_s] for record in self._records.values()), strict=True)
        seconds = [second for pair in both for second in pair]
        ready = {"old": self._world.ready(1), "new": self._world.ready(2)}
        wanted, share = self._question.replicas, self._world.share()
        self._rows.append(row_of(now_s, now_s - since_s, seconds, ready, wanted, share))

    def _summary(self) -> dict[str, float | int | str]:
        arrived = {version: sum(second.arrived for second in one.seconds) for version, one in self._records.items()}
        errors = {version: sum(second.errors for second in one.seconds) for version, one in self._records.items()}
        base = self._world.want.base
        whole = self._world.status is EndpointStatus.IN_SERVICE
        outcome = "under way" if not whole else "in service" if base is self._world.want.target else "rolled back"
        return {
            "outcome": outcome if self._question.at_s < self._question.span_s else "not begun",
            "requests": round(sum(arrived.values())),
            "requests_of_new": round(arrived[2]),
            "failed": round(sum(errors.values())),
            "failed_by_new": round(errors[2]),
        }


def simulate_rollout(question: RolloutQuestion) -> Timeline:
    """The timeline of an update under traffic. Raises Invalid for a deployment or an objective that cannot be."""
    return RolloutSimulation(question).run()
