"""The loop of scaling with no configuration: every second, by what the routers told of the last ones.

It also starts the first replica of a variant that has none, whoever scaled it in: at once when a router says that
somebody asks for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import structlog
from sqlalchemy import Connection

from clary.domain.auto_scaling import limits_of
from clary.domain.scaling import ActivityText
from clary.domain.states import EndpointStatus
from clary.kit.clock import MICROS, Clock
from clary.kit.ids import Ids
from clary.reconcile.auto_scaling import Decision, Standing, Watch, decide, observe
from clary.reconcile.scaling_facts import Remember, SetScale
from clary.reconcile.scaling_rows import apply, facts_of
from clary.store.auto_scaling import AutoScaled, auto_scales_of
from clary.store.base import Store
from clary.store.endpoints import endpoint_by_uid, fleet_of
from clary.store.records import announce
from clary.store.scaling import set_scale, targets_of
from clary.telemetry.pressure import Pressure

_log = structlog.get_logger(__name__)

PHASE_US = 400_000
"""After a second began, until what routers told of the one before lies in memory (telemetry/ingest.PHASE_US)."""
RETRY_S = 5.0
"""Wait after an unexpected error."""
ASKED_MAX = 1_024
"""Variants that are asked for and not looked at yet; routers ask again."""
WOKEN = ActivityText(
    "Setting desired instance count to 1.",
    "a request came while there was no instance",
    "Successfully set desired instance count to 1. Waiting for change to be fulfilled by sagemaker.",
)


@dataclass(frozen=True)
class AutoScalingWorld:
    """Everything that the loop touches."""

    store: Store
    pressure: Pressure
    clock: Clock
    ids: Ids
    cores: int


@dataclass(frozen=True)
class _Facts:
    """A variant that is scaled, as it stands in the store."""

    scaled: AutoScaled
    have: Standing


class AutoScalingLoop:
    """Runs as one task: `await AutoScalingLoop(world).run()`; it never returns."""

    def __init__(self, world: AutoScalingWorld) -> None:
        self._world = world
        self._watches: dict[tuple[str, str], Watch] = {}
        self._asked: set[tuple[str, str]] = set()
        self._woken = asyncio.Event()
        self._facts: list[_Facts] = []
        self._seen = -1

    def ask(self, endpoint_uid: str, variant: str) -> None:
        """A request waits for a variant without replicas."""
        if len(self._asked) < ASKED_MAX:
            self._asked.add((endpoint_uid, variant))
            self._woken.set()

    def told(self, notice: bytes) -> None:
        """What a router says: `ENDPOINT UID/VARIANT`."""
        endpoint_uid, slash, variant = notice.decode("utf-8", "replace").partition("/")
        if slash:
            self.ask(endpoint_uid, variant)

    async def run(self) -> None:
        """Go on forever."""
        clock = self._world.clock
        while True:
            try:
                await self.wake()
                await self.step()
            except Exception as error:
                _log.exception("scaling with no configuration failed", error=str(error), retry_s=RETRY_S)
                await clock.sleep(RETRY_S)
                continue
            await self._pause()

    async def _pause(self) -> None:
        """Until the next second's load is there; or, where nothing is scaled, until something is written. Or until a
        router asks for a variant."""
        world = self._world
        if self._facts:
            wait = world.clock.sleep(((PHASE_US - world.clock.now_us()) % MICROS or MICROS) / MICROS)
        else:
            wait = _past(world.store, self._seen)
        waits = [asyncio.ensure_future(wait), asyncio.ensure_future(self._woken.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()

    async def wake(self) -> None:
        """Start a replica of each variant that is asked for and has none."""
        self._woken.clear()
        asked, self._asked = self._asked, set()
        for endpoint_uid, variant in sorted(asked):
            if await self._world.store.read(partial(_rests, endpoint_uid=endpoint_uid, variant=variant)):
                await self._world.store.write(self._waker(endpoint_uid, variant))
                _log.info("a variant without replicas is asked for", endpoint_uid=endpoint_uid, variant=variant)

    def _waker(self, endpoint_uid: str, variant: str) -> Callable[[Connection], None]:
        world = self._world

        def write(connection: Connection) -> None:
            have = _standing(connection, endpoint_uid, variant)
            if have is None or not have.active or have.count:
                return
            now_us = world.clock.now_us()
            target = next((one for one in targets_of(connection, endpoint_uid) if one.variant == variant), None)
            facts = None if target is None else facts_of(connection, target)
            if target is None or facts is None:
                set_scale(connection, endpoint_uid, have.generation, variant, 1, now_us)
                announce(connection, "endpoint", endpoint_uid, now_us)
                return
            memory = replace(target.memory, set_us=now_us, settled_us=None, in_us=None)
            apply(connection, facts, [SetScale(1, WOKEN), Remember(memory)], world.ids, now_us)

        return write

    async def step(self) -> None:
        """Look at every variant once."""
        world = self._world
        version = world.store.signal.version
        if version != self._seen:
            self._facts = await world.store.read(_all_facts)
            self._seen = version
        kept = {(facts.scaled.endpoint_uid, facts.scaled.variant) for facts in self._facts}
        self._watches = {key: watch for key, watch in self._watches.items() if key in kept}
        for facts in self._facts:
            await self._look(facts)

    async def _look(self, facts: _Facts) -> None:
        world, scaled, have = self._world, facts.scaled, facts.have
        key = scaled.endpoint_uid, scaled.variant
        now_us = world.clock.now_us()
        seconds = world.pressure.of(*key)
        watch = observe(self._watches.get(key), have, scaled.spec, seconds, now_us)
        self._watches[key] = watch
        decision = decide(watch, have, scaled.spec, limits_of(scaled.spec, world.cores), seconds, now_us)
        if decision is not None and await world.store.write(self._writer(facts, decision)):
            _log.info(
                "a variant is scaled",
                endpoint_uid=scaled.endpoint_uid,
                variant=scaled.variant,
                have=have.count,
                want=decision.count,
                cause=decision.cause,
            )

    def _writer(self, facts: _Facts, decision: Decision) -> Callable[[Connection], bool]:
        uid, variant = facts.scaled.endpoint_uid, facts.scaled.variant

        def write(connection: Connection) -> bool:
            # Read again: an update may have begun, or control may want something else.
            scaled = next((one for one in auto_scales_of(connection, uid) if one.variant == variant), None)
            if scaled != facts.scaled or _standing(connection, uid, variant) != facts.have:
                return False
            now_us = self._world.clock.now_us()
            set_scale(connection, uid, facts.have.generation, variant, decision.count, now_us)
            announce(connection, "endpoint", uid, now_us)
            return True

        return write


async def _past(store: Store, seen: int) -> None:
    await store.signal.wait_past(seen)


def _all_facts(connection: Connection) -> list[_Facts]:
    found = []
    for scaled in auto_scales_of(connection):
        have = _standing(connection, scaled.endpoint_uid, scaled.variant)
        if have is not None:
            found.append(_Facts(scaled, have))
    return found


def _standing(connection: Connection, endpoint_uid: str, variant: str) -> Standing | None:
    """None where there is nothing to scale: no endpoint, none that came into service yet, or no such variant."""
    record = endpoint_by_uid(connection, endpoint_uid)
    if record is None or record.served_generation is None or record.status is EndpointStatus.DELETING:
        return None
    fleet = fleet_of(connection, endpoint_uid, record.served_generation)
    found = next((one for one in fleet.revision.variants if one.name == variant), None)
    if found is None:
        return None
    return Standing(fleet.generation, found.instance_count, record.status is EndpointStatus.IN_SERVICE)


def _rests(connection: Connection, endpoint_uid: str, variant: str) -> bool:
    have = _standing(connection, endpoint_uid, variant)
    return have is not None and have.active and have.count == 0
