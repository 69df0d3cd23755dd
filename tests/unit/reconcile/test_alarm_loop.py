"""The loop of alarms over a real store and real metrics, under a clock that the test moves."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from clary.domain.alarms import (
    Actions,
    AlarmSpec,
    AlarmState,
    AlarmValue,
    Comparison,
    CompositeAlarm,
    EvaluationState,
    MetricAlarm,
    MetricQuery,
    MetricStat,
    Missing,
    SetState,
)
from clary.domain.principal import Scope
from clary.kit.clock import MICROS, VirtualClock
from clary.kit.ids import SystemIds
from clary.kit.threads import Threads
from clary.reconcile.alarm_loop import AlarmLoop, AlarmOptions, AlarmWorld
from clary.store import alarm_history
from clary.store.alarm_history import HistoryQuery
from clary.store.alarms import alarm_states, put, set_state
from clary.store.sqlite import SqliteStore
from clary.store.tables import events_out
from clary.telemetry.points import Cell, Sample, SeriesKey
from clary.telemetry.store import MetricStore

SCOPE = Scope("123456789012", "us-east-1")
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:f"
START_S = 1_700_000_040  # a whole minute
OK, ALARM, NO_DATA = AlarmValue.OK, AlarmValue.ALARM, AlarmValue.INSUFFICIENT_DATA
DIMENSIONS = (("EndpointName", "e"), ("VariantName", "v"))


def a_metric(period_s: int = 60, metric: str = "Invocations", stat: str = "Sum") -> MetricStat:
    return MetricStat("AWS/SageMaker", metric, DIMENSIONS, period_s, stat)


def above(threshold: float, periods: int = 1, period_s: int = 60, missing: Missing | None = None) -> MetricAlarm:
    query = MetricQuery("m1", a_metric(period_s))
    actions = Actions(alarm=(FUNCTION,), ok=(FUNCTION,))
    return MetricAlarm((query,), periods, threshold, Comparison.GREATER, missing=missing, actions=actions)


class SteppedClock(VirtualClock):
    """Its wall can be set; its monotonic side goes on."""

    def __init__(self) -> None:
        super().__init__(START_S * MICROS)
        self.step_s = 0

    def now_us(self) -> int:
        return super().now_us() + self.step_s * MICROS


@dataclass
class Yard:
    """One control: its stores outlive its loops."""

    store: SqliteStore
    metrics: MetricStore
    threads: Threads
    clock: SteppedClock
    loop: AlarmLoop

    @property
    def now_s(self) -> int:
        return self.clock.now_us() // MICROS

    def restart(self, options: AlarmOptions | None = None) -> None:
        """As after a kill: nothing of the loop's own is left."""
        world = AlarmWorld(self.store, self.metrics, self.threads, self.clock, SystemIds())
        self.loop = AlarmLoop(world, options or AlarmOptions())

    def emit(self, at_s: int, value: float, metric: str = "Invocations") -> None:
        key = SeriesKey(SCOPE.account, SCOPE.region, "AWS/SageMaker", metric, DIMENSIONS, "None")
        self.metrics.put([Sample(key, at_s, Cell(1.0, value, value, value))], self.clock.now_us())

    async def put(self, name: str, spec: AlarmSpec) -> None:
        now_us = self.clock.now_us()
        uid = SystemIds().ulid(now_us)
        await self.store.write(lambda connection: put(connection, SCOPE, name, spec, uid, now_us))

    async def state(self, name: str) -> AlarmState:
        return (await self.store.read(lambda connection: alarm_states(connection, SCOPE, [name])))[name]

    async def told(self) -> list[str]:
        """States that the command was told of, in order."""

        def work(connection: Connection) -> list[str]:
            query = select(events_out.c.body).where(events_out.c.target_arn == FUNCTION).order_by(events_out.c.seq)
            return [row.body.split('"value":"')[1].split('"')[0] for row in connection.execute(query)]

        return await self.store.read(work)

    async def history(self, name: str) -> list[str]:
        query = HistoryQuery(name=name, kinds=("metric", "composite"), newest_first=False, limit=1000)
        items = await self.store.read(lambda connection: alarm_history.page(connection, SCOPE, query))
        written = sorted(items, key=lambda item: item.seq)  # a clock set back gives a later item an earlier time
        return [item.summary.removeprefix("Alarm updated from ") for item in written]

    async def go(self, seconds: float, each: Callable[[int], None] = lambda _: None) -> None:
        """Let time pass, with a look whenever the loop asks for one; `each` is told every new minute."""
        end_s = self.clock.monotonic_s() + seconds
        minute = None
        while True:
            if minute != self.now_s // 60:
                minute = self.now_s // 60
                each(minute * 60)
            wait_s = min(await self.loop.step(), end_s - self.clock.monotonic_s())
            if wait_s <= 0:
                return
            await self.clock.advance(wait_s)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of this schema with nothing in it: a copy is made sooner than the schema."""
    path = tmp_path_factory.mktemp("empty") / "clary.db"
    SqliteStore(path).close()
    return path


@pytest.fixture
def yard(tmp_path: Path, empty: Path) -> Iterator[Yard]:
    with a_yard(tmp_path, empty) as yard:
        yield yard


@contextlib.contextmanager
def a_yard(folder: Path, empty: Path) -> Iterator[Yard]:
    shutil.copy(empty, folder / "clary.db")
    store, metrics = SqliteStore(folder / "clary.db"), MetricStore(folder / "telemetry.db")
    threads = Threads("alarms", 1)
    loop: Any = None
    yard = Yard(store, metrics, threads, SteppedClock(), loop)
    yard.restart()
    try:
        yield yard
    finally:
        store.close()
        metrics.close()
        threads.close()


async def test_an_hour_passes_within_a_second(yard: Yard) -> None:
    """Ten minutes of trouble in an hour: one alarm and its end, told once each."""
    await yard.put("busy", above(100.0, periods=3))
    assert (await yard.state("busy")).value is NO_DATA

    def traffic(at_s: int) -> None:
        minute = (at_s - START_S) // 60
        yard.emit(at_s, 500.0 if 20 <= minute < 30 else 10.0)

    await yard.go(3600, traffic)
    assert await yard.told() == ["OK", "ALARM", "OK"]
    assert await yard.history("busy") == ["INSUFFICIENT_DATA to OK", "OK to ALARM", "ALARM to OK"]
    state = await yard.state("busy")
    assert (state.value, state.evaluated_us) == (OK, (START_S + 3600) * MICROS - 58 * MICROS)
    # Three bad minutes are over 23 minutes in; the look is two seconds later.
    found = [
        item.at_us
        for item in await yard.store.read(lambda c: alarm_history.page(c, SCOPE, HistoryQuery(limit=9)))
        if "to ALARM" in item.summary
    ]
    assert found == [(START_S + 23 * 60 + 2) * MICROS]


async def test_a_period_of_ten_seconds_is_looked_at_every_ten(yard: Yard) -> None:
    await yard.put("quick", above(5.0, period_s=10))
    await yard.loop.step()
    yard.emit(START_S + 20, 9.0)
    await yard.go(31.5)
    assert (await yard.state("quick")).value is NO_DATA
    await yard.go(0.5)
    assert (await yard.state("quick")).value is ALARM


async def test_a_new_alarm_is_looked_at_at_once_and_a_new_definition_keeps_its_state(yard: Yard) -> None:
    yard.emit(START_S - 60, 50.0)
    yard.clock.step_s = 5
    await yard.put("a", above(10.0))
    await yard.loop.step()
    state = await yard.state("a")
    assert state.value is ALARM
    await yard.put("a", replace(above(10.0), description="told anew"))
    assert (await yard.state("a")) == state
    await yard.loop.step()
    assert (await yard.state("a")).transitioned_us == state.transitioned_us
    await yard.put("a", above(100.0))
    await yard.loop.step()
    assert (await yard.state("a")).value is OK
    assert await yard.told() == ["ALARM", "OK"]


async def test_a_set_state_lasts_until_the_next_look(yard: Yard) -> None:
    await yard.put("a", above(10.0, missing=Missing.NOT_BREACHING))
    await yard.go(63)
    uid = (await yard.state("a")).uid
    await yard.store.write(lambda connection: set_state(connection, uid, SetState(ALARM, "a drill")))
    await yard.loop.step()
    assert ((await yard.state("a")).value, (await yard.state("a")).reason) == (ALARM, "a drill")
    await yard.go(30)
    assert (await yard.state("a")).value is ALARM
    await yard.go(30)
    assert (await yard.state("a")).value is OK
    assert await yard.told() == ["OK", "ALARM", "OK"]


async def test_what_happened_while_nobody_looked_is_made_up_for_and_nothing_is_told_twice(yard: Yard) -> None:
    """Control is away for eleven minutes with trouble in the middle of them."""
    await yard.put("a", above(100.0, periods=2))
    await yard.go(300, lambda at_s: yard.emit(at_s, 1.0))
    for minute in range(5, 16):
        yard.emit(START_S + minute * 60, 500.0 if 7 <= minute < 10 else 1.0)
    await yard.clock.advance(11 * 60)
    yard.restart()
    await yard.loop.step()
    assert await yard.history("a") == ["INSUFFICIENT_DATA to OK", "OK to ALARM", "ALARM to OK"]
    yard.restart()
    await yard.loop.step()
    assert await yard.told() == ["OK", "ALARM", "OK"]


@pytest.mark.parametrize("kept", range(5))
async def test_a_kill_between_any_two_looks_loses_and_repeats_nothing(yard: Yard, kept: int) -> None:
    """The loop dies in the middle of making up: after `kept` of the looks that are due."""
    await yard.put("a", above(100.0))
    await yard.loop.step()
    for minute in range(6):
        yard.emit(START_S + minute * 60, 500.0 if minute % 2 else 1.0)
    await yard.clock.advance(6 * 60 + 3)
    write, left = yard.store.write, kept

    async def dying(work: Callable[[Connection], Any]) -> Any:
        nonlocal left
        if left == 0:
            raise ConnectionError("killed")
        left -= 1
        return await write(work)

    yard.restart(AlarmOptions(prune_s=1e9))
    yard.store.write = dying  # type: ignore[method-assign]
    with pytest.raises(ConnectionError, match="killed"):
        await yard.loop.step()
    yard.store.write = write  # type: ignore[method-assign]
    yard.restart()
    await yard.loop.step()
    assert (await yard.told())[:6] == ["OK", "ALARM", "OK", "ALARM", "OK", "ALARM"]


async def test_a_clock_set_back_a_little_tells_nothing_twice_and_skips_nothing(yard: Yard) -> None:
    await yard.put("a", above(100.0))
    await yard.go(182, lambda at_s: yard.emit(at_s, 500.0 if at_s == START_S + 60 else 1.0))
    assert await yard.told() == ["OK", "ALARM", "OK"]
    yard.clock.step_s = -120
    await yard.go(119)
    assert await yard.told() == ["OK", "ALARM", "OK"]
    await yard.go(120, lambda at_s: yard.emit(at_s, 500.0 if at_s == START_S + 180 else 0.0))
    assert await yard.told() == ["OK", "ALARM", "OK", "ALARM"]


async def test_after_a_large_step_back_evaluation_begins_anew(yard: Yard) -> None:
    await yard.put("a", above(100.0))
    await yard.go(62, lambda at_s: yard.emit(at_s, 1.0))
    yard.clock.step_s = -7200
    await yard.go(62, lambda at_s: yard.emit(at_s, 500.0))
    state = await yard.state("a")
    assert state.value is ALARM
    assert state.evaluated_us is not None
    assert state.evaluated_us <= yard.clock.now_us()


async def test_metrics_that_cannot_be_read_leave_the_state_and_are_made_up_for(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    await yard.put("a", above(100.0))
    await yard.go(122, lambda at_s: yard.emit(at_s, 1.0))
    evaluated_us = (await yard.state("a")).evaluated_us

    def broken(work: object) -> object:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(yard.metrics, "read", broken)
        await yard.clock.advance(60)
        yard.emit(START_S + 120, 500.0)
        assert await yard.loop.step() == AlarmOptions().retry_s
        assert await yard.loop.step() == AlarmOptions().retry_s
        state = await yard.state("a")
        assert (state.value, state.evaluation) == (OK, EvaluationState.EVALUATION_FAILURE)
        assert state.evaluated_us == evaluated_us
        await yard.clock.advance(60)
        yard.emit(START_S + 180, 1.0)
    await yard.loop.step()
    assert await yard.told() == ["OK", "ALARM", "OK"]
    assert (await yard.state("a")).evaluation is None


async def test_math_over_several_metrics(yard: Yard) -> None:
    queries = (
        MetricQuery("requests", a_metric(), returned=False),
        MetricQuery("failed", a_metric(metric="Invocation5XXErrors"), returned=False),
        MetricQuery("rate", expression="100 * failed / requests", label="Error rate"),
    )
    spec = MetricAlarm(queries, 1, 5.0, Comparison.GREATER, datapoints_to_alarm=1, simple=False)
    yard.emit(START_S - 60, 200.0)
    yard.emit(START_S - 60, 30.0, "Invocation5XXErrors")
    await yard.put("rate", spec)
    yard.clock.step_s = 5
    await yard.loop.step()
    state = await yard.state("rate")
    assert state.value is ALARM
    assert "1 out of the last 1 datapoints [15.0 (" in state.reason
    assert '"statistic"' not in state.reason_data


async def test_math_that_fails_only_when_it_is_evaluated_is_an_evaluation_error(yard: Yard) -> None:
    queries = (
        MetricQuery("a", a_metric(), returned=False),
        MetricQuery("all", expression="METRICS()", returned=True),
        MetricQuery("b", a_metric(metric="M"), returned=False),
    )
    yard.clock.step_s = 5
    await yard.put("odd", MetricAlarm(queries, 1, 5.0, Comparison.GREATER, simple=False))
    await yard.loop.step()
    state = await yard.state("odd")
    assert (state.value, state.evaluation) == (NO_DATA, EvaluationState.EVALUATION_ERROR)
    assert "an alarm watches one" in state.reason
    assert state.evaluated_us is None


async def test_composites_follow_in_the_same_transaction(yard: Yard) -> None:
    await yard.put("a", above(100.0))
    await yard.put("c", CompositeAlarm("ALARM(a)", actions=Actions(alarm=(FUNCTION,))))
    await yard.go(182, lambda at_s: yard.emit(at_s, 500.0 if at_s == START_S + 120 else 1.0))
    child, parent = await yard.state("a"), await yard.state("c")
    assert child.value is parent.value is ALARM
    assert child.transitioned_us == parent.transitioned_us
    assert child.evaluated_us == parent.evaluated_us


async def test_actions_that_wait_for_a_suppressor_are_performed_when_it_stays_silent(yard: Yard) -> None:
    await yard.put("a", above(100.0))
    await yard.put("s", above(1e9))
    actions = Actions(alarm=(FUNCTION,))
    await yard.put("c", CompositeAlarm("ALARM(a)", actions=actions, suppressor="s", wait_s=90, extension_s=30))
    await yard.go(63, lambda at_s: yard.emit(at_s, 1.0))
    begun = len(await yard.told())
    await yard.go(60, lambda at_s: yard.emit(at_s, 500.0) if at_s > START_S + 60 else None)
    yard.emit(START_S + 60, 500.0)
    await yard.go(60)
    assert (await yard.state("c")).value is ALARM
    # Only the alarm below has told so far.
    assert len(await yard.told()) == begun + 1
    await yard.go(120, lambda at_s: yard.emit(at_s, 500.0))
    assert (await yard.told())[begun:] == ["ALARM", "ALARM"]


async def test_a_hundred_alarms_are_one_look(yard: Yard) -> None:
    for number in range(100):
        await yard.put(f"a{number}", above(float(number)))
    yard.emit(START_S - 60, 50.0)
    yard.clock.step_s = 5
    await yard.loop.step()
    states = await yard.store.read(lambda c: alarm_states(c, SCOPE, [f"a{number}" for number in range(100)]))
    assert sum(state.value is ALARM for state in states.values()) == 50
    assert len({state.evaluated_us for state in states.values()}) == 1


happenings = st.one_of(
    st.tuples(st.just("minute"), st.sampled_from([1.0, 500.0, None])),
    st.tuples(st.just("away"), st.integers(1, 6)),
    st.tuples(st.just("kill"), st.integers(0, 3)),
    st.tuples(st.just("back"), st.integers(1, 240)),
    st.tuples(st.just("set"), st.sampled_from([OK, ALARM, NO_DATA])),
)


@settings(max_examples=12, deadline=None)
@given(st.lists(happenings, max_size=14), st.sampled_from([None, *Missing]))
def test_whatever_happens_every_change_is_told_once(
    empty: Path, happened: list[tuple[str, Any]], missing: Missing | None
) -> None:
    """Data, outages, kills in the middle of writing, clocks set back, drills: what is told is the states, in order."""
    with tempfile.TemporaryDirectory() as folder, a_yard(Path(folder), empty) as yard:
        asyncio.run(_live(yard, happened, missing))


async def _live(yard: Yard, happened: list[tuple[str, Any]], missing: Missing | None) -> None:
    actions = Actions(ok=(FUNCTION,), alarm=(FUNCTION,), insufficient=(FUNCTION,))
    await yard.put("a", replace(above(100.0, periods=2, missing=missing), actions=actions))
    for what, how in happened:
        match what:
            case "minute":
                if how is not None:
                    yard.emit(yard.now_s // 60 * 60, how)
                await yard.go(60)
            case "away":
                await yard.clock.advance(60 * how)
                yard.restart()
                await yard.loop.step()
            case "kill":
                await yard.clock.advance(65)
                await _killed(yard, how)
            case "back":
                yard.clock.step_s -= how
                await yard.go(20)
            case _:
                uid = (await yard.state("a")).uid
                await yard.store.write(partial(set_state, uid=uid, state=SetState(how, "a drill")))
                await yard.loop.step()
        told = ["INSUFFICIENT_DATA", *await yard.told()]
        assert all(one != two for one, two in itertools.pairwise(told)), told
        assert told[-1] == (await yard.state("a")).value.value
        assert [f"{one} to {two}" for one, two in itertools.pairwise(told)] == await yard.history("a")


async def _killed(yard: Yard, writes: int) -> None:
    """The loop dies in its next write but `writes`, before or after the commit is nobody's to tell."""
    write, left = yard.store.write, writes

    async def dying(work: Callable[[Connection], Any]) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise ConnectionError("killed")
        return await write(work)

    yard.store.write = dying  # type: ignore[method-assign]
    with contextlib.suppress(ConnectionError):
        await yard.loop.step()
    yard.store.write = write  # type: ignore[method-assign]
    yard.restart()
    await yard.loop.step()
