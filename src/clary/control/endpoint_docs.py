"""What an endpoint's own pages say of it, as the store has it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from clary.control.desk import Desk
from clary.domain.endpoint import Revision
from clary.domain.principal import Scope
from clary.domain.states import EndpointStatus
from clary.store.documents import unpack
from clary.store.endpoints import endpoint_by_uid
from clary.store.tables import replicas, revisions


@dataclass(frozen=True)
class VariantFacts:
    """One production variant."""

    name: str
    weight: float
    instances: int
    model_name: str
    image: str
    runtime: str
    replica_uids: tuple[str, ...]
    """Of those that are in service."""


@dataclass(frozen=True)
class EndpointFacts:
    """One endpoint; its variants are those that serve, or those that are wanted while none does."""

    scope: Scope
    name: str
    status: EndpointStatus
    failure_reason: str
    generation: int
    variants: tuple[VariantFacts, ...]


async def facts(desk: Desk, uid: str) -> EndpointFacts | None:
    """The endpoint, or None where it is gone."""
    return await desk.store.read(lambda connection: _facts(connection, uid))


def _facts(connection: Connection, uid: str) -> EndpointFacts | None:
    record = endpoint_by_uid(connection, uid)
    if record is None:
        return None
    ready = connection.execute(
        select(replicas.c.uid, replicas.c.variant, replicas.c.generation)
        .where(replicas.c.endpoint_uid == uid, replicas.c.ready_us.is_not(None), replicas.c.draining_us.is_(None))
        .order_by(replicas.c.uid)
    ).all()
    generation = max((row.generation for row in ready), default=record.generation)
    spec = connection.execute(
        select(revisions.c.spec).where(revisions.c.endpoint_uid == uid, revisions.c.generation == generation)
    ).scalar_one()
    return EndpointFacts(
        scope=record.scope,
        name=record.name,
        status=record.status,
        failure_reason=record.failure_reason,
        generation=generation,
        variants=tuple(
            VariantFacts(
                name=variant.name,
                weight=variant.weight,
                instances=variant.instance_count,
                model_name=variant.model_name,
                image=variant.container.image,
                runtime=variant.container.runtime,
                replica_uids=tuple(row.uid for row in ready if row.variant == variant.name),
            )
            for variant in unpack(spec, Revision).variants
        ),
    )
