"""The loop of autoscaling: reads every target, plans, and writes what the plan says in one transaction a target.

The plan is made again from the rows of the transaction that writes it: an update that began meanwhile is seen, and a
kill at any moment leaves either all of a decision or nothing of it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from clary.domain.alarms import Alarm, MetricAlarm
from clary.domain.errors import DomainError
from clary.kit.clock import MICROS, Clock
from clary.kit.ids import Ids
from clary.kit.threads import Threads
from clary.reconcile.alarm_data import datapoints
from clary.reconcile.scaling import plan
from clary.reconcile.scaling_facts import Action, Reading, SetScale, WakeAt
from clary.reconcile.scaling_rows import Facts, apply, facts_of, want_of
from clary.store.base import Store
from clary.store.scaling import target_by_uid, targets_of
from clary.telemetry.store import MetricStore

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ScalingOptions:
    """How the loop runs."""

    look_s: float = 10.0
    """Longest wait between two looks while there is a target: the shortest period that scaling goes by."""
    pause_s: float = 0.25
    """Shortest wait between two looks: every commit wakes the loop."""
    lag_s: int = 2
    """Seconds after the end of a period until its value is read, as alarms do."""
    stale_periods: int = 3
    """A value older than this many periods is none."""
    retry_s: float = 5.0
    """Wait after an unexpected error."""


@dataclass(frozen=True)
class ScalingWorld:
    """Everything that the loop touches."""

    store: Store
    metrics: MetricStore
    threads: Threads
    clock: Clock
    ids: Ids


class ScalingLoop:
    """Runs as one task: `await ScalingLoop(world).run()`; it never returns."""

    def __init__(self, world: ScalingWorld, options: ScalingOptions = ScalingOptions()) -> None:
        self._world = world
        self._options = options

    async def run(self) -> None:
        """Go on forever; what is to be done follows from the rows and the metrics alone."""
        world, options = self._world, self._options
        while True:
            seen = world.store.signal.version
            try:
                wait_s = await self.step()
            except Exception as error:
                wait_s = options.retry_s
                _log.exception("scaling failed", error=str(error), retry_s=wait_s)
            await world.clock.sleep(options.pause_s)
            if wait_s is None:
                await world.store.signal.wait_past(seen)
            else:
                await world.store.signal.wait_past_or(seen, world.clock, wait_s - options.pause_s)

    async def step(self) -> float | None:
        """Look at every target once; seconds until the next look, None: at the next commit."""
        world = self._world
        found = await world.store.read(_all_facts)
        if not found:
            return None
        readings = await self._read([alarm for facts in found for alarm in facts.watched])
        wait_s = self._options.look_s
        for facts in found:
            actions = self._plan(facts, readings)
            if not _only_wakes(actions):
                actions = await world.store.write(self._writer(facts.target.uid, readings))
            now_us = world.clock.now_us()
            wakes = [(action.at_us - now_us) / MICROS for action in actions if isinstance(action, WakeAt)]
            wait_s = max(0.0, min([wait_s, *wakes]))
        return wait_s

    def _plan(self, facts: Facts, readings: Mapping[str, Reading]) -> list[Action]:
        return plan(want_of(facts, readings), facts.have, facts.target.memory, self._world.clock.now_us())

    def _writer(self, uid: str, readings: Mapping[str, Reading]) -> Callable[[Connection], list[Action]]:
        def write(connection: Connection) -> list[Action]:
            target = target_by_uid(connection, uid)
            facts = None if target is None else facts_of(connection, target)
            if facts is None:
                return []
            actions = self._plan(facts, readings)
            apply(connection, facts, actions, self._world.ids, self._world.clock.now_us())
            for action in actions:
                if isinstance(action, SetScale):
                    _log.info(
                        "a variant is scaled",
                        resource=facts.target.resource_id,
                        have=facts.have.count,
                        want=action.count,
                        cause=action.text.cause,
                    )
            return actions

        return write

    async def _read(self, alarms: Collection[Alarm]) -> dict[str, Reading]:
        """The newest value of what each alarm watches, by its uid; an alarm without one is absent."""
        if not alarms:
            return {}
        now_us = self._world.clock.now_us()

        def read(db: sqlite3.Connection) -> dict[str, Reading]:
            different = {alarm.uid: alarm for alarm in alarms}.values()
            return {alarm.uid: value for alarm in different if (value := self._newest(db, alarm, now_us)) is not None}

        try:
            return await self._world.threads.run(lambda: self._world.metrics.read(read))
        except sqlite3.Error as error:
            _log.error("metrics could not be read for scaling", error=str(error))
            return {}

    def _newest(self, db: sqlite3.Connection, alarm: Alarm, now_us: int) -> Reading | None:
        spec, options = alarm.spec, self._options
        assert isinstance(spec, MetricAlarm), "composite alarms have no scaling actions"
        grid_s = min(spec.every_s, spec.period_s)
        end_s = (now_us // MICROS - options.lag_s) // grid_s * grid_s
        try:
            points = datapoints(db, alarm.scope, spec, end_s)
        except DomainError:
            return None  # the alarm itself says what is wrong with it
        for point in points[: options.stale_periods]:
            if point is not None:
                return Reading(point.value, point.at_s * MICROS)
        return None


def _all_facts(connection: Connection) -> list[Facts]:
    found = (facts_of(connection, target) for target in targets_of(connection))
    return [facts for facts in found if facts is not None]


def _only_wakes(actions: Collection[Action]) -> bool:
    return all(isinstance(action, WakeAt) for action in actions)
