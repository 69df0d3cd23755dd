"""Guarded rollouts: how an update moves traffic to the new fleet, and the limits of what may be asked for.

Source: API reference, UpdateEndpoint (DeploymentConfig and the shapes below it) and the developer guide's pages on
deployment guardrails. Shares are exact: `CAPACITY_PERCENT` is that percentage of the traffic, so that it works with
one replica, `INSTANCE_COUNT` that many of the new fleet's replicas. Only a rolling update starts replicas in batches;
a batch is rounded down to whole replicas, and is at least one.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import ceil
from typing import Literal

from clary.domain.endpoint import Revision, RevisionVariant
from clary.domain.errors import Invalid
from clary.kit.clock import MICROS

CANARY_PERCENT_MAX = 50
LINEAR_PERCENT_MIN, LINEAR_PERCENT_MAX = 10, 50
ROLLING_PERCENT_MIN, ROLLING_PERCENT_MAX = 5, 50
WHOLE = 100
LOOK_US = 10 * MICROS
"""Between looks at a bake. Two looks that lie more than twice as far apart saw nothing of what was between: so a clock
that steps, or a control that was down, never shortens a bake."""
FRESH_US = 120 * MICROS
"""Evaluations of an alarm that lie further apart leave a gap that does not count: twice their usual minute."""


class Shift(enum.Enum):
    """TrafficRoutingConfig.Type."""

    ALL_AT_ONCE = "ALL_AT_ONCE"
    CANARY = "CANARY"
    LINEAR = "LINEAR"


class Unit(enum.Enum):
    """CapacitySize.Type."""

    INSTANCES = "INSTANCE_COUNT"
    PERCENT = "CAPACITY_PERCENT"


@dataclass(frozen=True)
class CapacitySize:
    """A part of a variant."""

    unit: Unit
    value: int

    def part_of(self, count: int) -> Fraction:
        """The same as a part of `count` replicas; 1 is all."""
        return Fraction(self.value, WHOLE if self.unit is Unit.PERCENT else max(1, count))

    def replicas_of(self, count: int) -> int:
        """Whole replicas of `count`: a percentage is rounded down, and is at least one."""
        return min(count, self.value if self.unit is Unit.INSTANCES else max(1, count * self.value // WHOLE))


@dataclass(frozen=True)
class BlueGreen:
    """BlueGreenUpdatePolicy: the new fleet starts whole beside the old one."""

    shift: Shift
    wait_s: int
    """WaitIntervalInSeconds: the bake after each shift."""
    canary: CapacitySize | None = None
    linear: CapacitySize | None = None
    termination_wait_s: int | None = None
    """As given; None is 0."""
    timeout_s: int | None = None
    """MaximumExecutionTimeoutInSeconds; None: no limit."""


@dataclass(frozen=True)
class Rolling:
    """RollingUpdatePolicy: the new fleet replaces the old one batch by batch."""

    batch: CapacitySize
    wait_s: int
    timeout_s: int | None = None
    rollback_batch: CapacitySize | None = None
    """None: all of the old fleet at once."""


@dataclass(frozen=True)
class Deployment:
    """A DeploymentConfig. Without a policy an update is blue/green, all at once, and bakes for no time."""

    blue_green: BlueGreen | None = None
    rolling: Rolling | None = None
    alarms: tuple[str, ...] = ()
    """AutoRollbackConfiguration."""

    @property
    def timeout_s(self) -> int | None:
        """How long the whole may take."""
        policy = self.rolling or self.blue_green
        return None if policy is None else policy.timeout_s


WaitName = Literal["WaitIntervalInSeconds", "TerminationWaitInSeconds"]


@dataclass(frozen=True)
class Step:
    """One shift of traffic and the bake after it."""

    shares: Mapping[str, Fraction]
    """By name of a variant of the new fleet: its part of that variant's traffic, 0 to 1."""
    counts: Mapping[str, int]
    """By the same: replicas of the new fleet that this takes."""
    kept: Mapping[str, Fraction]
    """By the same: what part of the old fleet's replicas still runs meanwhile; those of a batch that has been proven
    are gone."""
    wait_s: int
    wait_name: WaitName = "WaitIntervalInSeconds"

    def share(self, name: str) -> Fraction:
        """Of a variant's traffic; a variant that the new fleet lacks goes with the slowest of those that it has."""
        return self.shares.get(name, min(self.shares.values()))

    def kept_of(self, name: str, count: int) -> int:
        """How many of `count` old replicas of a variant run meanwhile."""
        return ceil(count * self.kept.get(name, max(self.kept.values())))

    @property
    def full(self) -> bool:
        """The new fleet takes everything."""
        return all(share >= 1 for share in self.shares.values())


def steps_of(deployment: Deployment, revision: Revision) -> tuple[Step, ...]:
    """Every shift of an update to `revision`, in order; the last ones give it all the traffic."""
    if deployment.rolling is not None:
        return _batches(deployment.rolling, revision)
    policy = deployment.blue_green or BlueGreen(Shift.ALL_AT_ONCE, 0)
    counts = {variant.name: variant.instance_count for variant in revision.variants}
    whole = dict.fromkeys(counts, Fraction(1))
    shares = [{name: min(Fraction(1), part) for name, part in row} for row in _shifts(policy, revision)]
    steps = [Step(share, counts, whole, policy.wait_s) for share in (*shares, whole)]
    if policy.termination_wait_s:
        steps.append(Step(whole, counts, whole, policy.termination_wait_s, "TerminationWaitInSeconds"))
    return tuple(steps)


def _shifts(policy: BlueGreen, revision: Revision) -> Iterable[list[tuple[str, Fraction]]]:
    """Variant names with their parts of the traffic after each shift but the last."""
    size = policy.canary or policy.linear
    if size is None:
        return
    parts = [(variant.name, size.part_of(variant.instance_count)) for variant in revision.variants]
    yield parts
    number = 2
    while policy.linear is not None and any(number * part < 1 for _, part in parts):
        yield [(name, number * part) for name, part in parts]
        number += 1


def _batches(policy: Rolling, revision: Revision) -> tuple[Step, ...]:
    steps: list[Step] = []
    totals = {variant.name: variant.instance_count for variant in revision.variants}
    sizes = {name: policy.batch.replicas_of(total) for name, total in totals.items()}
    before = dict.fromkeys(totals, 0)
    while before != totals:
        counts = {name: min(total, before[name] + sizes[name]) for name, total in totals.items()}
        shares = {name: Fraction(counts[name], total) if total else Fraction(1) for name, total in totals.items()}
        kept = {name: 1 - Fraction(before[name], max(1, total)) for name, total in totals.items()}
        steps.append(Step(shares, counts, kept, policy.wait_s))
        before = counts
    return tuple(steps)


def check_deployment(deployment: Deployment) -> None:
    """Raise Invalid where a DeploymentConfig breaks a rule that needs no variant to tell."""
    blue_green, rolling = deployment.blue_green, deployment.rolling
    if blue_green is not None and rolling is not None:
        raise Invalid("DeploymentConfig holds BlueGreenUpdatePolicy and RollingUpdatePolicy; only one may be given.")
    if len(set(deployment.alarms)) != len(deployment.alarms):
        raise Invalid("AutoRollbackConfiguration names an alarm twice.")
    if blue_green is not None:
        _check_shift(blue_green)


def _check_shift(policy: BlueGreen) -> None:
    takes = {Shift.CANARY: "CanarySize", Shift.LINEAR: "LinearStepSize"}.get(policy.shift)
    for name, size in (("CanarySize", policy.canary), ("LinearStepSize", policy.linear)):
        if name == takes and size is None:
            raise Invalid(f"TrafficRoutingConfiguration of Type {policy.shift.value} needs {name}.")
        if name != takes and size is not None:
            raise Invalid(f"TrafficRoutingConfiguration of Type {policy.shift.value} takes no {name}.")


def check_sizes(deployment: Deployment, revision: Revision) -> None:
    """Raise Invalid where a size does not fit the instance counts of `revision`, or where its waits take longer than
    the whole may."""
    blue_green, rolling = deployment.blue_green, deployment.rolling
    for variant in revision.variants:
        if blue_green is not None and blue_green.canary is not None:
            _check_size("CanarySize", blue_green.canary, variant, 0, CANARY_PERCENT_MAX)
        if blue_green is not None and blue_green.linear is not None:
            _check_size("LinearStepSize", blue_green.linear, variant, LINEAR_PERCENT_MIN, LINEAR_PERCENT_MAX)
        if rolling is not None:
            _check_size("MaximumBatchSize", rolling.batch, variant, ROLLING_PERCENT_MIN, ROLLING_PERCENT_MAX)
            if rolling.rollback_batch is not None:
                _check_size("RollbackMaximumBatchSize", rolling.rollback_batch, variant, 0, WHOLE)
    waits_s = sum(step.wait_s for step in steps_of(deployment, revision))
    if deployment.timeout_s is not None and deployment.timeout_s <= waits_s:
        raise Invalid(
            f"MaximumExecutionTimeoutInSeconds is {deployment.timeout_s}, which must be larger than the total waiting "
            f"time of the deployment, {waits_s} seconds."
        )


def _check_size(what: str, size: CapacitySize, variant: RevisionVariant, percent_min: int, percent_max: int) -> None:
    count = variant.instance_count
    percent = WHOLE * size.part_of(count)
    if percent_min <= percent <= percent_max:
        return
    span = f"between {percent_min}% and {percent_max}%" if percent_min else f"less than or equal to {percent_max}%"
    if size.unit is Unit.PERCENT:
        raise Invalid(f"{what} is {size.value}%; it must be {span} of the variant's total instance count.")
    raise Invalid(
        f"{what} is {size.value} instance(s), {float(percent):g}% of the {count} of variant '{variant.name}'; "
        f"it must be {span} of the variant's total instance count. A percentage (CAPACITY_PERCENT) is a share of the "
        "traffic and works with one instance, too."
    )


@dataclass(frozen=True)
class Progress:
    """How far a rollout is. Instants in UTC microseconds."""

    started_us: int
    entered_us: int
    """Since when its step is under way."""
    step: int = 1
    """Number of the step that it takes or bakes, from 1."""
    reached_us: int | None = None
    """Since when the step's shares are routed: its bake."""
    baked_us: int = 0
    """How much of the bake counts so far."""
    looked_us: int | None = None
    """The last look at it; None while it does not count."""
    counted_us: int = 0
    """Up to when it was counted: not beyond the last evaluation of every alarm."""
    deaths: int = 0
    """Processes of the new fleet that ended by themselves."""
    restarts: Mapping[str, int] = field(default_factory=dict)
    """How often each of its replicas was restarted, as last seen."""
    reason: str = ""
    """Why it goes back; empty while it goes ahead."""
    back: int = 0
    """Batches of the old fleet that run again and take traffic."""

    def begun(self, now_us: int) -> Progress:
        """The same with its bake counted from now on; what was not counted yet never is."""
        return replace(self, looked_us=now_us, counted_us=now_us)

    def stepped(self, now_us: int) -> Progress:
        """The same in the next step."""
        return replace(
            self, step=self.step + 1, entered_us=now_us, reached_us=None, baked_us=0, looked_us=None, counted_us=0
        )

    @property
    def stage(self) -> tuple[int, bool, bool, int]:
        """Differs between stages that are told of: its step, whether it bakes, whether it goes back, and how far."""
        return self.step, self.reached_us is not None, bool(self.reason), self.back

    @property
    def taken(self) -> int:
        """The last step whose shares are routed; 0 before the first."""
        return self.step if self.reached_us is not None else self.step - 1
