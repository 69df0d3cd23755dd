"""Objectives in words, and the alarms that watch them: `p99 < 50ms`, `errors < 1% for 3 of 5 minutes`.

An objective says how an endpoint should be; its alarm is in ALARM while it is not. Grammar:

    SUBJECT OPERATOR NUMBER [UNIT] [for [M of] N (minutes | x PERIOD)]

SUBJECT: `p50` ... `p99.9`, `average`, `max`, `min` (latency of the model, in us, ms or s), `errors` (requests that the
model failed: 5xx, its link broken, out of time), `5xx`, `4xx` (each in % of the requests, or their number in a period),
`cpu`, `memory` (in %). OPERATOR: `<`, `<=`, `>`, `>=`. PERIOD: `10s`, `30s`, `1m`, `5m`, ... Without `for` one minute
decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from clary.domain.alarms import Actions, Comparison, MetricAlarm, MetricQuery, MetricStat, Missing, check_alarm
from clary.domain.errors import Invalid

_OBJECTIVE = re.compile(
    r"\s*(?P<subject>p\d{1,2}(?:\.\d+)?|[a-z0-9]+)\s*(?P<operator><=|>=|<|>)\s*(?P<number>\d{1,15}(?:\.\d{1,15})?)\s*"
    r"(?P<unit>us|µs|ms|s|%)?"
    r"(?:\s+for\s+(?:(?P<m>\d{1,6})\s+of\s+)?(?P<n>\d{1,6})\s*"
    r"(?:minutes?|min|m|x\s*(?P<period>\d{1,6})\s*(?P<scale>s|m)))?\s*",
    re.IGNORECASE,
)
_LATENCY_STATS = {"average": "Average", "avg": "Average", "mean": "Average", "max": "Maximum", "min": "Minimum"}
_US = {"us": 1.0, "µs": 1.0, "ms": 1_000.0, "s": 1_000_000.0}
_ERRORS = {"errors": "InvocationModelErrors", "5xx": "Invocation5XXErrors", "4xx": "Invocation4XXErrors"}
_NOT_ITS_FAULT = {"errors": "Invocation4XXErrors"}
"""What is taken off: InvocationModelErrors are all answers but 2xx."""
_USAGE = {"cpu": "CPUUtilization", "memory": "MemoryUtilization"}
_SERVING, _USING = "AWS/SageMaker", "/aws/sagemaker/Endpoints"
_VIOLATED = {
    "<": Comparison.GREATER_OR_EQUAL,
    "<=": Comparison.GREATER,
    ">": Comparison.LESS_OR_EQUAL,
    ">=": Comparison.LESS,
}
EXAMPLES = "'p99 < 50ms', 'errors < 1% for 3 of 5 minutes', 'average <= 3 ms', 'cpu < 80% for 2 of 3 x 10s'"


@dataclass(frozen=True)
class Objective:
    """What should hold, and for how long it must not before that counts."""

    text: str
    namespace: str
    metric: str
    stat: str
    violated: Comparison
    """The comparison that is true while the objective is missed."""
    threshold: float
    """In the metric's own unit: microseconds, a fraction of the requests, a count, percent."""
    less: str = ""
    """A metric whose values are taken off, or none."""
    breaching_min: int = 1
    periods: int = 1
    period_s: int = 60


@dataclass(frozen=True)
class Watched:
    """Whose metrics."""

    endpoint: str
    variant: str
    config: str = ""
    """Only the fleet of this endpoint configuration; empty: all fleets of the variant."""


def parse_objective(text: str) -> Objective:
    """The objective in a text. Raises Invalid, with examples."""
    found = _OBJECTIVE.fullmatch(text)
    if found is None:
        raise Invalid(f"The objective {text!r} cannot be read; examples: {EXAMPLES}.")
    subject, unit = found["subject"].lower(), (found["unit"] or "").lower()
    namespace, metric, stat, scale = _subject(text, subject, unit)
    periods = int(found["n"] or 1)
    period_s = int(found["period"]) * (60 if found["scale"].lower() == "m" else 1) if found["period"] else 60
    return Objective(
        text=" ".join(text.split()),
        namespace=namespace,
        metric=metric,
        stat=stat,
        violated=_VIOLATED[found["operator"]],
        threshold=float(found["number"]) * scale,
        less=_NOT_ITS_FAULT.get(subject, ""),
        breaching_min=int(found["m"] or periods),
        periods=periods,
        period_s=period_s,
    )


def alarm_of(objective: Objective, watched: Watched, actions: Actions | None = None) -> MetricAlarm:
    """The alarm that is in ALARM while the objective is missed. No traffic is no miss. Raises Invalid."""
    config = (("EndpointConfigName", watched.config),) if watched.config else ()
    dimensions = (*config, ("EndpointName", watched.endpoint), ("VariantName", watched.variant))
    stat = MetricStat(objective.namespace, objective.metric, dimensions, objective.period_s, objective.stat)
    queries: tuple[MetricQuery, ...] = (MetricQuery("m1", stat),)
    if objective.less:
        queries = (
            MetricQuery("missed", expression="m1 - m2", label=f"{objective.metric} - {objective.less}"),
            MetricQuery("m1", stat, returned=False),
            MetricQuery("m2", replace(stat, metric=objective.less), returned=False),
        )
    alarm = MetricAlarm(
        queries=queries,
        evaluation_periods=objective.periods,
        threshold=objective.threshold,
        comparison=objective.violated,
        datapoints_to_alarm=objective.breaching_min,
        missing=Missing.NOT_BREACHING,
        description=f"{objective.text} ({watched.endpoint}/{watched.variant})",
        actions=actions or Actions(),
        simple=not objective.less,
    )
    check_alarm(alarm)
    return alarm


def _subject(text: str, subject: str, unit: str) -> tuple[str, str, str, float]:
    """Namespace, metric, statistic, and how many of the metric's units one of the text's is."""
    stat = subject if re.fullmatch(r"p\d{1,2}(?:\.\d+)?", subject) else _LATENCY_STATS.get(subject)
    if stat is not None:
        if unit not in _US:
            raise Invalid(f"The objective {text!r} is about latency and needs a unit: us, ms or s.")
        return _SERVING, "ModelLatency", stat, _US[unit]
    if subject in _ERRORS:
        if unit not in ("%", ""):
            raise Invalid(f"The objective {text!r} is about errors: give % of the requests, or a number of them.")
        return (_SERVING, _ERRORS[subject], "Average", 0.01) if unit else (_SERVING, _ERRORS[subject], "Sum", 1.0)
    if subject in _USAGE:
        if unit != "%":
            raise Invalid(f"The objective {text!r} is about usage and needs %.")
        return _USING, _USAGE[subject], "Average", 1.0
    raise Invalid(f"The objective {text!r} is about {subject!r}, which is none; examples: {EXAMPLES}.")
