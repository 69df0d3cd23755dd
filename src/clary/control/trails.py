"""Trails: made, changed, started and stopped. What they want is delivered by control/trail_delivery.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Connection, delete, insert, update

from clary.control.desk import Caller, Deed, Desk
from clary.domain.errors import AlreadyExists, LimitExceeded, NotFound
from clary.domain.principal import Scope
from clary.domain.trails import Selector, TrailSpec
from clary.store import trails as rows
from clary.store.documents import pack
from clary.store.records import record
from clary.store.tables import trails
from clary.store.trails import TrailRecord

KIND = "trail"
TRAILS_MAX = 5
"""Of an account and region (quotas of CloudTrail)."""


async def create(desk: Desk, caller: Caller, name: str, spec: TrailSpec) -> TrailRecord:
    """A new trail, not yet logging. AlreadyExists, LimitExceeded."""
    now_us = desk.clock.now_us()
    made = TrailRecord(desk.ids.ulid(now_us), caller.scope, name, spec, None, None, 0, 0, None, "")

    def work(connection: Connection) -> None:
        held = rows.of_scope(connection, caller.scope)
        if any(one.name == name for one in held):
            raise AlreadyExists(KIND, name, made.arn)
        if len(held) >= TRAILS_MAX:
            raise LimitExceeded("trails", TRAILS_MAX, KIND)
        values = {"uid": made.uid, "account": made.scope.account, "region": made.scope.region, "name": name}
        more = {"start_seq": 0, "delivered_seq": 0, "delivery_error": ""}
        connection.execute(insert(trails).values(**values, **more, created_us=now_us, spec=pack(spec)))
        _audit(connection, caller, "CreateTrail", made, now_us)

    await desk.store.write(work)
    return made


async def listed(desk: Desk, scope: Scope) -> list[TrailRecord]:
    """Those of an account and region, by name."""
    return await desk.store.read(lambda connection: rows.of_scope(connection, scope))


async def found(desk: Desk, scope: Scope, name: str) -> TrailRecord:
    """One, by its name or ARN; NotFound."""
    return await desk.store.read(lambda connection: _find(connection, scope, name))


async def remove(desk: Desk, caller: Caller, name: str) -> None:
    """Delete a trail; what it delivered stays. NotFound."""

    def work(connection: Connection) -> None:
        trail = _find(connection, caller.scope, name)
        connection.execute(delete(trails).where(trails.c.uid == trail.uid))
        _audit(connection, caller, "DeleteTrail", trail, desk.clock.now_us())

    await desk.store.write(work)


async def select_events(desk: Desk, caller: Caller, name: str, selectors: tuple[Selector, ...]) -> TrailRecord:
    """Want other events. NotFound."""
    return await _change(desk, caller, name, "PutEventSelectors", lambda spec: replace(spec, selectors=selectors))


async def retarget(desk: Desk, caller: Caller, name: str, change: Callable[[TrailSpec], TrailSpec]) -> TrailRecord:
    """Deliver elsewhere. NotFound."""
    return await _change(desk, caller, name, "UpdateTrail", change)


async def _change(
    desk: Desk, caller: Caller, name: str, action: str, change: Callable[[TrailSpec], TrailSpec]
) -> TrailRecord:
    def work(connection: Connection) -> TrailRecord:
        trail = _find(connection, caller.scope, name)
        spec = change(trail.spec)
        connection.execute(update(trails).where(trails.c.uid == trail.uid).values(spec=pack(spec)))
        _audit(connection, caller, action, trail, desk.clock.now_us())
        return replace(trail, spec=spec)

    return await desk.store.write(work)


async def switch(desk: Desk, caller: Caller, name: str, *, on: bool) -> None:
    """Begin or end logging; events from then on. NotFound."""
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> None:
        trail = _find(connection, caller.scope, name)
        _audit(connection, caller, "StartLogging" if on else "StopLogging", trail, now_us)
        values: dict[str, int | None] = {"stopped_us": now_us}
        if on and not trail.is_logging:
            values = {"started_us": now_us, "stopped_us": None, "start_seq": rows.last_seq(connection)}
        if on != trail.is_logging:
            connection.execute(update(trails).where(trails.c.uid == trail.uid).values(**values))

    await desk.store.write(work)


def _find(connection: Connection, scope: Scope, name: str) -> TrailRecord:
    for trail in rows.of_scope(connection, scope):
        if name in (trail.name, trail.arn):
            return trail
    raise NotFound(KIND, name, name)


def _audit(connection: Connection, caller: Caller, action: str, trail: TrailRecord, now_us: int) -> None:
    record(connection, caller, Deed(action, trail.uid, trail.arn, now_us, KIND))
