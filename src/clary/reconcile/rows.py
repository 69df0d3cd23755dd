"""Reconcile's rows: what it reads of control's, and all that it writes itself. Sync functions of a transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select, update

from clary.domain.alarms import AlarmValue
from clary.domain.endpoint import Revision, awake
from clary.domain.model import Container
from clary.domain.rollout import Progress
from clary.domain.states import EndpointStatus, step
from clary.domain.versions import Fleet, Outcome, Wish, lineage_of, states_of
from clary.placement.base import ReplicaPhase, ReplicaState
from clary.reconcile.actions import SetStatus
from clary.reconcile.facts import Have, PinHave, ReplicaHave, Want, Watched
from clary.store.alarm_history import tripped
from clary.store.alarms import alarm_states
from clary.store.documents import unpack
from clary.store.endpoints import EndpointRecord, endpoint_by_uid, fleet_of, wishes_of
from clary.store.rollouts import progress_of
from clary.store.tables import auto_scales, endpoints, pins, replicas, revisions, rollouts, variant_scales


@dataclass(frozen=True)
class Noted:
    """One endpoint as it stands in the store, before placement was asked."""

    record: EndpointRecord
    wishes: tuple[Wish, ...]
    """Every generation, oldest first."""
    fleets: Mapping[int, Fleet]
    """By generation: the newest, the one that serves, and those of all replicas."""
    pins: Mapping[tuple[int, str], PinHave]
    """By version and URL."""
    replicas: tuple[Row[Any], ...]
    rollout: NotedRollout


@dataclass(frozen=True)
class NotedRollout:
    """What concerns the rollout of the newest generation; and of a mix of fleets, where there is one."""

    progress: Progress | None = None
    mix: Progress | None = None
    alarms: Mapping[str, Watched] = field(default_factory=dict)
    aborted: bool = False
    promoted_step: int = 0


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
    found = connection.execute(select(replicas).where(replicas.c.endpoint_uid == uid).order_by(replicas.c.uid)).all()
    serving = {generation for generation in (record.served_generation, record.mixed_generation) if generation}
    generations = {record.generation, *serving, *(row.generation for row in found)}
    fleets = {generation: fleet_of(connection, uid, generation) for generation in sorted(generations)}
    return Noted(
        record=record,
        wishes=tuple(wishes_of(connection, uid)),
        fleets=fleets,
        pins={(row.version, row.url): PinHave(row.digest, row.cause, row.remedy) for row in _pins(connection, uid)},
        replicas=tuple(found),
        rollout=_rollout(connection, record, fleets[record.generation]),
    )


def _rollout(connection: Connection, record: EndpointRecord, target: Fleet) -> NotedRollout:
    mixed = record.mixed_generation
    mix = None if mixed is None else progress_of(connection, record.uid, mixed)
    if target.deployment is None:
        return NotedRollout(mix=mix)
    names = target.deployment.alarms
    states = alarm_states(connection, record.scope, names)
    wish = connection.execute(
        select(revisions.c.created_us, revisions.c.abort_us, revisions.c.promoted_step).where(
            revisions.c.endpoint_uid == record.uid, revisions.c.generation == record.generation
        )
    ).one()
    watched = {name: Watched(state.value is AlarmValue.ALARM, state.evaluated_us) for name, state in states.items()}
    for name in tripped(connection, record.scope, names, wish.created_us) if names else ():
        watched[name] = replace(watched.get(name, Watched(False, None)), tripped=True)
    return NotedRollout(
        progress=progress_of(connection, record.uid, record.generation),
        mix=mix,
        alarms=watched,
        aborted=wish.abort_us is not None,
        promoted_step=wish.promoted_step or 0,
    )


def want_of(noted: Noted) -> Want:
    """What control wrote."""
    record = noted.record
    served = record.served_generation
    return Want(
        uid=record.uid,
        scope=record.scope,
        name=record.name,
        deleting=record.delete_requested_us is not None,
        target=noted.fleets[record.generation],
        base=None if served is None else _base(noted, served),
        lineage=lineage_of(states_of(noted.wishes, served)),
        mixed=None if record.mixed_generation is None else noted.fleets[record.mixed_generation],
        aborted=noted.rollout.aborted,
        promoted_step=noted.rollout.promoted_step,
    )


def _base(noted: Noted, served: int) -> Fleet:
    """What serves. While an update is under way it is not scaled, and what was scaled to none bears its part."""
    fleet = noted.fleets[served]
    if noted.record.status is EndpointStatus.IN_SERVICE:
        return fleet
    return replace(fleet, revision=awake(fleet.revision))


def have_of(noted: Noted, observed: Mapping[str, ReplicaState]) -> Have:
    """What reconcile noted, with what placement observes; the route is act's to add."""
    return Have(
        status=noted.record.status,
        pins=noted.pins,
        replicas=tuple(
            _replica(row, noted.fleets[row.generation].revision, observed.get(row.uid)) for row in noted.replicas
        ),
        rollout=noted.rollout.progress,
        mix=noted.rollout.mix,
        alarms=noted.rollout.alarms,
    )


def _replica(row: Row[Any], revision: Revision, state: ReplicaState | None) -> ReplicaHave:
    # Told to run and not yet seen: placement is still to start it. Told to stop and not seen: it is gone.
    unseen = ReplicaPhase.STARTING if row.stopping_us is None else ReplicaPhase.GONE
    return ReplicaHave(
        uid=row.uid,
        generation=row.generation,
        variant=row.variant,
        variant_uid=next(variant.uid for variant in revision.variants if variant.name == row.variant),
        phase=state.phase if state else unseen,
        started_us=row.started_us,
        address=state.address if state else "",
        routed_address=row.address,
        draining_us=row.draining_us,
        stopping_us=row.stopping_us,
        cause=state.cause if state else "",
        remedy=state.remedy if state else "",
        restarts=state.restarts if state else 0,
    )


def wished_replicas(connection: Connection) -> list[NotedReplica]:
    """Every replica of every endpoint that should run."""
    found = connection.execute(select(replicas).where(replicas.c.stopping_us.is_(None)).order_by(replicas.c.uid))
    return [_noted_replica(connection, row) for row in found.all()]


def resting_replicas(connection: Connection) -> list[NotedReplica]:
    """What a replica of each variant that was scaled to none would be; its threads do not matter."""
    found = []
    for row in connection.execute(select(variant_scales).where(variant_scales.c.instances == 0)):
        record = endpoint_by_uid(connection, row.endpoint_uid)
        if record is None or record.delete_requested_us is not None or record.served_generation != row.generation:
            continue
        fleet = fleet_of(connection, row.endpoint_uid, row.generation)
        noted = _noted(connection, record, fleet, f"rest-{row.endpoint_uid}-{row.variant}", row.variant, 1)
        found += [] if noted is None else [noted]
    return found


def wished_replica(connection: Connection, uid: str) -> NotedReplica:
    """One replica that should run."""
    return _noted_replica(connection, connection.execute(select(replicas).where(replicas.c.uid == uid)).one())


def _noted_replica(connection: Connection, row: Row[Any]) -> NotedReplica:
    record = endpoint_by_uid(connection, row.endpoint_uid)
    assert record is not None, "an endpoint's row goes last"
    fleet = fleet_of(connection, row.endpoint_uid, row.generation)
    noted = _noted(connection, record, fleet, row.uid, row.variant, row.threads)
    assert noted is not None, "a replica's artifact is pinned before it starts"
    return noted


def _noted(
    connection: Connection, record: EndpointRecord, fleet: Fleet, uid: str, variant: str, threads: int
) -> NotedReplica | None:
    url = next(v.container.artifact for v in fleet.revision.variants if v.name == variant)
    digest = pinned_digest(connection, PinKey(record.uid, fleet.version, url))
    return NotedReplica(uid, record, fleet.revision, variant, threads, digest) if digest else None


def replica_owners(connection: Connection) -> dict[str, str]:
    """Endpoint uid by replica uid, of every replica that is noted."""
    return {row.uid: row.endpoint_uid for row in connection.execute(select(replicas.c.uid, replicas.c.endpoint_uid))}


def pinned_digests(connection: Connection) -> set[str]:
    """Artifacts that an endpoint stands on: what the sweep must keep."""
    return set(connection.execute(select(pins.c.digest).where(pins.c.digest != "")).scalars())


def pinned_containers(connection: Connection) -> list[tuple[str, Container]]:
    """Digest and container of every variant of every version whose artifact is pinned."""
    digests = {(row.endpoint_uid, row.version, row.url): row.digest for row in connection.execute(select(pins))}
    found = []
    for row in connection.execute(select(revisions.c.endpoint_uid, revisions.c.version, revisions.c.spec)):
        for variant in unpack(row.spec, Revision).variants:
            digest = digests.get((row.endpoint_uid, row.version, variant.container.artifact))
            if digest:
                found.append((digest, variant.container))
    return found


class ArtifactChangedError(RuntimeError):
    """An artifact that went missing was fetched again and is another one: a revision never changes under its name."""


@dataclass(frozen=True)
class PinKey:
    """What a pin is of."""

    endpoint_uid: str
    version: int
    url: str

    @property
    def where(self) -> tuple[ColumnElement[bool], ...]:
        """The conditions of its row."""
        return (
            pins.c.endpoint_uid == self.endpoint_uid,
            pins.c.version == self.version,
            pins.c.url == self.url,
        )


def pinned_digest(connection: Connection, key: PinKey) -> str:
    """What an artifact was pinned as; empty where it was not."""
    return connection.execute(select(pins.c.digest).where(*key.where)).scalar() or ""


def add_pin(connection: Connection, key: PinKey, pin: PinHave, now_us: int) -> bool:
    """Note what became of an artifact; whether it was pinned before. Raises ArtifactChangedError."""
    old = connection.execute(select(pins.c.digest).where(*key.where)).scalar()
    if old and pin.digest != old:
        raise ArtifactChangedError(f"{key.url} was pinned as {old} and is now {pin.digest or pin.cause}")
    connection.execute(delete(pins).where(*key.where))
    connection.execute(
        insert(pins).values(**asdict(key), digest=pin.digest, cause=pin.cause, remedy=pin.remedy, pinned_us=now_us)
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


def set_status(connection: Connection, want: Want, action: SetStatus, now_us: int) -> None:
    """Note how the newest generation ended.

    A delete asked for meanwhile stays: the described status follows it whatever is noted here.
    """
    served = action.status is EndpointStatus.IN_SERVICE
    _settle(connection, want, action.status, action.reason, now_us)
    if served:
        connection.execute(
            update(endpoints)
            .where(endpoints.c.uid == want.uid)
            .values(served_generation=want.target.generation, mixed_generation=None)
        )
    _end(connection, want, Outcome.SERVED if served else Outcome.FAILED, action.reason)


def fall_back(connection: Connection, want: Want, reason: str, now_us: int) -> None:
    """Note that the newest generation failed and the one before it goes on.

    What could not be fetched is forgotten: a later attempt at that version fetches it anew.
    """
    _settle(connection, want, EndpointStatus.IN_SERVICE, reason, now_us)
    _end(connection, want, Outcome.FAILED, reason)
    connection.execute(
        delete(pins).where(pins.c.endpoint_uid == want.uid, pins.c.version == want.target.version, pins.c.digest == "")
    )


def note_mix(connection: Connection, want: Want, reason: str, now_us: int) -> None:
    """Note that the newest generation failed, cannot be taken back, and serves beside the one before it."""
    _settle(connection, want, EndpointStatus.ROLLBACK_FAILED, reason, now_us)
    connection.execute(
        update(endpoints).where(endpoints.c.uid == want.uid).values(mixed_generation=want.target.generation)
    )
    _end(connection, want, Outcome.FAILED, reason)


def _settle(connection: Connection, want: Want, status: EndpointStatus, reason: str, now_us: int) -> None:
    record = endpoint_by_uid(connection, want.uid)
    assert record is not None, "only reconcile drops an endpoint's row"
    if record.status is not EndpointStatus.DELETING:
        step(record.status, status)
    # The mix itself tells ROLLBACK_FAILED from IN_SERVICE (domain/endpoint.status_of).
    observed = EndpointStatus.IN_SERVICE if status is EndpointStatus.ROLLBACK_FAILED else status
    connection.execute(
        update(endpoints)
        .where(endpoints.c.uid == want.uid)
        .values(
            observed_generation=want.target.generation,
            observed_status=observed.value,
            failure_reason=reason or None,
            observed_us=now_us,
        )
    )


def _end(connection: Connection, want: Want, outcome: Outcome, reason: str) -> None:
    connection.execute(
        update(revisions)
        .where(revisions.c.endpoint_uid == want.uid, revisions.c.generation == want.target.generation)
        .values(outcome=outcome.value, reason=reason or None)
    )


def drop_endpoint(connection: Connection, uid: str) -> None:
    """Drop every row of an endpoint that control wanted gone and that nothing runs for."""
    for table in (replicas, pins, revisions, rollouts, variant_scales, auto_scales):
        connection.execute(delete(table).where(table.c.endpoint_uid == uid))
    connection.execute(delete(endpoints).where(endpoints.c.uid == uid))


def _pins(connection: Connection, uid: str) -> list[Row[Any]]:
    return list(connection.execute(select(pins).where(pins.c.endpoint_uid == uid)).all())
