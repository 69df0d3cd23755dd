"""The loop: plans and acts for every endpoint that something happened to, one after the other for each, many at once.

What wakes an endpoint: control's changes, placement's observations, the plan's own WakeAt, a failed pass after its
backoff, and a slow resync in case any of these was missed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from clary.kit.backoff import Backoff
from clary.kit.clock import MICROS
from clary.kit.disk import is_full
from clary.kit.tasks import Tasks
from clary.placement.base import ReplicaState
from clary.reconcile import rows
from clary.reconcile.act import Actor, World
from clary.reconcile.actions import RULES, Rules, WakeAt
from clary.reconcile.endpoint import plan
from clary.store.alarms import alarm_mark
from clary.store.base import StoreUnavailableError
from clary.store.records import changes_after, last_change

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class LoopOptions:
    """How the loop runs."""

    parallel_max: int = 16
    """Endpoints acted for at once; more wait."""
    passes_max: int = 64
    """Plans in one turn of an endpoint; one that has not settled then goes to the end of the queue."""
    resync_s: float = 60.0
    """Seconds between looks at every endpoint."""
    backoff: Backoff = field(default_factory=Backoff)
    """Waits after unexpected errors, by the errors in a row."""
    failures_max: int = 8
    """Unexpected errors in a row after which an endpoint in transition is given up: with the waits between them, some
    twenty seconds. A full disk and a store that is away are waited for, however long: nothing could be noted anyway."""
    rules: Rules = RULES
    """Times the plan goes by."""


@dataclass
class _Turn:
    """One endpoint in the loop."""

    again: bool = False
    """Something happened while its turn ran."""
    failures: int = 0
    """Errors in a row."""
    unexpected: int = 0
    """Those of them that say nothing of a full disk or of a store that is away."""
    trouble: str = ""
    """The last of them, once there were too many."""
    timer: asyncio.Task[None] | None = None
    wake_us: int = 0


@dataclass
class _State:
    turns: dict[str, _Turn] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    seen: dict[str, ReplicaState] = field(default_factory=dict)
    guarded: set[str] = field(default_factory=set)
    """Endpoints with a rollout that goes by alarms."""
    alarms: tuple[int, int] = (0, 0)
    """A mark of all alarms' states, as last seen."""


class Loop:
    """Runs as one task: `await Loop(world).run()`; it never returns."""

    def __init__(self, world: World, options: LoopOptions = LoopOptions()) -> None:
        self._world = world
        self._options = options
        self._actor = Actor(world)
        self._state = _State()
        self._slots = asyncio.Semaphore(options.parallel_max)
        self._tasks = Tasks()
        self.loaded = asyncio.Event()
        """Set once everything that ran before was taken over."""

    async def run(self) -> None:
        """Take over what runs, then reconcile forever. Cancel to stop: replicas stay."""
        async with self._tasks as tasks:
            cursor = await self._world.store.read(last_change)
            for uid in await self._actor.load():
                self.touch(uid)
            await self._actor.sweep()
            self.loaded.set()
            tasks.forever("reconcile-changes", self._watch_changes(cursor))
            tasks.forever("reconcile-placement", self._watch_placement())
            tasks.forever("reconcile-resync", self._resync())
            await tasks.wait_failed()

    def touch(self, uid: str) -> None:
        """Something may have happened to this endpoint: plan for it soon."""
        turn = self._state.turns.setdefault(uid, _Turn())
        if uid in self._state.running:
            turn.again = True
            return
        self._state.running.add(uid)
        self._tasks.once(f"reconcile-{uid}", self._run_turn(uid, turn))

    async def _watch_changes(self, cursor: int) -> None:
        while True:
            seen = self._world.store.signal.version
            for seq, kind, uid in await self._world.store.read(partial(changes_after, seq=cursor)):
                cursor = seq
                if kind == "endpoint":
                    self.touch(uid)
                else:
                    await self._actor.publish_keys()
            await self._watch_alarms()
            await self._world.store.signal.wait_past(seen)

    async def _watch_alarms(self) -> None:
        """Alarms are levels that plans read: any that moved is reason to look, for those who go by alarms."""
        if self._state.guarded:
            before, self._state.alarms = self._state.alarms, await self._world.store.read(alarm_mark)
            if before != self._state.alarms:
                for uid in sorted(self._state.guarded):
                    self.touch(uid)

    async def _watch_placement(self) -> None:
        async for _ in self._world.placement.changes():
            now = dict(self._world.placement.observed())
            before, self._state.seen = self._state.seen, now
            for uid in before.keys() | now.keys():
                if before.get(uid) != now.get(uid):
                    self._touch_replica(uid)

    def _touch_replica(self, uid: str) -> None:
        endpoint = self._actor.endpoint_of(uid)
        if endpoint is not None:
            self.touch(endpoint)

    async def _resync(self) -> None:
        while True:
            await self._world.clock.sleep(self._options.resync_s)
            for uid in await self._world.store.read(rows.endpoint_uids):
                self.touch(uid)

    async def _run_turn(self, uid: str, turn: _Turn) -> None:
        """Plan and act until nothing is left to do or the endpoint is gone; one turn an endpoint at a time."""
        try:
            async with self._slots:
                turn.again = False
                gone = await self._settle(uid, turn)
            turn.failures, turn.unexpected, turn.trouble = 0, 0, ""
            await self._actor.sweep()
        except Exception as error:
            turn.failures += 1
            turn.unexpected += not (is_full(error) or isinstance(error, StoreUnavailableError))
            gone = False
            if turn.unexpected >= self._options.failures_max:
                turn.trouble = f"An unexpected error came back {turn.unexpected} times: {type(error).__name__}: {error}"
            wait_s = self._options.backoff.wait_s(turn.failures)
            _log.exception("reconciling an endpoint failed", endpoint_uid=uid, error=str(error), retry_s=wait_s)
            self._wake_at(uid, turn, self._world.clock.now_us() + round(wait_s * MICROS))
        self._state.running.discard(uid)
        if gone:
            self._state.turns.pop(uid, None)
        elif turn.again:
            self.touch(uid)

    async def _settle(self, uid: str, turn: _Turn) -> bool:
        """True once the endpoint is gone."""
        for _ in range(self._options.passes_max):
            noted = await self._world.store.read(lambda connection: rows.read_noted(connection, uid))
            if noted is None:
                return True
            want = rows.want_of(noted)
            have = rows.have_of(noted, self._world.placement.observed())
            route, pins = self._world.routing.route_of(uid), self._actor.on_disk(want, have.pins)
            have = replace(have, route=route, pins=pins, trouble=turn.trouble)
            guarded = self._state.guarded.add if have.rollout and have.alarms else self._state.guarded.discard
            guarded(uid)
            actions = plan(want, have, self._world.clock.now_us(), self._options.rules)
            for action in actions:
                await self._actor.act(want, action)
            await self._actor.apply()
            wakes = [action.at_us for action in actions if isinstance(action, WakeAt)]
            if len(wakes) == len(actions):
                if wakes:
                    self._wake_at(uid, turn, min(wakes))
                return False
        turn.again = True
        return False

    def _wake_at(self, uid: str, turn: _Turn, at_us: int) -> None:
        """Touch the endpoint at `at_us`; of several wakes the earliest stands, and its plan asks for the next."""
        if turn.timer is not None and not turn.timer.done():
            if turn.wake_us <= at_us:
                return
            turn.timer.cancel()
        turn.wake_us = at_us
        turn.timer = self._tasks.once(f"reconcile-wake-{uid}", self._wake(uid, at_us))

    async def _wake(self, uid: str, at_us: int) -> None:
        await self._world.clock.sleep((at_us - self._world.clock.now_us()) / MICROS)
        self.touch(uid)
