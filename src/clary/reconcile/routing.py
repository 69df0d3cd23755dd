"""The routers' snapshot as reconcile keeps it: one file, replaced whole, then the routers are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from clary.dataplane.routes import FORMAT, EndpointRoute, KeyRoute, Snapshot, read_snapshot, write_snapshot
from clary.kit.threads import Threads

_log = structlog.get_logger(__name__)

Ping = Callable[[], Awaitable[None]]
"""Tells every router that the file changed, and waits until they read it, within a bound of its own."""


@dataclass(frozen=True)
class SnapshotOptions:
    """What a snapshot says besides endpoints and keys."""

    path: Path
    """`HOME/run/routes.json`."""
    account: str
    """Account of unsigned requests."""
    region: str
    """Region of unsigned requests whose endpoint name is not unique across regions."""
    auth: bool = False
    """Whether invocations must be signed."""
    hosts: tuple[str, ...] = ()
    """Host names answered besides loopback ones, lower case."""
    sessions: str = ""
    """The key of session tokens, in hex."""
    tracing: bool = False
    """Whether spans are exported."""


class Routing:
    """The published routes and keys. One writer at a time; changes that arrive together share a write."""

    def __init__(self, options: SnapshotOptions, threads: Threads, ping: Ping) -> None:
        self._options = options
        self._threads = threads
        self._ping = ping
        self._endpoints: dict[str, EndpointRoute] = {}
        """Wanted in the file."""
        self._told: dict[str, EndpointRoute] = {}
        """In the file, and the routers know; lags behind while a write is under way or fails."""
        self._keys: tuple[KeyRoute, ...] = ()
        self._recorded: tuple[str, ...] = ()
        self._revision = 0
        self._version = 0
        self._written = 0
        self._lock = asyncio.Lock()

    async def load(self) -> None:
        """Take over what the file says, so that endpoints in service stay routed while control starts."""
        try:
            snapshot = await self._threads.run(lambda: read_snapshot(self._options.path))
        except FileNotFoundError:
            return
        except ValueError as error:
            _log.warning("the routes file cannot be read and is written anew", error=str(error))
            return
        self._revision = snapshot.revision
        self._keys = snapshot.keys
        self._recorded = snapshot.recorded
        self._endpoints = {route.uid: route for route in snapshot.endpoints}
        self._told = dict(self._endpoints)

    def route_of(self, uid: str) -> EndpointRoute | None:
        """What routers were told of an endpoint."""
        return self._told.get(uid)

    async def publish(self, uid: str, route: EndpointRoute | None) -> None:
        """Replace or remove an endpoint's route; returns once the file is durable and the routers were told."""
        if route is None:
            self._endpoints.pop(uid, None)
        else:
            self._endpoints[uid] = route
        await self._write()

    async def retain(self, uids: set[str], keys: tuple[KeyRoute, ...]) -> None:
        """Drop routes of endpoints that are no more, replace the keys, and write in any case."""
        self._endpoints = {uid: route for uid, route in self._endpoints.items() if uid in uids}
        self._keys = keys
        await self._write()

    async def replace_keys(self, keys: tuple[KeyRoute, ...]) -> None:
        """Publish other keys; nothing is written where the file has them."""
        if keys != self._keys or self._lags:
            self._keys = keys
            await self._write()

    async def record(self, recorded: tuple[str, ...]) -> None:
        """Publish of which accounts and regions trails want to be told; nothing is written where the file says so."""
        if recorded != self._recorded or self._lags:
            self._recorded = recorded
            await self._write()

    @property
    def _lags(self) -> bool:
        """Whether a write is under way, or failed."""
        return self._written < self._version

    async def _write(self) -> None:
        self._version += 1
        mine = self._version
        async with self._lock:
            if self._written >= mine:
                return
            version, self._revision = self._version, self._revision + 1
            endpoints = dict(self._endpoints)
            snapshot = Snapshot(
                format=FORMAT,
                revision=self._revision,
                account=self._options.account,
                region=self._options.region,
                auth=self._options.auth,
                hosts=self._options.hosts,
                endpoints=tuple(endpoints[uid] for uid in sorted(endpoints)),
                keys=self._keys,
                sessions=self._options.sessions,
                recorded=self._recorded,
                tracing=self._options.tracing,
            )
            await self._threads.run(lambda: write_snapshot(self._options.path, snapshot))
            await self._ping()
            self._told = endpoints
            self._written = version
