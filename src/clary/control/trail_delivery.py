"""What trails want, brought to their buckets: gzipped JSON below AWSLogs/, once a minute.

Of the audit, each trail remembers the last row delivered; of invocations, routers' segments are delivered whole and
deleted afterwards. An object is named after its content, so that what is delivered again after a kill is the same
object. Routers are told for which accounts and regions anybody wants invocations; for others they write down nothing.
"""

from __future__ import annotations

import asyncio
import functools
import gzip
import hashlib
import json
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from clary.control.trail_records import fields_of, record_of, record_of_invocation
from clary.kit.clock import MICROS, Clock
from clary.kit.threads import Threads
from clary.store import audit, trails
from clary.store.base import Store
from clary.store.tables import audit as audit_table
from clary.store.trails import TrailRecord
from clary.telemetry.invocations import FOLDER, decode
from clary.telemetry.spool import is_complete, segments

PERIOD_S = 60.0
ROWS_MAX = 2_000
"""Of the audit, in one object."""


class Objects(Protocol):
    """Where buckets are."""

    def put(self, bucket: str, key: str, source: Iterable[bytes]) -> object:
        """Store an object whole."""
        ...


@dataclass(frozen=True)
class DeliveryWorld:
    """What delivering needs."""

    store: Store
    clock: Clock
    objects: Objects
    threads: Threads
    spool: Path
    """`HOME/spool`."""
    ready: asyncio.Event
    """Set once routes may be written: before, the routers' snapshot is not known."""
    record: Callable[[tuple[str, ...]], Awaitable[None]]
    """Tells the routers for which `ACCOUNT/REGION` to write invocations down."""


class Delivery:
    """All trails of one server."""

    def __init__(self, world: DeliveryWorld) -> None:
        self._world = world
        self._log = structlog.get_logger(__name__)

    async def run(self) -> None:
        """Follow the trails, and deliver once a minute, forever."""
        world = self._world
        await world.ready.wait()
        next_us = 0
        while True:
            seen = world.store.signal.version
            try:
                next_us = await self._follow(next_us)
            except (SQLAlchemyError, OSError) as error:
                self._log.error("Trails wait: nothing can be read or noted now.", error=str(error))
                next_us = world.clock.now_us() + round(PERIOD_S * MICROS)
            left_s = max(0.0, (next_us - world.clock.now_us()) / MICROS)
            await world.store.signal.wait_past_or(seen, world.clock, left_s)

    async def _follow(self, next_us: int) -> int:
        """Tell the routers what is wanted, and deliver where `next_us` has come; when to deliver next."""
        world = self._world
        known = [trail for trail in await world.store.read(trails.every) if trail.is_logging]
        wanted = {f"{one.scope.account}/{one.scope.region}" for one in known if one.spec.wants_data}
        await world.record(tuple(sorted(wanted)))
        if world.clock.now_us() < next_us:
            return next_us
        await self.deliver(known)
        return world.clock.now_us() + round(PERIOD_S * MICROS)

    async def deliver(self, known: Sequence[TrailRecord]) -> None:
        """Everything that waits. What cannot be delivered waits on, and the trail's status says why."""
        now_us = self._world.clock.now_us()
        failed = {trail.uid: await self._deliver_rows(trail) for trail in known}
        taken = await self._world.threads.run(lambda: self._deliver_segments(known, failed))
        for trail in known:
            error = failed[trail.uid]
            if error and error != trail.delivery_error:
                self._log.error("A trail cannot be delivered.", trail=trail.name, error=error)
            if error or trail.delivery_error or trail.uid in taken:
                at_us = now_us if trail.uid in taken else None
                await self._world.store.write(
                    functools.partial(trails.note_delivery, uid=trail.uid, seq=None, at_us=at_us, error=error)
                )

    async def _deliver_rows(self, trail: TrailRecord) -> str:
        """New rows of the audit; what went wrong."""
        seq: int | None = max(trail.start_seq, trail.delivered_seq)
        while seq is not None:
            seq, error = await self._deliver_page(trail, seq)
            if error:
                return error
        return ""

    async def _deliver_page(self, trail: TrailRecord, after: int) -> tuple[int | None, str]:
        """The next rows; the last of them, None where there are no more, and what went wrong."""
        world = self._world
        where = (audit_table.c.account == trail.scope.account, audit_table.c.region == trail.scope.region)
        rows = await world.store.read(lambda connection: audit.oldest_first(connection, where, after, ROWS_MAX))
        if not rows:
            return None, ""
        records = [record for row in rows if trail.spec.wants(fields_of(record := record_of(row)))]
        error = await world.threads.run(lambda: self._put(trail, records))
        if not error:
            at_us = world.clock.now_us() if records else None
            noted = functools.partial(trails.note_delivery, uid=trail.uid, seq=rows[-1].seq, at_us=at_us, error="")
            await world.store.write(noted)
        return rows[-1].seq, error

    def _deliver_segments(self, known: Sequence[TrailRecord], failed: dict[str, str]) -> set[str]:
        """Routers' segments that are complete; the trails that got something. Blocking."""
        taken: set[str] = set()
        for path in [path for folder in self._world.spool.glob(f"*/{FOLDER}") for path in segments(folder)]:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if not is_complete(fd):
                    continue
                with os.fdopen(os.dup(fd), "rb") as file:
                    found = [record_of_invocation(one) for one in decode(file.read())]
                whole = True
                for trail in known:
                    mine = [record for record in found if _is_of(record, trail) and trail.spec.wants(fields_of(record))]
                    error = self._put(trail, mine)
                    if error:
                        failed[trail.uid], whole = error, False
                    elif mine:
                        taken.add(trail.uid)
                if whole:
                    path.unlink(missing_ok=True)
            finally:
                os.close(fd)
        return taken

    def _put(self, trail: TrailRecord, records: Sequence[dict[str, Any]]) -> str:
        """One object; what went wrong. Blocking."""
        if not records:
            return ""
        raw = gzip.compress(json.dumps({"Records": list(records)}, separators=(",", ":")).encode(), mtime=0)
        try:
            self._world.objects.put(trail.spec.bucket, key_of(trail, records[0]["eventTime"], raw), [raw])
        except Exception as error:
            # Any error of a store is the trail's to show.
            return f"{type(error).__name__}: {error}"[:500]
        return ""


def key_of(trail: TrailRecord, time: str, raw: bytes) -> str:
    """Where an object stands, by its first event's time and its content."""
    at = datetime.strptime(time, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    account, region = trail.scope.account, trail.scope.region
    digest = hashlib.sha256(raw).hexdigest()[:16]
    prefix = f"{trail.spec.prefix}/" if trail.spec.prefix else ""
    folder = f"{prefix}AWSLogs/{account}/CloudTrail/{region}/{at:%Y/%m/%d}"
    return f"{folder}/{account}_CloudTrail_{region}_{at:%Y%m%dT%H%MZ}_{digest}.json.gz"


def _is_of(record: dict[str, Any], trail: TrailRecord) -> bool:
    return (record["recipientAccountId"], record["awsRegion"]) == (trail.scope.account, trail.scope.region)
