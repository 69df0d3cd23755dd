"""Endpoint rows: what control wants, what reconcile saw, and the status that follows from both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, case, func, select

from clary.domain.endpoint import Revision, scaled, status_of
from clary.domain.principal import Scope
from clary.domain.states import EndpointStatus
from clary.domain.versions import Fleet, Outcome, Wish
from clary.store.documents import unpack
from clary.store.named import observed
from clary.store.rollouts import deployment_of
from clary.store.scaling import scales_of
from clary.store.tables import endpoints, replicas, revisions


@dataclass(frozen=True)
class EndpointRecord:
    """One endpoint as stored. Instants in UTC microseconds."""

    uid: str
    scope: Scope
    name: str
    created_us: int
    modified_us: int
    """The later of the last wish and the last observation."""
    wished_us: int
    """The last wish."""
    generation: int
    delete_requested_us: int | None
    observed_generation: int | None
    observed_status: EndpointStatus | None
    failure_reason: str
    served_generation: int | None = None
    """The last that came into service."""
    mixed_generation: int | None = None
    """Serves beside it: of a rolling update that could not be taken back."""

    @property
    def status(self) -> EndpointStatus:
        """What DescribeEndpoint says."""
        return status_of(
            self.generation,
            self.delete_requested_us is not None,
            self.observed_generation,
            self.observed_status,
            mixed=self.mixed_generation is not None,
        )


# status_of again, as SQL, for filters and sorts; a test holds the two together.
_status = case(
    (endpoints.c.delete_requested_us.is_not(None), EndpointStatus.DELETING.value),
    (endpoints.c.observed_status.is_(None), EndpointStatus.CREATING.value),
    (endpoints.c.observed_generation < endpoints.c.generation, EndpointStatus.UPDATING.value),
    (
        endpoints.c.mixed_generation.is_not(None) & (endpoints.c.observed_status == EndpointStatus.IN_SERVICE.value),
        EndpointStatus.ROLLBACK_FAILED.value,
    ),
    else_=endpoints.c.observed_status,
)
ENDPOINT_COLUMNS = observed(endpoints, _status)


def endpoint_record(row: Row[Any]) -> EndpointRecord:
    """A row of `endpoints` as a value."""
    return EndpointRecord(
        uid=row.uid,
        scope=Scope(row.account, row.region),
        name=row.name,
        created_us=row.created_us,
        modified_us=max(row.modified_us, row.observed_us or 0),
        wished_us=row.modified_us,
        generation=row.generation,
        delete_requested_us=row.delete_requested_us,
        observed_generation=row.observed_generation,
        observed_status=EndpointStatus(row.observed_status) if row.observed_status else None,
        failure_reason=row.failure_reason or "",
        served_generation=row.served_generation,
        mixed_generation=row.mixed_generation,
    )


def endpoint_by_uid(connection: Connection, uid: str) -> EndpointRecord | None:
    """The endpoint, or None where it is gone."""
    row = connection.execute(select(endpoints).where(endpoints.c.uid == uid)).first()
    return None if row is None else endpoint_record(row)


def fleet_of(connection: Connection, uid: str, generation: int) -> Fleet:
    """The frozen revision of a generation, with its version; it exists as long as its endpoint does.

    Counts that scaling gave its variants since stand in the place of the revision's own.
    """
    row = connection.execute(
        select(revisions.c.version, revisions.c.spec, revisions.c.deployment).where(
            revisions.c.endpoint_uid == uid, revisions.c.generation == generation
        )
    ).one()
    revision = scaled(unpack(row.spec, Revision), scales_of(connection, uid, generation))
    return Fleet(generation, row.version, revision, deployment_of(row.deployment))


def ready_of(connection: Connection, uid: str, fleet: Fleet) -> dict[str, int]:
    """Replicas of a fleet that were ready and do not drain, by the name of their variant; one without is absent."""
    generations = select(revisions.c.generation).where(
        revisions.c.endpoint_uid == uid, revisions.c.version == fleet.version
    )
    counts = connection.execute(
        select(replicas.c.variant, func.count().label("ready"))
        .where(
            replicas.c.endpoint_uid == uid,
            replicas.c.generation.in_(generations),
            replicas.c.ready_us.is_not(None),
            replicas.c.draining_us.is_(None),
        )
        .group_by(replicas.c.variant)
    )
    return {row.variant: row.ready for row in counts}


def wishes_of(connection: Connection, uid: str) -> list[Wish]:
    """Every generation of an endpoint, oldest first."""
    columns = (revisions.c.generation, revisions.c.version, revisions.c.outcome, revisions.c.reason)
    rows = connection.execute(select(*columns).where(revisions.c.endpoint_uid == uid).order_by(revisions.c.generation))
    return [
        Wish(row.generation, row.version, Outcome(row.outcome) if row.outcome else None, row.reason or "")
        for row in rows
    ]
