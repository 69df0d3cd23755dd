"""Reconcile's rows: what it reads of control's, and all that it writes itself. Sync functions of a transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from clary.domain.endpoint import Revision
from clary.domain.states import EndpointStatus, step
from clary.placement.base import ReplicaPhase, ReplicaState
from clary.reconcile.endpoint import Have, PinHave, ReplicaHave, SetStatus, Want
from clary.store.endpoints import EndpointRecord, endpoint_by_uid, revision_of
from clary.store.tables import endpoints, pins, replicas, revisions


@dataclass(frozen=True)
class Noted:
    """One endpoint as it stands in the store, before placement was asked."""

    record: EndpointRecord
    revision: Revision
    pins: Mapping[str, PinHave]
    replicas: tuple[Row[Any], ...]


@dataclass(frozen=True)
class NotedReplica:
    """A replica that should run, with what its specification is made from."""

    uid: str
    endpoint: EndpointRecord
    revision: Revision
    variant: str
    threads: int
    digest: str


def endpoint_uids(connection: Connection) -> list[str]:
    """Every endpoint."""
    return list(connection.execute(select(endpoints.c.uid).order_by(endpoints.c.uid)).scalars())


def read_noted(connection: Connection, uid: str) -> Noted | None:
    """One endpoint, or None where it is gone."""
    record = endpoint_by_uid(connection, uid)
    if record is None:
        return None
    found = connection.execute(select(replicas).where(replicas.c.endpoint_uid == uid).order_by(replicas.c.uid))
    return Noted(
        record=record,
        revision=revision_of(connection, uid, record.generation),
        pins={row.url: PinHave(row.digest, row.cause, row.remedy) for row in _pins(connection, uid)},
        replicas=tuple(found.all()),
    )


def want_of(noted: Noted) -> Want:
    """What control wrote."""
    record = noted.record
    return Want(
        uid=record.uid,
        scope=record.scope,
        name=record.name,
        generation=record.generation,
        deleting=record.delete_requested_us is not None,
        revision=noted.revision,
    )


def have_of(noted: Noted, observed: Mapping[str, ReplicaState]) -> Have:
    """What reconcile noted, with what placement observes; the route is act's to add."""
    return Have(
        status=noted.record.status,
        pins=noted.pins,
        replicas=tuple(_replica(row, observed.get(row.uid)) for row in noted.replicas),
    )


def _replica(row: Row[Any], state: ReplicaState | None) -> ReplicaHave:
    # Told to run and not yet seen: placement is still to start it. Told to stop and not seen: it is gone.
    unseen = ReplicaPhase.STARTING if row.stopping_us is None else ReplicaPhase.GONE
    return ReplicaHave(
        uid=row.uid,
        generation=row.generation,
        variant=row.variant,
        phase=state.phase if state else unseen,
        started_us=row.started_us,
        address=state.address if state else "",
        routed_address=row.address,
        draining_us=row.draining_us,
        stopping_us=row.stopping_us,
        cause=state.cause if state else "",
        remedy=state.remedy if state else "",
    )


def wished_replicas(connection: Connection) -> list[NotedReplica]:
    """Every replica of every endpoint that should run."""
    found = connection.execute(select(replicas).where(replicas.c.stopping_us.is_(None)).order_by(replicas.c.uid))
    return [_noted_replica(connection, row) for row in found.all()]


def wished_replica(connection: Connection, uid: str) -> NotedReplica:
    """One replica that should run."""
    return _noted_replica(connection, connection.execute(select(replicas).where(replicas.c.uid == uid)).one())


def _noted_replica(connection: Connection, row: Row[Any]) -> NotedReplica:
    record = endpoint_by_uid(connection, row.endpoint_uid)
    assert record is not None, "an endpoint's row goes last"
    revision = revision_of(connection, row.endpoint_uid, row.generation)
    url = next(v.container.model_data_url for v in revision.variants if v.name == row.variant)
    digest = connection.execute(
        select(pins.c.digest).where(pins.c.endpoint_uid == row.endpoint_uid, pins.c.url == url)
    ).scalar_one()
    return NotedReplica(row.uid, record, revision, row.variant, row.threads, digest)


def replica_owners(connection: Connection) -> dict[str, str]:
    """Endpoint uid by replica uid, of every replica that is noted."""
    return {row.uid: row.endpoint_uid for row in connection.execute(select(replicas.c.uid, replicas.c.endpoint_uid))}


def pinned_digests(connection: Connection) -> set[str]:
    """Artifacts that an endpoint stands on: what the sweep must keep."""
    return set(connection.execute(select(pins.c.digest).where(pins.c.digest != "")).scalars())


class ArtifactChangedError(RuntimeError):
    """An artifact that went missing was fetched again and is another one: a revision never changes under its name."""


def add_pin(connection: Connection, uid: str, url: str, pin: PinHave, now_us: int) -> bool:
    """Note what became of an artifact; whether it was pinned before. Raises ArtifactChangedError."""
    where = (pins.c.endpoint_uid == uid, pins.c.url == url)
    old = connection.execute(select(pins.c.digest).where(*where)).scalar()
    if old and pin.digest != old:
        raise ArtifactChangedError(f"{url} was pinned as {old} and is now {pin.digest or pin.cause}")
    connection.execute(delete(pins).where(*where))
    connection.execute(
        insert(pins).values(
            endpoint_uid=uid, url=url, digest=pin.digest, cause=pin.cause, remedy=pin.remedy, pinned_us=now_us
        )
    )
    return bool(old)


@dataclass(frozen=True)
class NewReplica:
    """The columns a replica starts with."""

    uid: str
    endpoint_uid: str
    generation: int
    variant: str
    threads: int


def add_replica(connection: Connection, new: NewReplica, now_us: int) -> None:
    """Wish a replica; durable before placement hears of it, so that none runs that nobody knows."""
    connection.execute(insert(replicas).values(**asdict(new), address="", started_us=now_us))


def mark_ready(connection: Connection, uid: str, address: str, now_us: int) -> None:
    """Note where a replica answers, and since when."""
    connection.execute(update(replicas).where(replicas.c.uid == uid).values(address=address))
    connection.execute(
        update(replicas).where(replicas.c.uid == uid, replicas.c.ready_us.is_(None)).values(ready_us=now_us)
    )


def mark_draining(connection: Connection, uid: str, now_us: int) -> None:
    """Note since when a replica drains."""
    connection.execute(update(replicas).where(replicas.c.uid == uid).values(draining_us=now_us))


def mark_stopping(connection: Connection, uid: str, now_us: int) -> None:
    """Take a replica off the wish."""
    connection.execute(update(replicas).where(replicas.c.uid == uid).values(stopping_us=now_us))


def drop_replica(connection: Connection, uid: str) -> None:
    """Forget a replica whose process is gone."""
    connection.execute(delete(replicas).where(replicas.c.uid == uid))


def set_status(connection: Connection, uid: str, generation: int, action: SetStatus, now_us: int) -> EndpointStatus:
    """Note how a generation ended; the status described from now on.

    A delete asked for meanwhile stays: the described status follows it whatever is noted here.
    """
    record = endpoint_by_uid(connection, uid)
    assert record is not None, "only reconcile drops an endpoint's row"
    if record.status is not EndpointStatus.DELETING:
        step(record.status, action.status)
    connection.execute(
        update(endpoints)
        .where(endpoints.c.uid == uid)
        .values(
            observed_generation=generation,
            observed_status=action.status.value,
            failure_reason=action.reason or None,
            observed_us=now_us,
        )
    )
    return action.status


def drop_endpoint(connection: Connection, uid: str) -> None:
    """Drop every row of an endpoint that control wanted gone and that nothing runs for."""
    for table in (replicas, pins, revisions):
        connection.execute(delete(table).where(table.c.endpoint_uid == uid))
    connection.execute(delete(endpoints).where(endpoints.c.uid == uid))


def _pins(connection: Connection, uid: str) -> list[Row[Any]]:
    return list(connection.execute(select(pins).where(pins.c.endpoint_uid == uid)).all())
