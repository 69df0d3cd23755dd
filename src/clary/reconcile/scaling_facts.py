"""What the plan of a scalable target goes by, and the actions that it gives."""

from __future__ import annotations

from dataclasses import dataclass

from clary.domain.scaling import ActivityText, Memory, ScheduledSpec, StepScaling, TargetSpec, TargetTracking


@dataclass(frozen=True)
class Signal:
    """An alarm that is in the state which triggers a policy."""

    alarm: str
    state: str
    since_us: int


@dataclass(frozen=True)
class Reading:
    """The newest value of what a policy goes by."""

    value: float
    at_us: int
    """Start of the period that it is of."""


@dataclass(frozen=True)
class Tracking:
    """A target-tracking policy."""

    uid: str
    name: str
    spec: TargetTracking
    high: Signal | None = None
    """None: its alarm is not in ALARM."""
    low: Signal | None = None
    reading: Reading | None = None
    """None: there is no value."""
    armed: bool = True
    """Whether the thresholds of its alarms are those of the present count."""


@dataclass(frozen=True)
class Trigger:
    """An alarm that calls for a step."""

    signal: Signal
    breach: float
    """The metric less the threshold; 0 where there is no value: an alarm that calls is at its threshold at least."""
    above: bool
    """Whether it watches for values over its threshold."""


@dataclass(frozen=True)
class Stepping:
    """A step-scaling policy."""

    uid: str
    name: str
    spec: StepScaling
    triggers: tuple[Trigger, ...] = ()


PolicyFacts = Tracking | Stepping


@dataclass(frozen=True)
class Due:
    """A scheduled action."""

    uid: str
    name: str
    spec: ScheduledSpec
    made_us: int
    ran_us: int
    """Nothing that was due up to then runs any more."""


@dataclass(frozen=True)
class Open:
    """The activity that has not ended."""

    uid: str
    generation: int
    count: int
    started_us: int
    text: ActivityText


@dataclass(frozen=True)
class Have:
    """The variant as it is."""

    generation: int
    """The one that serves."""
    count: int
    """Wanted of it now."""
    ready: int
    """In service, those that are about to go included."""
    active: bool
    """In service, with nothing under way that changes it."""
    updating: bool = False
    """An update is under way: what is wanted now is noted as refused."""
    arn: str = ""
    """Of the endpoint."""
    open: Open | None = None


@dataclass(frozen=True)
class Want:
    """What control wrote."""

    spec: TargetSpec
    policies: tuple[PolicyFacts, ...] = ()
    schedule: tuple[Due, ...] = ()


@dataclass(frozen=True)
class SetScale:
    """Give the variant this count, with an activity that begins."""

    count: int
    text: ActivityText


@dataclass(frozen=True)
class Note:
    """An activity that begins and ends at once. `status`: StatusCode, or NotScaled."""

    status: str
    text: ActivityText


@dataclass(frozen=True)
class EndActivity:
    """How the open activity ended."""

    activity: Open
    status: str
    text: ActivityText


@dataclass(frozen=True)
class Ran:
    """A scheduled action ran, or was passed over while suspended."""

    uid: str
    at_us: int


@dataclass(frozen=True)
class Arm:
    """Give the alarms of a policy the thresholds of the present count."""

    policy_uid: str


@dataclass(frozen=True)
class Remember:
    """What to remember from now on."""

    memory: Memory


@dataclass(frozen=True)
class WakeAt:
    """Look again at this instant."""

    at_us: int


Action = SetScale | Note | EndActivity | Ran | Arm | Remember | WakeAt
