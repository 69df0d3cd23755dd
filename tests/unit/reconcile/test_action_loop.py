"""Delivery of events by the clock: in order, again after failures, after a kill; to rules, topics and schedules."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select

from clary.control import actions as action_cases
from clary.control import rules as rule_cases
from clary.control import topics as topic_cases
from clary.control.desk import Caller, Desk
from clary.control.topics import SnsDesk, Subscribing
from clary.domain.actions import ActionSpec
from clary.domain.event_inputs import TargetSpec
from clary.domain.principal import Principal, Scope
from clary.domain.rules import RuleSpec
from clary.domain.topics import Message, SubscriptionSpec
from clary.kit.clock import MICROS, VirtualClock
from clary.kit.ids import SystemIds
from clary.reconcile.action_calls import Result
from clary.reconcile.action_loop import ActionLoop, ActionOptions, ActionWorld
from clary.reconcile.event_routes import Router
from clary.store import alarm_history, outbox
from clary.store.alarm_history import HistoryQuery
from clary.store.deliveries import Waiting
from clary.store.outbox import bus_arn
from clary.store.sns_key import Signer
from clary.store.sqlite import SqliteStore
from clary.store.tables import action_runs, events_out

SCOPE = Scope("123456789012", "us-east-1")
CALLER = Caller(Principal(SCOPE.account, "arn:aws:iam::123456789012:root", "k"), SCOPE, "r")
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:"
TOPIC = "arn:aws:sns:us-east-1:123456789012:"
BAD = Result("It exited with status 1.", "oh")


class TickingClock(VirtualClock):
    """No two looks at it are alike."""

    ticks = 0

    def now_us(self) -> int:
        self.ticks += 1
        return super().now_us() + self.ticks


async def until(holds: Callable[[], Any]) -> None:
    """Wait for the store's threads."""
    while not holds():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.001)


@dataclass
class Told:
    """Implements Calls: remembers, and answers what it is told to; `hold` keeps calls from ending."""

    clock: VirtualClock
    answers: dict[str, list[Result]] = field(default_factory=dict)
    calls: list[tuple[float, str, Any, int]] = field(default_factory=list)
    hold: asyncio.Event | None = None
    at_once: int = 0
    most_at_once: int = 0

    async def action(self, event: Waiting, name: str, spec: ActionSpec, attempt: int) -> Result:
        return await self._call(event, name, attempt)

    async def subscriber(self, event: Waiting, url: str, spec: SubscriptionSpec) -> Result:
        return await self._call(event, url, event.attempts + 1)

    async def _call(self, event: Waiting, name: str, attempt: int) -> Result:
        self.calls.append((round(self.clock.monotonic_s(), 3), name, event.body, attempt))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.hold is not None:
                await self.hold.wait()
        finally:
            self.at_once -= 1
        waiting = self.answers.get(name, [])
        return waiting.pop(0) if waiting else Result("", "fine")

    def names(self) -> list[str]:
        return [name for _, name, _, _ in self.calls]


@dataclass
class Yard:
    """One control: its store outlives its loops."""

    store: SqliteStore
    clock: VirtualClock
    told: Told
    signer: Signer
    loop: ActionLoop

    @property
    def desk(self) -> Desk:
        return Desk(self.store, self.clock, SystemIds())

    @property
    def sns(self) -> SnsDesk:
        return SnsDesk(self.desk, self.signer)

    def restart(self, options: ActionOptions | None = None) -> None:
        world = ActionWorld(self.store, self.clock, SystemIds(), Router(SystemIds(), self.signer), self.told)
        self.loop = ActionLoop(world, options or ActionOptions())

    async def send(self, target: str, *bodies: Any, source: str = "test") -> None:
        now_us = self.clock.now_us()
        events = [outbox.Event(SystemIds().ulid(now_us), now_us, SCOPE, source, target, body) for body in bodies]
        await self.store.write(lambda connection: outbox.append(connection, *events))

    async def settle(self) -> float:
        """Look until nothing is left to do now; seconds until there is."""
        while True:
            seen = self.store.signal.version
            wait_s = await self.loop.step()
            if self.loop._calling:
                await asyncio.wait(list(self.loop._calling.values()))
                await asyncio.sleep(0)
            elif self.store.signal.version == seen:
                return wait_s

    async def go(self, seconds: float) -> None:
        """Let time pass, looking whenever the loop wants to."""
        end_s = self.clock.monotonic_s() + seconds
        while (left_s := end_s - self.clock.monotonic_s()) > 0:
            await self.clock.advance(min(left_s, max(await self.settle(), 0.001)))
        await self.settle()

    async def outcomes(self) -> list[str | None]:
        query = select(events_out.c.outcome).order_by(events_out.c.seq)
        return list(await self.store.read(lambda connection: connection.execute(query).scalars().all()))


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    store, clock = SqliteStore(tmp_path / "clary.db"), TickingClock(1_700_000_040 * MICROS)
    made = Yard(store, clock, Told(clock), Signer(tmp_path / "sns.pem", "http://127.0.0.1:1", clock), None)  # type: ignore[arg-type]
    made.restart()
    for name in ("f", "g"):
        await action_cases.add(made.desk, CALLER, name, ActionSpec(command=("true",)))
    yield made
    store.close()


async def test_each_target_gets_its_events_in_order_one_at_a_time(yard: Yard) -> None:
    await yard.send(f"{FUNCTION}f", 1, 2)
    await yard.send(f"{FUNCTION}g", 3)
    await yard.send(f"{FUNCTION}f", 4)
    yard.told.hold = asyncio.Event()
    await yard.loop.step()
    await asyncio.sleep(0)
    await until(lambda: len(yard.told.calls) == 2)
    await yard.loop.step()
    assert [(name, body) for _, name, body, _ in yard.told.calls] == [("f", 1), ("g", 3)]
    yard.told.hold.set()
    await yard.settle()
    assert [body for _, name, body, _ in yard.told.calls if name == "f"] == [1, 2, 4]
    assert await yard.outcomes() == ["delivered"] * 4


async def test_calls_at_once_are_bounded(yard: Yard) -> None:
    for number in range(9):
        await action_cases.add(yard.desk, CALLER, f"a{number}", ActionSpec(command=("true",)))
        await yard.send(f"{FUNCTION}a{number}", number)
    yard.restart(ActionOptions(calls_max=3))
    await yard.settle()
    assert len(yard.told.calls) == 9
    assert yard.told.most_at_once <= 3


async def test_what_fails_is_tried_again_with_growing_waits_and_holds_up_its_target(yard: Yard) -> None:
    yard.told.answers["f"] = [BAD, BAD, Result("", "at last"), BAD, BAD, BAD]
    await yard.send(f"{FUNCTION}f", 1, 2, 3)
    await yard.go(60)
    assert [(at_s, body, attempt) for at_s, _, body, attempt in yard.told.calls] == [
        (0, 1, 1), (5, 1, 2), (25, 1, 3), (25, 2, 1), (30, 2, 2), (50, 2, 3), (50, 3, 1),
    ]  # fmt: skip
    assert await yard.outcomes() == ["delivered", "It exited with status 1.", "delivered"]
    runs = await action_cases.runs(yard.desk, CALLER, "f")
    assert [run.outcome for run in reversed(runs)] == ["failed", "failed", "succeeded", *["failed"] * 3, "succeeded"]
    assert (runs[-1].reason, runs[-1].output, runs[-1].attempt) == ("It exited with status 1.", "oh", 1)


async def test_what_cannot_be_helped_is_not_tried_again(yard: Yard) -> None:
    yard.told.answers["f"] = [Result("It answered 404.", "", final=True)]
    await yard.send(f"{FUNCTION}f", 1)
    await yard.send(f"{FUNCTION}f", 2, source="clary.test")
    yard.told.answers["f"].append(BAD)
    await yard.send(f"{FUNCTION}nobody", 3)
    await yard.send("arn:aws:sns:us-east-1:123456789012:nobody", 4)
    await yard.send("arn:aws:lambda:us-east-1:999999999999:function:f", 5)
    await yard.go(100)
    assert yard.told.names() == ["f", "f"]
    given_up = "It was given up: there is nothing of that name, or the event is too old."
    no_topic = "There is no topic and no action arn:aws:sns:us-east-1:123456789012:nobody."
    assert await yard.outcomes() == ["It answered 404.", BAD.why, given_up, no_topic, given_up]


async def test_events_that_are_too_old_are_given_up(yard: Yard) -> None:
    await yard.send(f"{FUNCTION}f", 1)
    await yard.send(bus_arn(SCOPE), {})
    await yard.clock.advance(7 * 3600)
    await yard.settle()
    assert yard.told.calls == []
    assert all("too old" in str(outcome) for outcome in await yard.outcomes())


async def test_a_call_that_a_kill_cut_off_is_made_again(yard: Yard) -> None:
    yard.told.hold = asyncio.Event()
    await yard.send(f"{FUNCTION}f", 1)
    running = asyncio.ensure_future(yard.loop.run())
    await until(lambda: yard.told.calls)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    yard.told.hold = None
    yard.restart()
    again = asyncio.ensure_future(yard.loop.run())
    await until(lambda: len(yard.told.calls) == 2)
    seen = yard.store.signal.version
    while (await yard.outcomes()) != ["delivered"]:
        seen = await yard.store.signal.wait_past(seen)
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)
    assert [attempt for _, _, _, attempt in yard.told.calls] == [1, 2]
    assert [run.outcome for run in await action_cases.runs(yard.desk, CALLER, "f")] == ["succeeded", "lost"]


async def test_a_start_that_cannot_write_is_tried_again(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    write, refused = yard.store.write, [0]

    async def full(work: Callable[[Connection], Any]) -> Any:
        if not refused[0]:
            refused[0] += 1
            raise OSError("No space left on device")
        return await write(work)

    await yard.send(f"{FUNCTION}f", 1)
    monkeypatch.setattr(yard.store, "write", full)
    running = asyncio.ensure_future(yard.loop.run())
    await until(lambda: refused[0])
    while not yard.told.calls and not running.done():
        await yard.clock.advance(1.0)
        await asyncio.sleep(0.001)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_target_that_is_free_wakes_this_loop_alone(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    write, began, writes = yard.store.write, yard.store.signal.version, [0]

    async def counted(work: Callable[[Connection], Any]) -> Any:
        made = await write(work)
        writes[0] += 1
        return made

    monkeypatch.setattr(yard.store, "write", counted)
    running = asyncio.ensure_future(yard.loop.run())
    await yard.send(f"{FUNCTION}f", 1, 2, 3)
    await until(lambda: len(yard.told.calls) == 3 and not yard.loop._calling)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert yard.store.signal.version - began == writes[0]


async def test_of_too_many_that_wait_for_a_slow_target_the_oldest_are_given_up(yard: Yard) -> None:
    """What is tried just now is not; and the history of an alarm tells of it."""
    yard.restart(ActionOptions(waiting_max=3, given_up_max=2))
    yard.told.answers["f"] = [BAD]
    await yard.send(f"{FUNCTION}f", 1)
    await yard.settle()
    await yard.send(f"{FUNCTION}f", ALARM_EVENT, source="aws.cloudwatch")
    await yard.send(f"{FUNCTION}f", 3, 4, 5, 6)
    await yard.send(f"{FUNCTION}g", 7)
    await yard.go(60)
    given_up = "It was given up: more than 3 events wait for its target."
    assert await yard.outcomes() == ["delivered", given_up, given_up, given_up, *["delivered"] * 3]
    assert [body for _, name, body, _ in yard.told.calls if name == "f"] == [1, 1, 5, 6]
    query = HistoryQuery(name="low", item="Action")
    (item,) = await yard.store.read(lambda connection: alarm_history.page(connection, SCOPE, query))
    assert item.summary.endswith(given_up)


async def test_an_error_of_the_callers_counts_as_a_failure(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    async def breaks(*_: object) -> Result:
        raise RuntimeError("broken")

    monkeypatch.setattr(yard.told, "action", breaks)
    await yard.send(f"{FUNCTION}f", 1)
    await yard.go(30)
    assert await yard.outcomes() == ["RuntimeError: broken"]


async def test_runs_are_bounded(yard: Yard) -> None:
    def fill(connection: Connection) -> None:
        row = {"account": SCOPE.account, "name": "f", "event_uid": "e", "source": "s", "attempt": 1, "started_us": 0}
        more = {"ended_us": 1, "outcome": "succeeded", "reason": "", "output": ""}
        connection.execute(insert(action_runs), [{"uid": f"{number:026}", **row, **more} for number in range(100)])

    await yard.store.write(fill)
    await yard.send(f"{FUNCTION}f", 1)
    await yard.settle()
    runs = await action_cases.runs(yard.desk, CALLER, "f")
    assert len(runs) == 100
    assert runs[-1].uid == f"{1:026}"


ALARM_EVENT = {"alarmData": {"alarmName": "low", "configuration": {"metrics": []}}}
COMPOSITE_MESSAGE = {"AlarmName": "low", "NewStateValue": "ALARM", "Region": "us-east-1", "AlarmRule": "TRUE"}


async def test_the_history_of_an_alarm_tells_what_became_of_its_actions(yard: Yard) -> None:
    yard.told.answers["f"] = [BAD, BAD, BAD]
    await yard.send(f"{FUNCTION}f", ALARM_EVENT, source="aws.cloudwatch")
    await yard.send(f"{TOPIC}g", COMPOSITE_MESSAGE, source="aws.cloudwatch")
    await yard.go(60)
    query = HistoryQuery(name="low", kinds=("metric", "composite"), item="Action", newest_first=False)
    items = await yard.store.read(lambda connection: alarm_history.page(connection, SCOPE, query))
    assert [(item.kind, item.summary) for item in items] == [
        ("composite", f"Successfully executed action {TOPIC}g"),
        ("metric", f"Failed to execute action {FUNCTION}f. Received error: It exited with status 1."),
    ]
    assert json.loads(items[1].data)["actionState"] == "Failed"
    ((_, _, body, _),) = [call for call in yard.told.calls if call[1] == "g"]
    assert body["Records"][0]["Sns"]["Subject"] == 'ALARM: "low" in us-east-1'


async def test_a_topic_tells_its_subscribers_in_order_and_lets_the_slow_be_slow(yard: Yard) -> None:
    await topic_cases.create(yard.sns, CALLER, "t", {}, {})
    for url in ("http://a/", "http://b/"):
        made = await topic_cases.subscribe(yard.sns, CALLER, Subscribing(f"{TOPIC}t", "http", url, {}))
        await topic_cases.confirm(yard.sns, f"{TOPIC}t", made.token)
    await yard.settle()
    yard.told.calls.clear()
    yard.told.answers["http://a/"] = [Result("It answered 500.")]
    await topic_cases.publish(yard.sns, CALLER, f"{TOPIC}t", [Message("one"), Message("two")])
    await yard.go(10)
    got = [(at_s, url, body["Message"]) for at_s, url, body, _ in yard.told.calls]
    assert [one for one in got if one[1] == "http://b/"] == [(0, "http://b/", "one"), (0, "http://b/", "two")]
    assert [(at_s, text) for at_s, url, text in got if url == "http://a/"] == [(0, "one"), (5, "one"), (5, "two")]


async def test_a_subscription_that_nobody_confirms_goes(yard: Yard) -> None:
    await topic_cases.create(yard.sns, CALLER, "t", {}, {})
    await topic_cases.subscribe(yard.sns, CALLER, Subscribing(f"{TOPIC}t", "http", "http://a/", {}))
    await yard.settle()
    await yard.clock.advance(49 * 3600)
    await yard.settle()
    assert await topic_cases.all_subscriptions(yard.sns, CALLER) == []


async def test_a_schedule_comes_in_time_and_once_after_an_outage(yard: Yard) -> None:
    await rule_cases.put(yard.desk, CALLER, "r", RuleSpec(schedule="rate(5 minutes)"), {})
    target = TargetSpec("t", f"{FUNCTION}f", input='{"go": true}')
    await rule_cases.put_targets(yard.desk, CALLER, "r", [target])
    await yard.go(660)
    assert [(at_s, body) for at_s, _, body, _ in yard.told.calls] == [(300, {"go": True}), (600, {"go": True})]
    await yard.clock.advance(3600)
    await yard.settle()
    assert len(yard.told.calls) == 3
    await rule_cases.switch(yard.desk, CALLER, "r", on=False)
    await yard.go(3600)
    assert len(yard.told.calls) == 3


async def test_one_event_for_many_targets_comes_to_each_once(yard: Yard) -> None:
    for name in ("one", "two"):
        await rule_cases.put(yard.desk, CALLER, name, RuleSpec(pattern='{"source": ["mine"]}'), {})
        targets = [TargetSpec("f", f"{FUNCTION}f"), TargetSpec("g", f"{FUNCTION}g", path="$.detail")]
        await rule_cases.put_targets(yard.desk, CALLER, name, targets)
    entry = rule_cases.Entry("mine", "Type", {"a": 1}, (), None)
    (event_id,) = await rule_cases.put_events(yard.desk, CALLER, [entry])
    await yard.settle()
    assert sorted(yard.told.names()) == ["f", "f", "g", "g"]
    bodies = {name: body for _, name, body, _ in yard.told.calls}
    assert bodies["g"] == {"a": 1}
    assert (bodies["f"]["id"], bodies["f"]["detail-type"]) == (event_id, "Type")


async def test_an_event_that_cannot_be_read_holds_up_nobody(yard: Yard) -> None:
    await yard.send(f"{TOPIC}f", {"no": "message"}, source="aws.sns")
    await yard.send(f"{TOPIC}f", {"fine": True})
    await yard.settle()
    assert (await yard.outcomes())[:2] == ["It could not be read.", "published to 1 subscribers"]
    assert yard.told.names() == ["f"]
