"""What metrics of simulated fleets show, and what alarms make of that: by the evaluation that real alarms have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from clary.domain.alarms import AlarmValue, MetricAlarm, MetricStat
from clary.domain.errors import Invalid
from clary.kit.clock import MICROS
from clary.reconcile.alarms import EXTRA_PERIODS, Datapoint, judge
from clary.simulation.service import Second
from clary.telemetry.expressions import Series, compile, evaluate_all
from clary.telemetry.statistics import Percentile, Window, parse_stat


@dataclass
class Record:
    """The seconds of one fleet, from 0 on."""

    seconds: list[Second] = field(default_factory=list)
    concurrency: int = 1
    _known: dict[tuple[str, str, int, int], float | None] = field(default_factory=dict)

    def value(self, metric: str, stat: str, start_s: int, period_s: int) -> float | None:
        """A statistic of a metric over one period; None where nothing came. Raises Invalid for a metric that the
        simulation does not have."""
        key = (metric, stat, start_s, period_s)
        if key not in self._known:
            self._known[key] = self._value(metric, stat, self.seconds[max(0, start_s) : start_s + period_s])
        return self._known[key]

    def _value(self, metric: str, stat: str, seconds: Sequence[Second]) -> float | None:
        if not seconds:
            return None
        arrived = sum(second.arrived for second in seconds)
        if metric == "ModelLatency":
            return _latency_us(stat, [second for second in seconds if second.arrived]) if arrived else None
        of = _METRICS.get(metric)
        if of is None:
            raise Invalid(f"The simulation has no metric {metric}; it has ModelLatency, {', '.join(_METRICS)}.")
        values = [of(second, self.concurrency) for second in seconds]
        if stat == "Sum":
            return sum(values)
        if metric in _A_REQUEST:
            return sum(values) / arrived if arrived else None
        return max(values) if stat == "Maximum" else sum(values) / len(values)


def _nothing(_: Second, __: int) -> float:
    return 0.0


_METRICS: dict[str, Callable[[Second, int], float]] = {
    "Invocations": lambda second, _: second.arrived,
    "InvocationsPerInstance": lambda second, _: second.arrived / max(1, second.ready),
    "ConcurrentRequestsPerModel": lambda second, _: second.busy,
    "InvocationModelErrors": lambda second, _: second.errors,
    "Invocation5XXErrors": lambda second, _: second.errors,
    "Invocation4XXErrors": _nothing,
    "CPUUtilization": lambda second, concurrency: (
        100.0 * min(1.0, second.busy / max(1, second.ready * concurrency)) if second.ready else 0.0
    ),
}
_A_REQUEST = frozenset({"InvocationModelErrors", "Invocation5XXErrors", "Invocation4XXErrors"})
"""Their Average is of the requests, not of the seconds."""


def _latency_us(stat: str, seconds: Sequence[Second]) -> float:
    """A percentile of a period is the largest of its seconds': on the safe side."""
    parsed = parse_stat(stat)
    if isinstance(parsed, Percentile):
        return max(second.latency_s(parsed.fraction) for second in seconds) * MICROS
    if parsed == "Maximum":
        return max(second.latency_s(0.9999) for second in seconds) * MICROS
    total = sum(second.arrived * second.mean_s for second in seconds)
    return total / sum(second.arrived for second in seconds) * MICROS


@dataclass
class SimulatedAlarm:
    """An alarm over a record."""

    name: str
    spec: MetricAlarm
    record: Record
    value: AlarmValue = AlarmValue.INSUFFICIENT_DATA
    since_s: int = 0
    evaluated_s: int | None = None
    newest: float | None = None
    """The value of the last whole period."""

    def look(self, now_s: int) -> bool:
        """Evaluate where that is due; whether the state is another one."""
        if now_s % self.spec.every_s:
            return False
        points = self._points(now_s)
        self.newest = points[0].value if points[0] else None
        verdict = judge(self.spec, points)
        self.evaluated_s = now_s
        if verdict.value is None or verdict.value is self.value:
            return False
        self.value, self.since_s = verdict.value, now_s
        return True

    def _points(self, end_s: int) -> list[Datapoint | None]:
        period_s = self.spec.period_s
        starts = [end_s - number * period_s for number in range(1, self.spec.evaluation_periods + EXTRA_PERIODS + 1)]
        watched = self.spec.watched.stat
        if watched is not None:
            return [self._point(watched, start_s) for start_s in starts]
        window = Window(starts[-1], end_s, period_s)
        metrics = {
            query.id: Series(self._points_of(query.stat, starts), period_s, query.stat.metric, stored=True)
            for query in self.spec.queries
            if query.stat is not None
        }
        expressions = {query.id: compile(query.expression) for query in self.spec.queries if query.stat is None}
        found = evaluate_all(metrics, expressions, lambda _id, _period: window)[self.spec.watched.id]
        assert isinstance(found, Series), "an objective is one series"
        return [Datapoint(at_s, found.points[at_s]) if at_s in found.points else None for at_s in starts]

    def _points_of(self, stat: MetricStat, starts: Sequence[int]) -> dict[int, float]:
        points = [self._point(stat, start_s) for start_s in reversed(starts)]
        return {point.at_s: point.value for point in points if point is not None}

    def _point(self, stat: MetricStat, start_s: int) -> Datapoint | None:
        if start_s < 0:
            return None
        value = self.record.value(stat.metric, stat.stat, start_s, stat.period_s)
        return None if value is None else Datapoint(start_s, value)
