"""Several metrics and expressions over one span of time: what GetMetricData, math alarms and widgets ask the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from clary.domain.principal import Scope
from clary.telemetry.expressions import BadExpression, Expression, Names, Search, Series, Value, evaluate_all
from clary.telemetry.query import Metric, MetricFilter, each_metric
from clary.telemetry.statistics import Percentile, Question, Stat, Window, moments_of

READ_POINTS_MAX = 504_000
"""Points that one request's expressions may read: five times what it may answer (100,800)."""
FOUND_MAX = 500
"""Series that one search finds at most ("a graph can display as many as 500 time series")."""
COMPARED_MAX = 3_000_000
"""Names with which a request's searches are compared, term by term: some seconds, of a process that has other work."""
LISTED_MAX = 1_000_000
"""More than a store ever has."""
PERIOD_DEFAULT_S = 60
"""Of an expression that combines no metrics and says nothing."""
LISTED_S = 14 * 86400
"""A metric without a point for two weeks is no longer found."""


@dataclass(frozen=True)
class Wanted:
    """One statistic of one metric."""

    question: Question
    stat: Stat

    @property
    def properties(self) -> dict[str, str]:
        """What dynamic labels may name."""
        metric, seen = self.question.metric, self.question.window
        stat = f"p{self.stat.fraction * 100:g}" if isinstance(self.stat, Percentile) else self.stat
        return {
            "Namespace": metric.namespace,
            "MetricName": metric.name,
            "Period": str(seen.period_s),
            "Stat": stat,
            **{f"Dim.{name}": value for name, value in metric.dimensions},
        }


def read_series(db: sqlite3.Connection, scope: Scope, wanted: Wanted) -> Series:
    """The statistic as a time series."""
    question = wanted.question
    known = {at_s: number for at_s, (number, _) in moments_of(db, scope, question, wanted.stat).items()}
    properties = {**wanted.properties, "AccountId": scope.account, "Region": scope.region}
    return Series(known, question.window.period_s, question.metric.name, properties, stored=True)


@dataclass(frozen=True)
class Math:
    """One expression of a request."""

    expression: Expression
    period_s: int | None = None
    """Where it is given: of searches that name none, and of expressions that combine no metric; others must have it."""


def evaluate(
    db: sqlite3.Connection,
    scope: Scope,
    metrics: Mapping[str, Wanted],
    math: Mapping[str, Math],
    window: Callable[[int], Window],
    now_s: int,
) -> dict[str, Value]:
    """Every metric and expression of a request, by id, in one consistent view. `window(period)` is the span asked for.

    BadExpression, also where too much would have to be read.
    """
    budget = _Budget(READ_POINTS_MAX, COMPARED_MAX)
    series = {id: budget.spend(read_series(db, scope, wanted)) for id, wanted in metrics.items()}
    found: dict[Search, Sequence[Series]] = {}
    for id, one in math.items():
        for search in one.expression.searches:
            period_s = search.period_s or one.period_s
            if period_s is None:
                raise BadExpression(f"Error in expression {id!r}: give the period, in SEARCH or as the query's Period")
            if search not in found:
                wanted_all = [
                    Wanted(Question(metric, window(period_s), None, isinstance(search.stat, Percentile)), search.stat)
                    for metric in _find(db, scope, search, now_s, budget)
                ]
                found[search] = labelled([budget.spend(read_series(db, scope, wanted)) for wanted in wanted_all])

    def window_of(id: str, period_s: int | None) -> Window:
        own_s = math[id].period_s
        if own_s is not None and period_s is not None and own_s != period_s:
            raise BadExpression(f"Its Period is {own_s} seconds, and that of its metrics {period_s}")
        return window(period_s or own_s or PERIOD_DEFAULT_S)

    expressions = {id: one.expression for id, one in math.items()}
    return {**series, **evaluate_all(series, expressions, window_of, found)}


def _find(db: sqlite3.Connection, scope: Scope, search: Search, now_s: int, budget: _Budget) -> list[Metric]:
    """The metrics that a search means, in order; BadExpression for more than FOUND_MAX."""
    within = MetricFilter(
        search.namespace, dimensions=[(name, None) for name in search.dimensions or ()], active_since_s=now_s - LISTED_S
    )
    metrics: list[Metric] = []
    found = 0
    for one in each_metric(db, scope, within, None, LISTED_MAX):
        budget.compare((2 + 2 * len(one.dimensions)) * search.compared)
        if search.matches(Names(one.namespace, one.name, one.dimensions)):
            found += 1
            if found <= FOUND_MAX:
                metrics.append(one)
    if found > FOUND_MAX:
        raise BadExpression(f"A search found {found} metrics, and may find {FOUND_MAX}; narrow it")
    return metrics


def labelled(found: Sequence[Series]) -> list[Series]:
    """Series that a search found, each labelled by what tells it from the others: metric, values of dimensions."""
    tells = [
        name
        for name in dict.fromkeys(name for one in found for name in one.properties)
        if (name == "MetricName" or name.startswith("Dim.")) and len({one.properties.get(name) for one in found}) > 1
    ] or ["MetricName"]
    return [
        replace(one, label=" ".join(one.properties[name] for name in tells if name in one.properties)) for one in found
    ]


@dataclass
class _Budget:
    """What may still be read, and compared."""

    left: int
    """Points."""
    names: int

    def compare(self, names: int) -> None:
        self.names -= names
        if self.names < 0:
            raise BadExpression(
                f"The searches would be compared with more than {COMPARED_MAX} names of metrics; ask for fewer "
                "searches, with fewer terms, and narrow them by {Namespace,Dimension}"
            )

    def spend(self, one: Series) -> Series:
        self.left -= len(one.points)
        if self.left < 0:
            raise BadExpression(
                f"The expressions would read more than {READ_POINTS_MAX} data points; ask for a longer period, a "
                "shorter time range or fewer metrics"
            )
        return one
