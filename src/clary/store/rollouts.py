"""Rows of guarded rollouts: how each is to go (control's), and how far it is (reconcile's)."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from clary.domain.rollout import Deployment, Progress
from clary.store.documents import pack, unpack
from clary.store.tables import revisions, rollouts


def deployment_of(document: str | None) -> Deployment | None:
    """The column `revisions.deployment` as a value."""
    return None if document is None else unpack(document, Deployment)


def last_deployment(connection: Connection, endpoint_uid: str) -> Deployment | None:
    """The configuration that was given last, to CreateEndpoint or UpdateEndpoint; None where none ever was."""
    query = (
        select(revisions.c.deployment)
        .where(revisions.c.endpoint_uid == endpoint_uid, revisions.c.deployment.is_not(None))
        .order_by(revisions.c.generation.desc())
        .limit(1)
    )
    return deployment_of(connection.execute(query).scalar())


def progress_of(connection: Connection, endpoint_uid: str, generation: int) -> Progress | None:
    """How far a rollout is; None before reconcile looked at it, and for an update without one."""
    found = connection.execute(
        select(rollouts.c.progress).where(rollouts.c.endpoint_uid == endpoint_uid, rollouts.c.generation == generation)
    ).scalar()
    return None if found is None else unpack(found, Progress)


def note_progress(connection: Connection, endpoint_uid: str, generation: int, progress: Progress) -> None:
    """Note how far a rollout is."""
    connection.execute(
        delete(rollouts).where(rollouts.c.endpoint_uid == endpoint_uid, rollouts.c.generation == generation)
    )
    connection.execute(
        insert(rollouts).values(endpoint_uid=endpoint_uid, generation=generation, progress=pack(progress))
    )
