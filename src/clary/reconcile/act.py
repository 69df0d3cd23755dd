"""Apply actions to the world: rows, artifacts, placement, routes. No policy: what to do, the plan says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import assert_never

import structlog
from sqlalchemy import Connection

from clary.artifacts.fetch import Artifacts
from clary.dataplane.routes import KeyRoute
from clary.domain.endpoint import Revision, RevisionVariant
from clary.domain.errors import ArtifactError
from clary.domain.instance_types import INSTANCE_TYPES
from clary.domain.model import Container
from clary.domain.rollout import Progress
from clary.kit.clock import MICROS, Clock
from clary.kit.ids import Ids
from clary.kit.threads import Threads
from clary.placement.base import Placement, ReplicaSpec
from clary.placement.specs import Named, replica_of
from clary.reconcile import rows
from clary.reconcile.actions import (
    Action,
    DrainReplica,
    FallBack,
    Fetch,
    ForgetEndpoint,
    ForgetReplica,
    MarkReady,
    NoteMix,
    NoteRollout,
    Publish,
    SetStatus,
    StartReplica,
    StopReplica,
    Unpublish,
    WakeAt,
)
from clary.reconcile.facts import PinHave, Want
from clary.reconcile.grounds import Grounds
from clary.reconcile.routing import Routing
from clary.store.base import Store
from clary.store.endpoint_events import note_deployment, note_state
from clary.store.keys import live_keys
from clary.store.rollouts import note_progress, progress_of
from clary.store.seal import Seal

_log = structlog.get_logger(__name__)
SWEEP_US = 3600 * MICROS
"""Between sweeps that nothing asked for: environments are kept for a while after their last use."""


@dataclass(frozen=True)
class World:
    """Everything that acting touches."""

    store: Store
    clock: Clock
    ids: Ids
    placement: Placement
    artifacts: Artifacts
    routing: Routing
    seal: Seal
    """Opens the keys that routers check signatures with."""
    threads: Threads
    """For fetches and sweeps: slow disk and network work."""
    cores: int = 1
    """Cores of this machine that replicas share."""
    grounds: Grounds | None = None
    """Environments of artifacts that bring a list of what they need; None where none does."""
    worker_env: Callable[[str, str], Mapping[str, str]] = lambda _uid, _region: {}
    """Variables of a worker besides its model's own, by replica uid and region; always the same for the same."""


class Actor:
    """Applies actions. What it holds in memory is rebuilt from the store by `load`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._wish: dict[str, ReplicaSpec] = {}
        self._owners: dict[str, str] = {}
        self._wish_version = 0
        self._applied_version = 0
        self._apply_lock = asyncio.Lock()
        self._fetches = 0
        self._sweep_lock = asyncio.Lock()
        self._sweep_due = True
        self._swept_us = 0

    async def load(self) -> list[str]:
        """Take over what runs and what is routed; the uids of all endpoints, each of which wants a plan."""
        world = self._world
        await world.routing.load()
        uids = await world.store.read(rows.endpoint_uids)
        self._owners = await world.store.read(rows.replica_owners)
        await self._take_wish()
        await self.apply()
        await world.routing.retain(set(uids), await self._keys())
        return uids

    def endpoint_of(self, replica_uid: str) -> str | None:
        """The endpoint that a replica belongs to, until it is forgotten."""
        return self._owners.get(replica_uid)

    def on_disk(self, want: Want, pins: Mapping[tuple[int, str], PinHave]) -> dict[tuple[int, str], PinHave]:
        """Pins without those whose folder or environment is gone: the plan fetches them again."""
        return {key: pin for key, pin in pins.items() if not pin.digest or self._stands(want, key, pin.digest)}

    def _stands(self, want: Want, key: tuple[int, str], digest: str) -> bool:
        path, grounds = self._world.artifacts.path_of(digest), self._world.grounds
        return path is not None and (grounds is None or grounds.stand(want, *key, path))

    async def publish_keys(self) -> None:
        """Give the routers the keys as they are in the store."""
        await self._world.routing.replace_keys(await self._keys())

    async def act(self, want: Want, action: Action) -> None:
        """Apply one action to the endpoint of `want`. Wishes reach placement by the `apply` that follows."""
        now_us, write = self._world.clock.now_us(), self._world.store.write
        match action:
            case Fetch():
                await self._fetch(want, action)
            case StartReplica():
                await self._start(want, action)
            case MarkReady(uid=uid, address=address):
                await write(lambda connection: rows.mark_ready(connection, uid, address, now_us))
            case Publish(route=route):
                await self._world.routing.publish(want.uid, route)
            case Unpublish():
                await self._world.routing.publish(want.uid, None)
            case DrainReplica(uid=uid):
                await write(lambda connection: rows.mark_draining(connection, uid, now_us))
                await self._world.placement.drain(uid)
            case StopReplica(uid=uid):
                await write(lambda connection: rows.mark_stopping(connection, uid, now_us))
                self._unwish(uid)
            case ForgetReplica(uid=uid):
                await write(lambda connection: rows.drop_replica(connection, uid))
                self._owners.pop(uid, None)
            case SetStatus():
                await self._settle(want, lambda connection: rows.set_status(connection, want, action, now_us))
                _log.info("an endpoint settled", endpoint=want.name, status=action.status.value, reason=action.reason)
            case NoteRollout(progress=progress):
                await self._note_rollout(want, progress)
            case NoteMix(reason=reason):
                await self._settle(want, lambda connection: rows.note_mix(connection, want, reason, now_us))
                _log.warning("an update cannot be taken back, both fleets serve", endpoint=want.name, reason=reason)
            case FallBack(reason=reason):
                await self._settle(want, lambda connection: rows.fall_back(connection, want, reason, now_us))
                self._sweep_due = True
                _log.info("an update failed, the endpoint goes on as it was", endpoint=want.name, reason=reason)
            case ForgetEndpoint():
                await write(lambda connection: rows.drop_endpoint(connection, want.uid))
                self._sweep_due = True
                self._wish_version += 1  # what it kept for its next replica may go
                _log.info("an endpoint is deleted", endpoint=want.name, endpoint_uid=want.uid)
            case WakeAt():
                pass  # the loop's to keep
            case _:
                assert_never(action)

    async def _settle(self, want: Want, work: Callable[[Connection], None]) -> None:
        """Note how a generation ended, and tell of it."""
        now_us = self._world.clock.now_us()

        def settle(connection: Connection) -> None:
            work(connection)
            note_state(connection, self._world.ids.ulid(now_us), want.uid, now_us)

        await self._world.store.write(settle)

    async def _note_rollout(self, want: Want, progress: Progress) -> None:
        """Note how far a rollout is, and tell of another stage."""
        now_us, generation = self._world.clock.now_us(), want.target.generation

        def note(connection: Connection) -> None:
            before = progress_of(connection, want.uid, generation)
            note_progress(connection, want.uid, generation, progress)
            if before is None or before.stage != progress.stage:
                note_deployment(connection, self._world.ids.ulid(now_us), want.uid, now_us)

        await self._world.store.write(note)

    async def apply(self) -> None:
        """Give placement the whole wish, if it changed; callers that come together share one call."""
        mine = self._wish_version
        async with self._apply_lock:
            if self._applied_version >= mine:
                return
            version = self._wish_version
            resting = await self._resting()
            await self._world.placement.apply((*(self._wish[uid] for uid in sorted(self._wish)), *resting))
            self._applied_version = version

    async def _resting(self) -> list[ReplicaSpec]:
        """What variants that were scaled to none would run."""
        specs = [self._spec(noted) for noted in await self._world.store.read(rows.resting_replicas)]
        return [replace(spec, resting=True) for spec in specs if spec is not None]

    async def sweep(self) -> None:
        """Remove artifacts that no endpoint stands on any more; at the first call those a crash left behind, too."""
        if not self._sweep_due and self._world.clock.now_us() < self._swept_us + SWEEP_US:
            return
        async with self._sweep_lock:
            # A fetch that has pinned and not yet noted its digest would lose it; the last fetch sweeps instead.
            if self._fetches or not (self._sweep_due or self._world.clock.now_us() >= self._swept_us + SWEEP_US):
                return
            # Before the look: an endpoint that is forgotten from here on makes another sweep due.
            self._sweep_due, self._swept_us = False, self._world.clock.now_us()
            try:
                keep = await self._world.store.read(rows.pinned_digests)
                removed = await self._world.threads.run(lambda: self._world.artifacts.sweep(keep))
                if self._world.grounds is not None:
                    removed |= await self._world.grounds.sweep(await self._standing())
            except BaseException:
                self._sweep_due = True
                raise
        if removed:
            _log.info("unused artifacts and environments were removed", count=len(removed))

    async def _standing(self) -> list[tuple[Path, Container]]:
        """Every pinned artifact with each container that runs on it."""
        path_of = self._world.artifacts.path_of
        pinned = await self._world.store.read(rows.pinned_containers)
        return [(path, one) for digest, one in pinned if (path := path_of(digest)) is not None]

    async def _fetch(self, want: Want, action: Fetch) -> None:
        world, url, version = self._world, action.url, action.version
        async with self._sweep_lock:
            self._fetches += 1
        try:
            try:
                digest = await self._pinned(rows.PinKey(want.uid, version, url))
                path = world.artifacts.path_of(digest)
                if path is not None and world.grounds is not None:
                    await world.grounds.make(want, version, url, path)
                pin = PinHave(digest)
            except ArtifactError as error:
                pin = PinHave("", error.cause, error.remedy)
            now_us = world.clock.now_us()
            again = await world.store.write(
                lambda connection: rows.add_pin(connection, rows.PinKey(want.uid, version, url), pin, now_us)
            )
        finally:
            self._fetches -= 1
        if again:
            await self._take_wish()

    async def _pinned(self, key: rows.PinKey) -> str:
        """The artifact's digest: fetched, unless it is on disk already and only its environment is gone."""
        world = self._world
        noted = await world.store.read(lambda connection: rows.pinned_digest(connection, key))
        if noted and world.artifacts.path_of(noted) is not None:
            return noted
        return (await world.threads.run(lambda: world.artifacts.fetch(key.url))).digest

    async def _take_wish(self) -> None:
        """Wish every replica that the store wishes and whose artifact is on disk."""
        for noted in await self._world.store.read(rows.wished_replicas):
            spec = None if noted.uid in self._wish else self._spec(noted)
            if spec is not None:
                self._wish[noted.uid] = spec
        self._wish_version += 1

    async def _start(self, want: Want, action: StartReplica) -> None:
        world = self._world
        now_us = world.clock.now_us()
        uid = world.ids.ulid(now_us)
        threads = threads_of(want.fleet_of(action.generation).revision, action.variant, world.cores)
        new = rows.NewReplica(uid, want.uid, action.generation, action.variant, threads)

        def add(connection: Connection) -> rows.NotedReplica:
            rows.add_replica(connection, new, now_us)
            return rows.wished_replica(connection, uid)

        noted = await world.store.write(add)
        spec = self._spec(noted)
        assert spec is not None, "the plan starts replicas only once their artifact is pinned"
        self._owners[uid] = want.uid
        self._wish[uid] = spec
        self._wish_version += 1

    def _unwish(self, uid: str) -> None:
        if self._wish.pop(uid, None) is not None:
            self._wish_version += 1

    def _spec(self, noted: rows.NotedReplica) -> ReplicaSpec | None:
        """The same specification for the same rows, whenever: a changed one would be another replica."""
        path = self._world.artifacts.path_of(noted.digest)
        if path is None:
            _log.error("a pinned artifact is gone from disk", digest=noted.digest, endpoint=noted.endpoint.name)
            return None
        variant = next(v for v in noted.revision.variants if v.name == noted.variant)
        grounds = self._world.grounds
        python = grounds.python_of(path, variant.container) if grounds is not None else ""
        if python is None:
            _log.error("a replica's environment is gone from disk", digest=noted.digest, endpoint=noted.endpoint.name)
            return None
        named = Named(noted.uid, noted.endpoint.name, noted.endpoint.uid)
        spec = replica_of(named, variant, path, noted.digest, noted.threads, python)
        lent = self._world.worker_env(noted.uid, noted.endpoint.scope.region)
        return replace(spec, env={**lent, **spec.env})

    async def _keys(self) -> tuple[KeyRoute, ...]:
        live = await self._world.store.read(lambda connection: live_keys(connection, self._world.seal))
        return tuple(KeyRoute(key.key_id, key.secret, key.account, key.arn) for key in live)


def threads_of(revision: Revision, variant_name: str, cores: int) -> int:
    """A replica's share of `cores` among the replicas of its fleet, at least 1, at most its instance type's."""
    replicas = sum(variant.instance_count for variant in revision.variants)
    variant: RevisionVariant = next(v for v in revision.variants if v.name == variant_name)
    kind = INSTANCE_TYPES.get(variant.instance_type)
    return max(1, min(cores // replicas, kind.vcpus if kind else cores))
