"""Endpoints: create, describe, list, delete. What is wanted is written here; reconcile makes it so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, insert, update

from clary.control import endpoint_configs, models
from clary.control.desk import Caller, Deed, Desk, Kind, audit, drop_tags, head, not_found, put_tags, require_free
from clary.control.scaling import drop_targets
from clary.domain.endpoint import EndpointConfigSpec, Revision, admit_change, freeze
from clary.domain.model import ModelSpec
from clary.domain.names import arn_of
from clary.domain.rollout import Deployment, Progress, check_deployment, check_sizes
from clary.domain.states import IN_TRANSITION, EndpointStatus
from clary.domain.versions import Fleet
from clary.store.documents import pack, unpack
from clary.store.endpoint_events import note_state
from clary.store.endpoints import ENDPOINT_COLUMNS, EndpointRecord, endpoint_record, fleet_of, ready_of
from clary.store.named import After, ListQuery, find, list_page
from clary.store.records import announce
from clary.store.rollouts import last_deployment, progress_of
from clary.store.tables import endpoint_configs as configs_table
from clary.store.tables import endpoints, revisions
from clary.store.tables import models as models_table

KIND = Kind(endpoints, "endpoint", "Endpoint")


@dataclass(frozen=True)
class Endpoint:
    """An endpoint as described."""

    record: EndpointRecord
    revision: Revision
    """What serves; before anything does, what is to."""
    ready: Mapping[str, int]
    """Variant name to replicas that are in service; a variant without any is absent."""
    pending: Pending | None = None
    """Of an update that is under way."""
    last_deployment: Deployment | None = None
    """The deployment configuration that was given last; None where none ever was."""


@dataclass(frozen=True)
class Pending:
    """An update that is under way."""

    revision: Revision
    same_version: bool
    """Only weights and capacities change."""
    started_us: int
    ready: Mapping[str, int]
    deployment: Deployment | None = None
    """How the update goes; None: all at once, without a bake."""
    progress: Progress | None = None
    """How far that is."""


async def create(
    desk: Desk,
    caller: Caller,
    name: str,
    config_name: str,
    tags: dict[str, str],
    deployment: Deployment | None = None,
) -> str:
    """Want an endpoint, with its configuration and models frozen as they are now; its ARN.

    `deployment` is kept for updates that retain it. Raises AlreadyExists, LimitExceeded, Invalid for a deployment that
    does not fit, and NotFound for the configuration or for a model that it names.
    """
    now_us = desk.clock.now_us()
    uid = desk.ids.ulid(now_us)
    if deployment is not None:
        check_deployment(deployment)
    kept = None if deployment is None else pack(deployment)

    def work(connection: Connection) -> str:
        arn = require_free(connection, KIND, caller, name)
        revision = frozen(connection, desk, caller, config_name, now_us)
        if deployment is not None:
            check_sizes(deployment, revision)
        connection.execute(insert(endpoints).values(**head(caller, name, uid, now_us), generation=1))
        connection.execute(
            insert(revisions).values(
                endpoint_uid=uid, generation=1, created_us=now_us, spec=pack(revision), deployment=kept
            )
        )
        put_tags(connection, uid, {}, tags)
        announce(connection, KIND.noun, uid, now_us)
        audit(connection, caller, KIND, Deed("Create", uid, arn, now_us))
        note_state(connection, desk.ids.ulid(now_us), uid, now_us)
        return arn

    return await desk.store.write(work)


async def describe(desk: Desk, caller: Caller, name: str, hold_s: float = 0.0) -> Endpoint:
    """The endpoint; NotFound.

    While it is in transition the answer is held until that ends (a deleted endpoint ends as NotFound), at most
    `hold_s` seconds: a client that polls and sleeps then needs one round trip.
    """
    deadline_s = desk.clock.monotonic_s() + hold_s
    uid = None
    while True:
        seen = desk.store.signal.version
        found = await desk.store.read(lambda connection: described(connection, caller, name))
        # Deleted and created anew while we held: the endpoint that was asked about is gone, this is another.
        if uid is not None and found.record.uid != uid:
            return found
        uid = found.record.uid
        left_s = deadline_s - desk.clock.monotonic_s()
        if found.record.status not in IN_TRANSITION or left_s <= 0:
            return found
        await desk.store.signal.wait_past_or(seen, desk.clock, left_s)


async def list_endpoints(desk: Desk, caller: Caller, query: ListQuery) -> tuple[list[EndpointRecord], After | None]:
    """One page of endpoints."""
    rows, more = await desk.store.read(lambda connection: list_page(connection, ENDPOINT_COLUMNS, caller.scope, query))
    return [endpoint_record(row) for row in rows], more


async def remove(desk: Desk, caller: Caller, name: str) -> None:
    """Want the endpoint gone. Raises NotFound, and InTransition unless it is InService or Failed."""
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> None:
        row = find(connection, endpoints, caller.scope, name)
        if row is None:
            raise not_found(KIND, caller, name)
        arn = arn_of(KIND.noun, caller.scope, row.name)
        admit_change(endpoint_record(row).status, row.name, arn)
        connection.execute(
            update(endpoints).where(endpoints.c.uid == row.uid).values(delete_requested_us=now_us, modified_us=now_us)
        )
        announce(connection, KIND.noun, row.uid, now_us)
        drop_tags(connection, row.uid)
        drop_targets(connection, row.uid)
        audit(connection, caller, KIND, Deed("Delete", row.uid, arn, now_us))
        note_state(connection, desk.ids.ulid(now_us), row.uid, now_us)

    await desk.store.write(work)


def arn(record: EndpointRecord) -> str:
    """The ARN of an endpoint."""
    return arn_of(KIND.noun, record.scope, record.name)


def frozen(connection: Connection, desk: Desk, caller: Caller, config_name: str, now_us: int) -> Revision:
    """The revision that a configuration and its models make now. Raises NotFound for any of them."""
    config = find(connection, configs_table, caller.scope, config_name)
    if config is None:
        raise not_found(endpoint_configs.KIND, caller, config_name)
    spec = unpack(config.spec, EndpointConfigSpec)
    resolved: dict[str, ModelSpec] = {}
    for variant in spec.variants:
        model = find(connection, models_table, caller.scope, variant.model_name)
        if model is None:
            raise not_found(models.KIND, caller, variant.model_name)
        resolved[variant.model_name] = unpack(model.spec, ModelSpec)
    return freeze(config.name, spec, resolved, [desk.ids.ulid(now_us) for _ in spec.variants])


def described(connection: Connection, caller: Caller, name: str) -> Endpoint:
    """As describe, at once."""
    row = find(connection, endpoints, caller.scope, name)
    if row is None:
        raise not_found(KIND, caller, name)
    record = endpoint_record(row)
    target = fleet_of(connection, record.uid, record.generation)
    last = last_deployment(connection, record.uid)
    if record.served_generation is None:
        return Endpoint(record, target.revision, _ready(connection, record.uid, target), last_deployment=last)
    served = fleet_of(connection, record.uid, record.served_generation)
    ready = _ready(connection, record.uid, served)
    if record.status is not EndpointStatus.UPDATING:
        return Endpoint(record, served.revision, ready, last_deployment=last)
    pending = Pending(
        target.revision,
        target.version == served.version,
        record.wished_us,
        _ready(connection, record.uid, target),
        target.deployment,
        progress_of(connection, record.uid, record.generation),
    )
    return Endpoint(record, served.revision, ready, pending, last)


def _ready(connection: Connection, uid: str, fleet: Fleet) -> dict[str, int]:
    """Replicas of a fleet that are in service, by variant; surplus ones, which are about to go, do not count."""
    wanted = {variant.name: variant.instance_count for variant in fleet.revision.variants}
    return {name: min(ready, wanted[name]) for name, ready in ready_of(connection, uid, fleet).items()}
