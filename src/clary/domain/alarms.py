"""Alarms: what is wanted of one, its states, and the limits.

Rules: API reference of CloudWatch (PutMetricAlarm, PutCompositeAlarm) and user guide, "Alarm evaluation".
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Union

from clary.domain.errors import Invalid, NotServed
from clary.domain.principal import Scope
from clary.kit.instants import MICROS

ACTIONS_MAX = 5
"""Actions for one state."""
QUERIES_MAX = 10
"""Metrics and expressions of one alarm."""
SPAN_S_MAX = 604_800
"""Period times EvaluationPeriods, in seconds."""
SHORT_SPAN_S_MAX = 86_400
"""The same where the period is below an hour."""
HIGH_RESOLUTION_S = frozenset({10, 20, 30})
"""Periods below a minute; such an alarm is evaluated every ten seconds."""
SAMPLES_RULE = 10
"""A percentile p is trusted from SAMPLES_RULE / (1 - p) samples on (p at least 0.5), or SAMPLES_RULE / p."""

_LAMBDA = re.compile(r"arn:aws[a-z-]*:lambda:[a-z0-9-]+:\d{12}:function:[A-Za-z0-9_-]{1,64}")
_SNS = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_.-]{1,256}")
_SCALING = re.compile(r"arn:aws[a-z-]*:autoscaling:[a-z0-9-]+:\d{12}:scalingPolicy:.+")
_QUERY_ID = re.compile(r"[a-z][a-zA-Z0-9_]*")


class AlarmValue(enum.Enum):
    """StateValue."""

    OK = "OK"
    ALARM = "ALARM"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


class Comparison(enum.Enum):
    """ComparisonOperator: the statistic is the first operand."""

    GREATER = "GreaterThanThreshold"
    GREATER_OR_EQUAL = "GreaterThanOrEqualToThreshold"
    LESS = "LessThanThreshold"
    LESS_OR_EQUAL = "LessThanOrEqualToThreshold"


class Missing(enum.Enum):
    """TreatMissingData."""

    MISSING = "missing"
    IGNORE = "ignore"
    BREACHING = "breaching"
    NOT_BREACHING = "notBreaching"


class EvaluationState(enum.Enum):
    """Why an alarm could not be evaluated; None where it could."""

    PARTIAL_DATA = "PARTIAL_DATA"
    EVALUATION_FAILURE = "EVALUATION_FAILURE"
    """The metrics could not be read for now."""
    EVALUATION_ERROR = "EVALUATION_ERROR"
    """The alarm itself is at fault; its reason says how."""


@dataclass(frozen=True)
class MetricStat:
    """One metric, one statistic a period."""

    namespace: str
    metric: str
    dimensions: tuple[tuple[str, str], ...]
    """Sorted by name."""
    period_s: int
    stat: str
    """`Average`, `p99`, ..."""
    unit: str | None = None
    """Only points in this unit; None: any."""


@dataclass(frozen=True)
class MetricQuery:
    """An element of `Metrics`: a metric, or an expression over the others."""

    id: str
    stat: MetricStat | None = None
    expression: str = ""
    label: str = ""
    period_s: int | None = None
    """Of an expression; None: that of its metrics."""
    returned: bool = True
    """Whether it is the one that is compared with the threshold."""


@dataclass(frozen=True)
class Actions:
    """What is told of a change of state: ARNs by the new state."""

    enabled: bool = True
    ok: tuple[str, ...] = ()
    alarm: tuple[str, ...] = ()
    insufficient: tuple[str, ...] = ()

    def of(self, value: AlarmValue) -> tuple[str, ...]:
        """The ARNs for a new state."""
        if value is AlarmValue.OK:
            return self.ok
        return self.alarm if value is AlarmValue.ALARM else self.insufficient


@dataclass(frozen=True)
class MetricAlarm:
    """PutMetricAlarm: M of the last N periods beyond a threshold."""

    queries: tuple[MetricQuery, ...]
    evaluation_periods: int
    """N."""
    threshold: float
    comparison: Comparison
    datapoints_to_alarm: int | None = None
    """M; None: N, and the reasons of states are worded otherwise."""
    missing: Missing | None = None
    """None: as MISSING."""
    ignore_low_samples: bool | None = None
    """EvaluateLowSampleCountPercentile: `ignore` (True), `evaluate` (False), not given (None)."""
    description: str | None = None
    actions: Actions = Actions()
    simple: bool = True
    """Given by MetricName, not by Metrics: `queries` is one metric."""

    @property
    def breaching_min(self) -> int:
        """M."""
        return self.datapoints_to_alarm or self.evaluation_periods

    @property
    def watched(self) -> MetricQuery:
        """The query whose values are compared."""
        return next(query for query in self.queries if query.returned)

    @property
    def period_s(self) -> int:
        """Seconds of one data point."""
        watched = self.watched
        if watched.stat is not None:
            return watched.stat.period_s
        periods = [query.stat.period_s for query in self.queries if query.stat is not None]
        return watched.period_s or (max(periods) if periods else 60)

    @property
    def every_s(self) -> int:
        """Seconds between evaluations: an alarm over more than a day is evaluated by the hour."""
        if self.period_s * self.evaluation_periods > SHORT_SPAN_S_MAX:
            return 3600
        return 10 if self.period_s in HIGH_RESOLUTION_S else 60

    def breaches(self, value: float) -> bool:
        """Whether a value is beyond the threshold."""
        if self.comparison is Comparison.GREATER:
            return value > self.threshold
        if self.comparison is Comparison.GREATER_OR_EQUAL:
            return value >= self.threshold
        if self.comparison is Comparison.LESS:
            return value < self.threshold
        return value <= self.threshold


@dataclass(frozen=True)
class CompositeAlarm:
    """PutCompositeAlarm: a rule over the states of other alarms."""

    rule: str
    description: str | None = None
    actions: Actions = Actions()
    suppressor: str | None = None
    """Name or ARN of the alarm that suppresses the actions while it is in ALARM."""
    wait_s: int = 0
    extension_s: int = 0


AlarmSpec = Union[MetricAlarm, CompositeAlarm]


@dataclass(frozen=True)
class AlarmState:
    """What is known of an alarm's state. Instants in UTC microseconds."""

    uid: str
    name: str
    value: AlarmValue
    reason: str
    reason_data: str
    """JSON; empty where there is none."""
    updated_us: int
    """Of the last change of the value or of `evaluation`."""
    transitioned_us: int
    """Of the last change of the value."""
    evaluated_us: int | None
    """When it could last be evaluated (metrics readable, loop running); None: never yet."""
    evaluation: EvaluationState | None = None


INITIAL_REASON = "Unchecked: Initial alarm creation"


def initial_state(uid: str, name: str, created_us: int) -> AlarmState:
    """Before the first evaluation there is not enough data."""
    return AlarmState(
        uid=uid,
        name=name,
        value=AlarmValue.INSUFFICIENT_DATA,
        reason=INITIAL_REASON,
        reason_data="",
        updated_us=created_us,
        transitioned_us=created_us,
        evaluated_us=None,
    )


@dataclass(frozen=True)
class Suppression:
    """Why a composite alarm's actions are held back. Instants in UTC microseconds."""

    by: str
    """`WaitPeriod`, `ExtensionPeriod` or `Alarm`."""
    until_us: int | None = None
    """None: as long as the suppressor is in ALARM."""


@dataclass(frozen=True)
class Alarm:
    """An alarm as stored."""

    uid: str
    scope: Scope
    name: str
    created_us: int
    modified_us: int
    spec: AlarmSpec
    state: AlarmState
    suppression: Suppression | None = None
    acted: AlarmValue | None = None
    """Composite: the state whose actions were last performed; None: none yet."""
    wish: int = 0
    """Counts what control wants: definitions, and states that were set."""
    seen: int = 0
    """The wish that was last looked at."""
    set: SetState | None = None
    """The state that SetAlarmState asks for, while nobody looked at it."""

    @property
    def arn(self) -> str:
        return alarm_arn(self.scope, self.name)


@dataclass(frozen=True)
class SetState:
    """SetAlarmState."""

    value: AlarmValue
    reason: str
    reason_data: str = ""


def alarm_arn(scope: Scope, name: str) -> str:
    """`arn:aws:cloudwatch:REGION:ACCOUNT:alarm:NAME`."""
    return f"arn:aws:cloudwatch:{scope.region}:{scope.account}:alarm:{name}"


def alarm_name(text: str, scope: Scope) -> str:
    """The name in a name or an ARN of the same account and region; another's ARN stays as it is."""
    prefix = alarm_arn(scope, "")
    return text[len(prefix) :] if text.startswith(prefix) else text


def stamp(at_us: int) -> str:
    """`2031-01-05T08:02:40.985+0000`."""
    at = datetime.fromtimestamp(at_us / MICROS, timezone.utc)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}+0000"


def is_scaling_action(arn: str) -> bool:
    """Whether an action is a scaling policy's: it reads the alarm's state itself and is sent nothing."""
    return _SCALING.fullmatch(arn) is not None


def fraction_of(stat: str) -> float | None:
    """0.99 of `p99`; None for a statistic that is no percentile."""
    return float(stat[1:]) / 100 if re.fullmatch(r"p\d{1,3}(?:\.\d+)?", stat) else None


def samples_min(stat: str) -> float:
    """Samples from which on a percentile is trusted; 0 for other statistics, and for p0 and p100."""
    fraction = fraction_of(stat)
    if fraction is None or not 0 < fraction < 1:
        return 0.0
    # Rounded: 1 - 0.99 is a little above a hundredth.
    return round(SAMPLES_RULE / (1 - fraction if fraction >= 0.5 else fraction), 6)


def check_alarm(spec: AlarmSpec) -> None:
    """Raise Invalid or NotServed for an alarm that cannot be."""
    for arns in (spec.actions.ok, spec.actions.alarm, spec.actions.insufficient):
        _check_actions(arns, composite=isinstance(spec, CompositeAlarm))
    if isinstance(spec, MetricAlarm):
        _check_metric_alarm(spec)


def _check_actions(arns: Sequence[str], *, composite: bool) -> None:
    if len(arns) > ACTIONS_MAX:
        raise Invalid(f"An alarm has at most {ACTIONS_MAX} actions for a state; {len(arns)} are given.")
    for arn in arns:
        if _LAMBDA.fullmatch(arn) or _SNS.fullmatch(arn):
            continue
        if _SCALING.fullmatch(arn):
            if composite:
                raise Invalid(f"Composite alarms cannot have Auto Scaling actions: {arn}")
            continue
        if arn.startswith("arn:"):
            raise NotServed(
                f"The alarm action {arn}",
                "Actions are arn:aws:lambda:REGION:ACCOUNT:function:NAME, arn:aws:sns:REGION:ACCOUNT:NAME and "
                "arn:aws:autoscaling:REGION:ACCOUNT:scalingPolicy:...",
            )
        raise Invalid(f"Invalid arn syntax: {arn}")


def _check_metric_alarm(spec: MetricAlarm) -> None:
    _check_queries(spec.queries)
    period_s, periods = spec.period_s, spec.evaluation_periods
    for given_s in {query.stat.period_s for query in spec.queries if query.stat is not None} | {period_s}:
        if not (given_s in HIGH_RESOLUTION_S or (given_s > 0 and given_s % 60 == 0)):
            raise Invalid(f"The parameter Period must be 10, 20, 30 or a multiple of 60; it is {given_s}.")
    if period_s < 3600 and period_s * periods > SHORT_SPAN_S_MAX:
        raise Invalid(
            f"Metrics cannot be checked across more than a day (EvaluationPeriods * Period must be <= "
            f"{SHORT_SPAN_S_MAX}) for periods below 3600 seconds."
        )
    if period_s * periods > SPAN_S_MAX:
        raise Invalid(
            "Metrics cannot be checked across more than seven days (EvaluationPeriods * Period must be <= "
            f"{SPAN_S_MAX})."
        )
    if spec.breaching_min > periods:
        raise Invalid(
            f"DatapointsToAlarm ({spec.breaching_min}) must be less than or equal to EvaluationPeriods ({periods})."
        )
    if not math.isfinite(spec.threshold):
        raise Invalid("The parameter Threshold must be a finite number.")
    if spec.ignore_low_samples is not None and not any(
        fraction_of(query.stat.stat) is not None for query in spec.queries if query.stat is not None
    ):
        raise Invalid("EvaluateLowSampleCountPercentile needs a percentile as the statistic.")


def _check_queries(queries: Sequence[MetricQuery]) -> None:
    if not queries:
        raise Invalid("Metrics must not be empty.")
    if len(queries) > QUERIES_MAX:
        raise Invalid(f"An alarm has at most {QUERIES_MAX} metrics and expressions; {len(queries)} are given.")
    if len({query.id for query in queries}) != len(queries):
        raise Invalid("The Ids of Metrics must be unique.")
    for query in queries:
        if not _QUERY_ID.fullmatch(query.id):
            raise Invalid(f"The value {query.id} for parameter Metrics.Id is not matching ^[a-z][a-zA-Z0-9_]*$.")
        if (query.stat is None) == (not query.expression):
            raise Invalid(f"Metrics.{query.id} must have either MetricStat or Expression.")
        if query.stat is not None and query.period_s is not None:
            raise Invalid(f"Metrics.{query.id} has its period in MetricStat; Period belongs to an expression.")
    if sum(query.returned for query in queries) != 1:
        raise Invalid("Exactly one element of the metrics list should return data.")
    if len({query.stat.period_s for query in queries if query.stat is not None}) > 1:
        raise Invalid("All metrics of an alarm must have the same period.")
