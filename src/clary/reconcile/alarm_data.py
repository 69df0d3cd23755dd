"""What the metric store says for an alarm: its evaluation range, a data point a period."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from clary.domain.alarms import Alarm, EvaluationState, MetricAlarm, MetricStat
from clary.domain.errors import DomainError
from clary.domain.principal import Scope
from clary.reconcile.alarm_plan import Outcome
from clary.reconcile.alarm_reasons import reason_data_of, reason_of
from clary.reconcile.alarms import EXTRA_PERIODS, Datapoint, Datapoints, judge
from clary.telemetry.expressions import BadExpression, Series, compile, evaluate_all
from clary.telemetry.query import Metric
from clary.telemetry.statistics import Percentile, Question, Window, moments_of, parse_stat


def outcome_of(db: sqlite3.Connection, alarm: Alarm, end_s: int, now_us: int) -> Outcome:
    """Evaluate a metric alarm over the periods that end at `end_s` (UTC seconds). Raises sqlite3.Error."""
    spec = alarm.spec
    assert isinstance(spec, MetricAlarm)
    try:
        points = datapoints(db, alarm.scope, spec, end_s)
    except DomainError as error:
        return Outcome(None, f"Evaluation Error: {error}", evaluation=EvaluationState.EVALUATION_ERROR)
    verdict = judge(spec, points)
    if verdict.value is None:
        return Outcome(None)
    return Outcome(verdict.value, reason_of(spec, verdict), reason_data_of(spec, verdict, now_us))


def datapoints(db: sqlite3.Connection, scope: Scope, spec: MetricAlarm, end_s: int) -> Datapoints:
    """N + EXTRA_PERIODS data points, the newest first. Raises BadExpression."""
    period_s = spec.period_s
    count = spec.evaluation_periods + EXTRA_PERIODS
    window = Window(end_s - count * period_s, end_s, period_s)
    watched = spec.watched.stat
    if watched is not None:
        known: Mapping[int, Datapoint] = _metric(db, scope, watched, window)
    else:
        known = {at_s: Datapoint(at_s, number) for at_s, number in _math(db, scope, spec, window).points.items()}
    return [known.get(end_s - number * period_s) for number in range(1, count + 1)]


def _metric(db: sqlite3.Connection, scope: Scope, stat: MetricStat, window: Window) -> dict[int, Datapoint]:
    parsed = parse_stat(stat.stat)
    if parsed is None:
        raise BadExpression(f"{stat.stat!r} is not a valid statistic")
    metric = Metric(stat.namespace, stat.metric, stat.dimensions)
    question = Question(metric, window, stat.unit, percentiles=isinstance(parsed, Percentile))
    moments = moments_of(db, scope, question, parsed)
    return {at_s: Datapoint(at_s, number, cell.count) for at_s, (number, cell) in moments.items()}


def _math(db: sqlite3.Connection, scope: Scope, spec: MetricAlarm, window: Window) -> Series:
    metrics = {
        query.id: Series(
            {at_s: point.value for at_s, point in _metric(db, scope, query.stat, window).items()},
            window.period_s,
            query.label or query.stat.metric,
            stored=True,
        )
        for query in spec.queries
        if query.stat is not None
    }
    expressions = {query.id: compile(query.expression) for query in spec.queries if query.stat is None}
    result = evaluate_all(metrics, expressions, lambda _id, _period: window)[spec.watched.id]
    if isinstance(result, Series):
        return result
    if len(result) != 1:
        raise BadExpression(f"The expression {spec.watched.id!r} gives {len(result)} time series; an alarm watches one")
    return result[0]
