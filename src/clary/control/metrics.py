"""Use cases of CloudWatch's metrics: reading what is stored."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from clary.domain.principal import Scope
from clary.kit.clock import MICROS, Clock
from clary.kit.threads import Threads
from clary.telemetry.expressions import Value
from clary.telemetry.metric_data import LISTED_S, Math, Wanted, evaluate
from clary.telemetry.points import Sample
from clary.telemetry.query import Metric, MetricFilter, Point, list_metrics
from clary.telemetry.statistics import Question, Window, points_of
from clary.telemetry.store import MetricStore

RECENT_S = 3 * 3600
"""What RecentlyActive=PT3H looks back."""


@dataclass(frozen=True)
class MetricDesk:
    """Where these use cases work."""

    store: MetricStore
    threads: Threads
    clock: Clock


async def ask(
    desk: MetricDesk, scope: Scope, questions: Sequence[Question], enough: Callable[[int], bool] = lambda _: False
) -> list[list[Point]]:
    """The points of each question, in order of time, in one consistent view.

    `enough(points so far)` true after a question: the rest is left out, and the answer is shorter than the questions.
    """

    def work(db: sqlite3.Connection) -> list[list[Point]]:
        answers: list[list[Point]] = []
        count = 0
        for question in questions:
            answers.append(points_of(db, scope, question))
            count += len(answers[-1])
            if enough(count):
                break
        return answers

    return await desk.threads.run(lambda: desk.store.read(work))


async def put(desk: MetricDesk, samples: Callable[[], Sequence[Sample]]) -> None:
    """Store what a user published: all of it, on the disk when this returns. LimitExceeded, and nothing is stored.

    `samples` makes them, on a thread: there may be 150,000 values in them. What it raises goes through.
    """
    await desk.threads.run(lambda: desk.store.record(samples(), desk.clock.now_us()))


async def calculate(
    desk: MetricDesk,
    scope: Scope,
    wanted: Mapping[str, Wanted],
    math: Mapping[str, Math],
    window: Callable[[int], Window],
) -> dict[str, Value]:
    """Metrics and expressions by id, as `telemetry.metric_data.evaluate` gives them; BadExpression."""
    now_s = desk.clock.now_us() // MICROS
    return await desk.threads.run(lambda: desk.store.read(lambda db: evaluate(db, scope, wanted, math, window, now_s)))


async def metrics(
    desk: MetricDesk, scope: Scope, wanted: MetricFilter, after: Metric | None, count_max: int, *, recent: bool
) -> list[Metric]:
    """At most `count_max` metrics after `after` with a point in the last two weeks, or three hours if `recent`."""
    since_s = desk.clock.now_us() // MICROS - (RECENT_S if recent else LISTED_S)
    within = MetricFilter(wanted.namespace, wanted.name, wanted.dimensions, since_s)

    return await desk.threads.run(lambda: desk.store.read(lambda db: list_metrics(db, scope, within, after, count_max)))
