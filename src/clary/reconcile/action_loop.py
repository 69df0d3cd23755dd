"""Delivers what stands in the outbox: to each target in order, an event at a time, at least once.

Events for the bus and for topics become others in one transaction. Those for an action or a subscriber are called,
outside of any transaction; what ends badly is tried again with growing waits, and what comes after it waits. An attempt
that a dying control cut off is made again: each event has an id to know it by.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import Connection

from clary.domain.actions import TOPIC_ARN, function_name
from clary.domain.principal import Scope
from clary.kit.backoff import Backoff
from clary.kit.clock import MICROS, Clock
from clary.kit.ids import Ids
from clary.reconcile.action_calls import Calls, Result
from clary.reconcile.event_routes import KnownRules, Routed, Router, due_us, is_due, is_routed
from clary.store import actions, alarm_history, deliveries, outbox, rules, topics
from clary.store.actions import ActionRecord, Run
from clary.store.alarm_history import Item, encode_data
from clary.store.alarms import COMPOSITE, METRIC
from clary.store.base import Store
from clary.store.deliveries import Head, Waiting
from clary.store.outbox import ALARMS, TRIAL
from clary.store.topics import SubscriptionRecord

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ActionOptions:
    """How events are delivered."""

    calls_max: int = 8
    """Calls at once, each to another target."""
    routed_max: int = 200
    """Events for the bus and topics in one transaction."""
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=5.0, factor=4.0, max_s=300.0))
    """Waits before an event is tried again: 5, 20, 80, 300 seconds."""
    subscriber_retries: int = 3
    """Tries of an HTTP subscriber after the first that failed, as SNS's default policy."""
    waiting_max: int = deliveries.WAITING_MAX
    """Events that may wait for one action or subscriber; of more the oldest are given up."""
    given_up_max: int = 1000
    """Events given up in one transaction."""
    age_s: float = 6 * 3600.0
    """Older events are given up, as an asynchronous event of Lambda's."""
    look_s: float = 60.0
    """Longest wait between two looks."""
    retry_s: float = 5.0
    """Wait after an unexpected error."""
    prune_s: float = 3600.0
    """Seconds between deletions of what nobody needs any more."""


@dataclass(frozen=True)
class ActionWorld:
    """Everything that the loop touches."""

    store: Store
    clock: Clock
    ids: Ids
    router: Router
    calls: Calls


Called = ActionRecord | SubscriptionRecord


class ActionLoop:
    """Runs as one task: `await ActionLoop(world).run()`; it never returns."""

    def __init__(self, world: ActionWorld, options: ActionOptions = ActionOptions()) -> None:
        self._world = world
        self._options = options
        self._calling: dict[str, asyncio.Task[None]] = {}
        """By target; one at a time for each."""
        self._freed = asyncio.Event()
        """A target is free: there may be more for it."""
        self._took_over = False
        self._pruned_s: float | None = None

    async def run(self) -> None:
        """Go on forever. Cancelled, it ends the calls that run; the next control makes them again."""
        world = self._world
        try:
            while True:
                seen = world.store.signal.version
                self._freed.clear()
                try:
                    wait_s = await self.step()
                except Exception as error:
                    wait_s = self._options.retry_s
                    _log.exception("delivering events failed", error=str(error), retry_s=wait_s)
                await self._wait(seen, wait_s)
        finally:
            for task in self._calling.values():
                task.cancel()
            await asyncio.gather(*self._calling.values(), return_exceptions=True)

    async def _wait(self, seen: int, wait_s: float) -> None:
        """Until a commit after `seen`, until a target is free, or for `wait_s` seconds."""
        world = self._world
        commit = asyncio.ensure_future(world.store.signal.wait_past_or(seen, world.clock, wait_s))
        freed = asyncio.ensure_future(self._freed.wait())
        try:
            await asyncio.wait({commit, freed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            commit.cancel()
            freed.cancel()

    async def step(self) -> float:
        """Do what is due; seconds until the next look, if nothing is committed and no target free before."""
        await self._take_over()
        await self._prune()
        now_us = self._world.clock.now_us()
        waits_us = [round(self._options.look_s * MICROS)]
        heads, known = await self._world.store.read(lambda c: (deliveries.heads(c), rules.every(c)))
        if any(is_due(rule, now_us) for rule in known):
            await self._world.store.write(lambda connection: self._run_schedules(connection, now_us))
        if routed := [one.target_arn for one in heads if is_routed(one.target_arn)]:
            await self._world.store.write(lambda connection: self._route(connection, routed))
        for one in heads:
            if not is_routed(one.target_arn):
                await self._bound(one)
            if is_routed(one.target_arn) or one.target_arn in self._calling:
                continue
            if one.next_us > now_us:
                waits_us.append(one.next_us - now_us)
            elif len(self._calling) < self._options.calls_max:
                self._start(one)
        waits_us += [max(0, at_us - now_us) for rule in known if (at_us := due_us(rule)) is not None]
        return min(waits_us) / MICROS

    # -- what becomes other events -------------------------------------------------------------------------------------

    def _route(self, connection: Connection, targets: Sequence[str]) -> None:
        now_us = self._world.clock.now_us()
        known: KnownRules = {}
        for event in deliveries.waiting_for(connection, targets, self._options.routed_max):
            if self._is_late(event, now_us):
                routed = Routed("It was given up: it is too old.", ok=False)
            else:
                routed = self._routed(connection, event, now_us, known)
            outbox.append(connection, *routed.events)
            deliveries.finish(connection, event.seq, now_us, routed.outcome)
            _note_alarm(connection, event, now_us, "" if routed.ok else routed.outcome)

    def _routed(self, connection: Connection, event: Waiting, now_us: int, known: KnownRules) -> Routed:
        """One event that cannot be read must not hold up all others."""
        try:
            return self._world.router.routed(connection, event, now_us, known)
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            _log.exception("an event could not be read", target=event.target_arn, uid=event.uid, error=str(error))
            return Routed("It could not be read.", ok=False)

    def _run_schedules(self, connection: Connection, now_us: int) -> None:
        for rule in rules.every(connection):
            if is_due(rule, now_us):
                outbox.append(connection, *self._world.router.scheduled(rule, now_us))
                rules.note_run(connection, rule.uid, now_us)

    async def _bound(self, head: Head) -> None:
        """Give up the oldest of what waits for a target that is slower than its events."""
        excess = max(0, head.waiting - self._options.waiting_max)
        for first in range(0, excess, self._options.given_up_max):
            count = min(excess - first, self._options.given_up_max)
            await self._world.store.write(functools.partial(self._give_up, head=head, count=count))
            _log.error("events were given up: too many wait", target=head.target_arn, events=count)

    def _give_up(self, connection: Connection, *, head: Head, count: int) -> None:
        now_us = self._world.clock.now_us()
        why = f"It was given up: more than {self._options.waiting_max} events wait for its target."
        for event in deliveries.behind(connection, head, count):
            deliveries.finish(connection, event.seq, now_us, why)
            _note_alarm(connection, event, now_us, why)

    # -- what is called ------------------------------------------------------------------------------------------------

    def _start(self, head: Head) -> None:
        task = asyncio.ensure_future(self._deliver(head))
        self._calling[head.target_arn] = task
        task.add_done_callback(lambda _: self._ended(head.target_arn))

    def _ended(self, target: str) -> None:
        self._calling.pop(target, None)
        self._freed.set()

    async def _deliver(self, head: Head) -> None:
        try:
            await self._call(head)
        except Exception as error:
            _log.exception("a delivery could not be noted", target=head.target_arn, error=str(error))
            await self._world.clock.sleep(self._options.retry_s)

    async def _call(self, head: Head) -> None:
        """One attempt. An unexpected error counts as one that failed."""
        store = self._world.store
        run_uid = self._world.ids.ulid(self._world.clock.now_us())
        event, target = await store.write(lambda connection: self._begin(connection, head, run_uid))
        attempt = event.attempts + 1
        retries = 0
        if target is None:
            result = Result("It was given up: there is nothing of that name, or the event is too old.", final=True)
        else:
            try:
                if isinstance(target, ActionRecord):
                    retries = target.spec.retries
                    result = await self._world.calls.action(event, target.name, target.spec, attempt)
                else:
                    retries = self._options.subscriber_retries
                    result = await self._world.calls.subscriber(event, target.endpoint, target.spec)
            except Exception as error:
                _log.exception("calling a target failed", target=event.target_arn, error=str(error))
                result = Result(f"{type(error).__name__}: {error}"[:500])
        if event.source == TRIAL:
            retries = 0
        end = functools.partial(self._end, event=event, attempt=attempt, run_uid=run_uid, result=result)
        await store.write(lambda connection: end(connection, retries=retries))
        if result.why:
            _log.error("an event was not delivered", target=event.target_arn, uid=event.uid, why=result.why)

    def _begin(self, connection: Connection, head: Head, run_uid: str) -> tuple[Waiting, Called | None]:
        """The event with the attempts before this one, and who is to be called."""
        event = deliveries.waiting(connection, head.seq)
        now_us, attempt = self._world.clock.now_us(), event.attempts + 1
        target = None if self._is_late(event, now_us) else _find(connection, event)
        if target is not None:
            deliveries.begin(connection, event.seq, attempt)
        if isinstance(target, ActionRecord):
            run = Run(run_uid, target.account, target.name, event.uid, event.source, attempt, now_us)
            actions.begin_run(connection, run)
        return event, target

    def _end(
        self, connection: Connection, *, event: Waiting, attempt: int, run_uid: str, result: Result, retries: int
    ) -> None:
        now_us = self._world.clock.now_us()
        outcome = "failed" if result.why else "succeeded"
        actions.end_run(connection, run_uid, now_us, outcome, result.why, result.output)
        if result.why and not result.final and attempt <= retries:
            next_us = now_us + round(self._options.backoff.wait_s(attempt) * MICROS)
            deliveries.again(connection, event.seq, next_us, result.why)
            return
        deliveries.finish(connection, event.seq, now_us, result.why or "delivered")
        _note_alarm(connection, event, now_us, result.why)

    def _is_late(self, event: Waiting, now_us: int) -> bool:
        return event.at_us < now_us - round(self._options.age_s * MICROS)

    async def _take_over(self) -> None:
        """Once: note the runs that the control before this one began and did not end."""
        if not self._took_over:
            now_us = self._world.clock.now_us()
            await self._world.store.write(lambda connection: actions.lose_runs(connection, now_us))
            self._took_over = True

    async def _prune(self) -> None:
        now_s = self._world.clock.monotonic_s()
        if self._pruned_s is not None and now_s - self._pruned_s < self._options.prune_s:
            return
        self._pruned_s = now_s
        now_us = self._world.clock.now_us()

        def work(connection: Connection) -> None:
            deliveries.prune(connection)
            topics.prune_pending(connection, now_us)

        await self._world.store.write(work)


def _find(connection: Connection, event: Waiting) -> Called | None:
    """Who is to be called."""
    if (name := function_name(event.target_arn, event.scope.account)) is not None:
        return actions.find(connection, event.scope.account, name)
    found = TOPIC_ARN.fullmatch(event.target_arn)
    if found is None or found["subscription"] is None:
        return None
    scope = Scope(found["account"], found["region"])
    return topics.find_subscription(connection, scope, found["name"], found["subscription"][1:])


def _note_alarm(connection: Connection, event: Waiting, now_us: int, why: str) -> None:
    """The history of an alarm tells what became of each of its actions."""
    if event.source != ALARMS or event.target_arn.split(":")[2] not in ("lambda", "sns"):
        return
    name, kind = _alarm_of(event.body)
    summary = f"Successfully executed action {event.target_arn}"
    data: dict[str, Any] = {"actionState": "Succeeded", "stateUpdateTimestamp": event.at_us // 1000}
    data["notificationResource"] = event.target_arn
    if why:
        summary = f"Failed to execute action {event.target_arn}. Received error: {why}"[:255]
        data |= {"actionState": "Failed", "error": why[:1024]}
    alarm_history.append(connection, Item(event.scope, name, kind, now_us, "Action", summary, encode_data(data)))


def _alarm_of(body: Any) -> tuple[str, str]:
    """Name and kind of the alarm that an event tells of."""
    if "alarmData" in body:
        told = body["alarmData"]
        return told["alarmName"], COMPOSITE if "alarmRule" in told["configuration"] else METRIC
    return body["AlarmName"], COMPOSITE if "AlarmRule" in body else METRIC
