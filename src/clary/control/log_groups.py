"""Log groups and their streams, as CloudWatch Logs names them, over the files that replicas and jobs write.

    /aws/sagemaker/Endpoints/NAME      stream VARIANT/REPLICA, file HOME/logs/endpoints/UID/VARIANT/REPLICA.log
    /aws/sagemaker/TrainingJobs        stream JOB/algo-1-CREATED, file HOME/logs/training/UID/algo-1.log
    any other                          made and written by users: telemetry/log_groups_own.py

A group outlives its endpoint: `owner.json` in an endpoint's folder says whose it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog
from sqlalchemy import Connection, select

from clary.control.desk import Desk
from clary.domain.principal import Scope
from clary.kit.clock import MICROS, Clock
from clary.kit.durable import replace_file
from clary.kit.ids import instant_us
from clary.kit.threads import Threads
from clary.store.tables import endpoints, replicas, training_jobs
from clary.telemetry.emf import Place
from clary.telemetry.log_events import Stream
from clary.telemetry.log_groups_own import EVENTS, OwnGroup, OwnGroups
from clary.telemetry.log_times import LOOK_S, LogTimes

DAY_MS = 24 * 3600 * 1000
SWEEP_S = 600.0
"""Seconds between looks for events that outlived their retention."""
ENDPOINTS = "/aws/sagemaker/Endpoints/"
TRAINING = "/aws/sagemaker/TrainingJobs"


Result = TypeVar("Result")


class Owner(msgspec.Struct, frozen=True):
    """Whose folder of logs it is: `owner.json`."""

    account: str
    region: str
    name: str
    created_us: int


@dataclass(frozen=True)
class Group:
    """One log group."""

    name: str
    created_us: int
    streams: tuple[Stream, ...]
    retention_days: int = 0
    """0: for ever."""
    filters: int = 0
    """How many metric filters it has."""
    protected: bool = False

    def kept_from_ms(self, now_us: int) -> int:
        """The oldest moment whose events are still to be seen."""
        return 0 if not self.retention_days else now_us // 1000 - self.retention_days * DAY_MS


@dataclass(frozen=True)
class Source:
    """One log that may hold metrics."""

    name: str
    """Its path below HOME/logs: the same for as long as it is there."""
    path: Path
    place: Place
    folder: Path
    """Of what users say about its group (OwnGroups.known)."""
    put: bool
    """Whether its lines are events that users put."""


class LogKeeper:
    """Knows the groups, and notes when lines come while control runs."""

    def __init__(self, desk: Desk, logs: Path, threads: Threads, clock: Clock) -> None:
        """`logs`: HOME/logs."""
        self.times = LogTimes()
        self.own = OwnGroups(logs / "groups")
        self.threads = threads
        self._desk = desk
        self._logs = logs
        self._clock = clock
        self.stopping: Callable[[], bool] = lambda: False
        """True ends live tails, so that none holds up the end of the process."""
        self._owners: dict[str, Owner] = {}
        self._jobs: dict[str, Place] = {}
        self._strangers: set[str] = set()
        """Folders whose endpoint or job was gone before anybody asked."""
        self._adopting = asyncio.Lock()

    async def run(self) -> None:
        """Look at every file once a second, and delete what outlived its retention, forever."""
        swept_us = 0
        failed = False
        while True:
            try:
                await self._adopt()
                await self.threads.run(self._look_at_all)
                if self._clock.now_us() - swept_us >= SWEEP_S * MICROS:
                    swept_us = self._clock.now_us()
                    await self.sweep()
                failed = False
            except OSError as error:
                if not failed:
                    structlog.get_logger(__name__).error("Logs cannot be looked after now.", error=str(error))
                failed = True
            await self._clock.sleep(LOOK_S)

    async def groups(self, scope: Scope, prefix: str = "") -> list[Group]:
        """The groups of an account and region whose names start with `prefix`, by name, looked at just now."""
        await self._adopt()
        found: list[Group] = []
        if TRAINING.startswith(prefix) or prefix.startswith(TRAINING):
            found += await self._training(scope, prefix)
        if ENDPOINTS.startswith(prefix) or prefix.startswith(ENDPOINTS):
            wanted = [uid for uid, owner in self._owners.items() if _belongs(owner, scope, prefix)]
            found += await self.threads.run(lambda: self._endpoints(wanted))
        own = await self.threads.run(lambda: self.own.all(scope.account, scope.region))
        by_name = {group.name: group for group in found}
        for one in own:
            if one.name.startswith(prefix):
                by_name[one.name] = self._merged(scope, one, by_name.get(one.name))
        return sorted(by_name.values(), key=lambda group: group.name)

    async def sources(self) -> list[Source]:
        """Every log there is, by name, that belongs to somebody known."""
        await self._adopt()
        await self._learn_jobs()
        owners = dict(self._owners)
        return await self.threads.run(lambda: self._sources(owners))

    def _sources(self, owners: dict[str, Owner]) -> list[Source]:
        found = []
        for path in (self._logs / "endpoints").glob("*/*/*.log"):
            owner = owners.get(path.parts[-3])
            if owner is not None:
                found.append(self._source(path, Place(owner.account, owner.region), ENDPOINTS + owner.name))
        for path in (self._logs / "training").glob("*/algo-1.log"):
            if path.parts[-2] in self._jobs:
                found.append(self._source(path, self._jobs[path.parts[-2]], TRAINING))
        for path in self.own.event_files():
            place = Place(path.parts[-4], path.parts[-3])
            found.append(Source(str(path.relative_to(self._logs)), path, place, path.parent, put=True))
        return sorted(found, key=lambda source: source.name)

    def _source(self, path: Path, place: Place, group: str) -> Source:
        folder = self.own.folder_of(place.account, place.region, group)
        return Source(str(path.relative_to(self._logs)), path, place, folder, put=False)

    async def _learn_jobs(self) -> None:
        """Whose the folders of training jobs are, which jobs that are gone no longer tell."""

        def strange() -> list[str]:
            folder = self._logs / "training"
            seen = self._jobs.keys() | self._strangers
            return [path.name for path in folder.iterdir() if path.name not in seen] if folder.is_dir() else []

        unknown = await self.threads.run(strange)
        if not unknown:
            return

        def work(connection: Connection) -> dict[str, Place]:
            table = training_jobs
            query = select(table.c.uid, table.c.account, table.c.region).where(table.c.uid.in_(unknown))
            return {row.uid: Place(row.account, row.region) for row in connection.execute(query)}

        known = await self._desk.store.read(work)
        self._jobs |= known
        self._strangers.update(set(unknown) - known.keys())

    def now_us(self) -> int:
        """The clock's."""
        return self._clock.now_us()

    async def sleep(self, delay_s: float) -> None:
        """By the clock."""
        await self._clock.sleep(delay_s)

    async def change(self, scope: Scope, group: Group, work: Callable[[OwnGroup], Result]) -> Result:
        """Run `work` on what users say about a group, and keep it. Raises log_groups_own.Full."""
        return await self.threads.run(
            lambda: self.own.change(scope.account, scope.region, group.name, group.created_us, work)
        )

    async def said(self, scope: Scope, group: Group) -> OwnGroup:
        """What users say about a group; nothing where it is the server's alone."""
        found = await self.threads.run(lambda: self.own.find(scope.account, scope.region, group.name))
        return found or OwnGroup(group.name, group.created_us)

    async def sweep(self) -> None:
        """Delete what outlived its group's retention: the oldest events that users put, and whole files of what ended.

        A file that is still written to keeps its old lines, unseen, until its writer has ended.
        """
        alive = await self._desk.store.read(_alive)
        sources = [source for source in await self.sources() if not source.put]
        now_ms = self._clock.now_us() // 1000

        def work() -> None:
            for _, _, folder in self.own.every():
                said = self.own.known(folder)
                if said is None or not said.retention_days:
                    continue
                before_ms = now_ms - said.retention_days * DAY_MS
                for path in folder.glob(f"*{EVENTS}"):
                    self.own.trim(path, before_ms)
                for source in sources:
                    if (
                        source.folder == folder
                        and alive.isdisjoint(source.path.parts)
                        and source.path.stem not in alive
                    ):
                        _remove_if_older(source.path, before_ms)

        await self.threads.run(work)

    async def forget(self, scope: Scope, group: Group) -> bool:
        """Delete a group and all it holds; False where an endpoint or job that exists writes into it."""
        if group.name == TRAINING:
            return False
        mine = [uid for uid, owner in self._owners.items() if _belongs(owner, scope, group.name)]
        gone = [uid for uid in mine if ENDPOINTS + self._owners[uid].name == group.name]

        def exist(connection: Connection) -> bool:
            return connection.execute(select(endpoints.c.uid).where(endpoints.c.uid.in_(gone))).first() is not None

        if await self._desk.store.read(exist):
            return False

        def remove() -> None:
            self.own.remove(scope.account, scope.region, group.name)
            for uid in gone:
                shutil.rmtree(self._logs / "endpoints" / uid, ignore_errors=True)
                self._owners.pop(uid, None)

        await self.threads.run(remove)
        return True

    def _merged(self, scope: Scope, own: OwnGroup, found: Group | None) -> Group:
        streams = [
            Stream(name, self.own.path_of(scope.account, scope.region, own.name, name), created_us, put=True)
            for name, created_us in own.streams.items()
        ]
        streams += found.streams if found is not None else ()
        ordered = tuple(sorted(streams, key=lambda stream: stream.name))
        created_us = min(own.created_us, found.created_us if found is not None else own.created_us)
        return Group(own.name, created_us, ordered, own.retention_days, len(own.filters), own.protected)

    def look(self, streams: tuple[Stream, ...]) -> None:
        """Note how far these files are now; before reading them. Blocking."""
        self.times.look([stream.path for stream in streams if not stream.put], self._clock.now_us())

    async def _training(self, scope: Scope, prefix: str) -> list[Group]:
        def work(connection: Connection) -> list[tuple[str, str, int]]:
            table = training_jobs
            query = select(table.c.uid, table.c.name, table.c.created_us).where(
                table.c.account == scope.account, table.c.region == scope.region
            )
            return [(row.uid, row.name, row.created_us) for row in connection.execute(query)]

        streams = tuple(
            Stream(f"{name}/algo-1-{created_us // MICROS}", self._logs / "training" / uid / "algo-1.log", created_us)
            for uid, name, created_us in await self._desk.store.read(work)
        )
        if not streams or not TRAINING.startswith(prefix):
            return []
        return [Group(TRAINING, min(stream.created_us for stream in streams), streams)]

    def _endpoints(self, uids: list[str]) -> list[Group]:
        by_name: dict[str, list[tuple[Owner, list[Stream]]]] = {}
        for uid in uids:
            owner = self._owners[uid]
            streams = [
                Stream(f"{path.parent.name}/{path.stem}", path, instant_us(path.stem) or owner.created_us)
                for path in (self._logs / "endpoints" / uid).glob("*/*.log")
            ]
            by_name.setdefault(ENDPOINTS + owner.name, []).append((owner, streams))
        return [
            Group(
                name,
                min(owner.created_us for owner, _ in parts),
                tuple(sorted((stream for _, streams in parts for stream in streams), key=lambda one: one.name)),
            )
            for name, parts in by_name.items()
        ]

    def _look_at_all(self) -> None:
        for folder in ("endpoints", "training"):
            self.times.look((self._logs / folder).glob("**/*.log"), self._clock.now_us())

    async def _adopt(self) -> None:
        """Learn whose folders there are; write it beside the logs, for the time when the endpoint is gone."""
        async with self._adopting:
            unknown = await self.threads.run(self._unknown)
            if not unknown:
                return

            def work(connection: Connection) -> dict[str, Owner]:
                rows = connection.execute(select(endpoints).where(endpoints.c.uid.in_(unknown)))
                return {row.uid: Owner(row.account, row.region, row.name, row.created_us) for row in rows}

            known = await self._desk.store.read(work)
            self._strangers.update(set(unknown) - known.keys())
            await self.threads.run(lambda: self._write(known))
            self._owners.update(known)

    def _unknown(self) -> list[str]:
        folder = self._logs / "endpoints"
        unknown = []
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name in self._owners or path.name in self._strangers:
                continue
            try:
                self._owners[path.name] = msgspec.json.decode((path / "owner.json").read_bytes(), type=Owner)
            except (OSError, msgspec.DecodeError):
                unknown.append(path.name)
        return unknown

    def _write(self, known: dict[str, Owner]) -> None:
        for uid, owner in known.items():
            replace_file(self._logs / "endpoints" / uid / "owner.json", msgspec.json.encode(owner))


def _alive(connection: Connection) -> set[str]:
    """uids of what may still write into its log."""
    found = set(connection.execute(select(replicas.c.uid)).scalars())
    return found | set(
        connection.execute(select(training_jobs.c.uid).where(training_jobs.c.ended_us.is_(None))).scalars()
    )


def _remove_if_older(path: Path, before_ms: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_mtime * 1000 < before_ms:
            path.unlink()
            path.with_suffix(".times").unlink(missing_ok=True)


def _belongs(owner: Owner, scope: Scope, prefix: str) -> bool:
    mine = (owner.account, owner.region) == (scope.account, scope.region)
    return mine and (ENDPOINTS + owner.name).startswith(prefix)
