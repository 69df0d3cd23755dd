"""The loop of alarms: reads what fell due, evaluates it, and writes states, history and events in one transaction.

States are what is kept, so a kill at any moment neither loses nor repeats a change: the evaluation that was not written
is done again. Evaluations that fell due while nobody looked are made up for, within limits. A clock that was set back
a little evaluates nothing twice; after a large step it begins anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection

from clary.domain.alarms import Alarm, CompositeAlarm, EvaluationState, MetricAlarm
from clary.kit.clock import MICROS, Clock
from clary.kit.ids import Ids
from clary.kit.threads import Threads
from clary.reconcile import alarm_plan
from clary.reconcile.alarm_data import outcome_of
from clary.reconcile.alarm_events import SOURCE
from clary.reconcile.alarm_plan import Change, Outcome
from clary.reconcile.alarms import ticks
from clary.store import alarm_history, outbox
from clary.store.alarm_history import Item, encode_data
from clary.store.alarms import COMPOSITE, METRIC, alarms_of, note, suppression_end_us, wished
from clary.store.base import Store
from clary.telemetry.store import MetricStore

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class AlarmOptions:
    """How alarms are evaluated."""

    lag_s: int = 2
    """Seconds after the end of a period until it is looked at: routers' counts of it have arrived by then."""
    batch_max: int = 1000
    """Alarms evaluated in one transaction, so that others get their turns."""
    ticks_max: int = 60
    """Evaluations of one alarm that are made up for after an outage; earlier ones are left out."""
    step_back_s: int = 300
    """A clock that stands more than this before the last evaluation was set back: evaluation begins anew there."""
    retry_s: float = 5.0
    """Wait after an unexpected error."""
    look_s: float = 60.0
    """Longest wait between two looks."""
    prune_s: float = 3600.0
    """Seconds between deletions of what is older than two weeks."""


@dataclass(frozen=True)
class AlarmWorld:
    """Everything that the loop touches."""

    store: Store
    metrics: MetricStore
    threads: Threads
    clock: Clock
    ids: Ids


class AlarmLoop:
    """Runs as one task: `await AlarmLoop(world).run()`; it never returns."""

    def __init__(self, world: AlarmWorld, options: AlarmOptions = AlarmOptions()) -> None:
        self._world = world
        self._options = options
        self._pruned_s: float | None = None
        self._failing = False

    async def run(self) -> None:
        """Go on forever. What routers left in their spools while nobody looked is given `lag_s` to arrive."""
        world = self._world
        await world.clock.sleep(self._options.lag_s)
        while True:
            seen = world.store.signal.version
            try:
                wait_s = await self.step()
            except Exception as error:
                wait_s = self._options.retry_s
                _log.exception("evaluating alarms failed", error=str(error), retry_s=wait_s)
            await self._wait(seen, wait_s)

    async def _wait(self, seen: int, wait_s: float) -> None:
        """Until `wait_s` passed or something is wanted of an alarm."""
        world = self._world
        end_s = world.clock.monotonic_s() + wait_s
        while (left_s := end_s - world.clock.monotonic_s()) > 0:
            version = await world.store.signal.wait_past_or(seen, world.clock, left_s)
            if version > seen:
                seen = version
                if await world.store.read(wished):
                    return

    async def step(self) -> float:
        """Evaluate all that fell due; seconds until the next look."""
        world, options = self._world, self._options
        await self._prune()
        now_us = world.clock.now_us()
        alarms = await world.store.read(alarms_of)
        due = due_ticks(alarms, now_us, options)
        for end_s in sorted(due):
            for start in range(0, len(due[end_s]), options.batch_max):
                if not await self._evaluate(end_s, due[end_s][start : start + options.batch_max]):
                    return options.retry_s
        end_us = await world.store.read(suppression_end_us)
        if (end_us is not None and end_us <= now_us) or await world.store.read(wished):
            await self._settle({}, {}, now_us)
        return await self._next_s(alarms)

    async def _next_s(self, alarms: Sequence[Alarm]) -> float:
        end_us = await self._world.store.read(suppression_end_us)
        now_us = self._world.clock.now_us()
        waits = [self._options.look_s]
        lag_us = self._options.lag_s * MICROS
        for every_s in {alarm.spec.every_s for alarm in alarms if isinstance(alarm.spec, MetricAlarm)}:
            every_us = every_s * MICROS
            waits.append((every_us - (now_us - lag_us) % every_us) / MICROS)
        if end_us is not None:
            waits.append(max(0.0, (end_us - now_us) / MICROS))
        return min(waits)

    async def _evaluate(self, end_s: int, due: Sequence[Alarm]) -> bool:
        """Evaluate these at one tick; False where the metrics cannot be read."""
        world = self._world
        now_us = world.clock.now_us()

        def read(db: sqlite3.Connection) -> dict[str, Outcome]:
            return {alarm.uid: outcome_of(db, alarm, end_s, now_us) for alarm in due}

        try:
            outcomes = await world.threads.run(lambda: world.metrics.read(read))
            self._failing = False
        except sqlite3.Error as error:
            if self._failing:
                return False
            self._failing = True
            _log.error("metrics could not be read for alarms", error=str(error))
            failed = Outcome(None, evaluation=EvaluationState.EVALUATION_FAILURE)
            outcomes = {alarm.uid: failed for alarm in due}
        at_us = min(now_us, (end_s + self._options.lag_s) * MICROS) if self._lags(end_s, due, now_us) else now_us
        wishes = {alarm.uid: alarm.wish for alarm in due}
        await self._settle(outcomes, wishes, at_us)
        return not self._failing

    def _lags(self, end_s: int, due: Sequence[Alarm], now_us: int) -> bool:
        """Whether a later tick of these alarms is due too."""
        last_s = now_us // MICROS - self._options.lag_s
        return any(isinstance(a.spec, MetricAlarm) and end_s + a.spec.every_s <= last_s for a in due)

    async def _settle(self, outcomes: Mapping[str, Outcome], wishes: Mapping[str, int], at_us: int) -> None:
        changes = await self._world.store.write(lambda c: self._write(c, outcomes, wishes, at_us))
        for change in changes:
            for summary, _ in change.history:
                _log.info("an alarm changed its state", alarm=change.alarm.name, summary=summary)

    def _write(
        self, connection: Connection, outcomes: Mapping[str, Outcome], wishes: Mapping[str, int], at_us: int
    ) -> Sequence[Change]:
        """One transaction: states, history and events together, over the alarms as they are now."""
        now_us = self._world.clock.now_us()
        alarms = alarms_of(connection)
        # One that was defined anew since it was read is looked at again.
        valid = {a.uid: outcomes[a.uid] for a in alarms if a.uid in outcomes and wishes[a.uid] == a.wish}
        changes = alarm_plan.plan(alarms, valid, at_us, now_us)
        note(connection, {change.alarm.uid: change.columns for change in changes})
        items = [_item(change.alarm, summary, data, now_us) for change in changes for summary, data in change.history]
        alarm_history.append(connection, *items)
        events = [
            outbox.Event(self._world.ids.ulid(now_us), now_us, change.alarm.scope, SOURCE, target, body)
            for change in changes
            for target, body in change.events
        ]
        outbox.append(connection, *events)
        return changes

    async def _prune(self) -> None:
        now_s = self._world.clock.monotonic_s()
        if self._pruned_s is not None and now_s - self._pruned_s < self._options.prune_s:
            return
        self._pruned_s = now_s
        now_us = self._world.clock.now_us()

        def work(connection: Connection) -> None:
            alarm_history.prune(connection, now_us)
            outbox.prune(connection, now_us)

        await self._world.store.write(work)


def due_ticks(alarms: Collection[Alarm], now_us: int, options: AlarmOptions) -> dict[int, list[Alarm]]:
    """Metric alarms to evaluate, by the end of their windows in UTC seconds. Pure."""
    due: dict[int, list[Alarm]] = {}
    lag_us = options.lag_s * MICROS
    for alarm in alarms:
        if not isinstance(alarm.spec, MetricAlarm):
            continue
        last_us = alarm.state.evaluated_us
        # A new definition is looked at right away; a state that was set stays until the next tick.
        anew = alarm.seen < alarm.wish and alarm.set is None
        if last_us is None or anew or last_us > now_us + options.step_back_s * MICROS:
            ends = ticks(alarm.spec, None, (now_us - lag_us) // MICROS, 1)
        else:
            ends = ticks(alarm.spec, last_us - lag_us, (now_us - lag_us) // MICROS, options.ticks_max)
        for end_s in ends:
            due.setdefault(end_s, []).append(alarm)
    return due


def _item(alarm: Alarm, summary: str, data: Mapping[str, Any], now_us: int) -> Item:
    kind = COMPOSITE if isinstance(alarm.spec, CompositeAlarm) else METRIC
    return Item(alarm.scope, alarm.name, kind, now_us, "StateUpdate", summary, encode_data(data))
