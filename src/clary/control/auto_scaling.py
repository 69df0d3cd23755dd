"""Scaling with no configuration: what is wanted is written here; reconcile scales, by the routers' own counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from clary.control.desk import Caller, Deed, Desk, Kind, not_found
from clary.domain.auto_scaling import AutoScale, Limits, check_auto_scale, limits_of
from clary.domain.endpoint import RevisionVariant
from clary.domain.errors import Invalid
from clary.domain.names import arn_of, name_key
from clary.domain.versions import Fleet
from clary.store.auto_scaling import auto_scales_of, drop_auto_scale, put_auto_scale
from clary.store.endpoints import EndpointRecord, endpoint_record, fleet_of, ready_of
from clary.store.named import find
from clary.store.records import record as audit_row
from clary.store.scaling import targets_of
from clary.store.tables import endpoints

KIND = Kind(endpoints, "endpoint", "Endpoint")


@dataclass(frozen=True)
class Change:
    """What is to be other than it is; None: as it is, or the default."""

    concurrency: int | None = None
    least: int | None = None
    most: int | None = None
    window_s: int | None = None


@dataclass(frozen=True)
class Scaled:
    """How a variant is scaled now."""

    endpoint_uid: str
    variant: str
    spec: AutoScale | None
    """None: not so."""
    limits: Limits | None
    """Of `spec` on this machine."""
    registered: bool
    """It is a scalable target of Application Auto Scaling."""
    wanted: int
    ready: int


async def show(desk: Desk, caller: Caller, name: str, cores: int) -> tuple[str, list[Scaled]]:
    """The endpoint's name in its own case, and every variant of what serves, or of what starts. NotFound."""

    def work(connection: Connection) -> tuple[str, list[Scaled]]:
        record = _record(connection, caller, name)
        return record.name, _shown(connection, record, cores)

    return await desk.store.read(work)


async def put(desk: Desk, caller: Caller, name: str, variant: str, change: Change, cores: int) -> None:
    """Scale a variant so; an empty `variant`: the only one.

    NotFound; Invalid for what cannot be, and for a scalable target of Application Auto Scaling.
    """
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> None:
        record = _record(connection, caller, name)
        chosen = _variant(_fleet(connection, record).revision.variants, record.name, variant).name
        if any(target.variant == chosen for target in targets_of(connection, record.uid)):
            raise Invalid(
                f"The variant {chosen} of endpoint {record.name} is registered with Application Auto Scaling, which "
                "scales it. Deregister it first (DeregisterScalableTarget)."
            )
        old = next((one.spec for one in auto_scales_of(connection, record.uid) if one.variant == chosen), AutoScale())
        given = {
            key: value
            for key, value in (
                ("concurrency", change.concurrency),
                ("least", change.least),
                ("most", change.most),
                ("window_s", change.window_s),
            )
            if value is not None
        }
        spec = replace(old, **given)
        check_auto_scale(spec, cores)
        put_auto_scale(connection, record.uid, chosen, spec, now_us)
        _record_deed(connection, caller, record, "PutAutoScale", now_us)

    await desk.store.write(work)


async def off(desk: Desk, caller: Caller, name: str, variant: str) -> None:
    """Scale a variant no more; it keeps the replicas that it has. NotFound, Invalid."""
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> None:
        record = _record(connection, caller, name)
        chosen = _variant(_fleet(connection, record).revision.variants, record.name, variant).name
        if drop_auto_scale(connection, record.uid, chosen):
            _record_deed(connection, caller, record, "DeleteAutoScale", now_us)

    await desk.store.write(work)


def _shown(connection: Connection, record: EndpointRecord, cores: int) -> list[Scaled]:
    fleet = _fleet(connection, record)
    ready = ready_of(connection, record.uid, fleet)
    specs = {one.variant: one.spec for one in auto_scales_of(connection, record.uid)}
    registered = {target.variant for target in targets_of(connection, record.uid)}
    return [
        Scaled(
            endpoint_uid=record.uid,
            variant=one.name,
            spec=specs.get(one.name),
            limits=limits_of(specs[one.name], cores) if one.name in specs else None,
            registered=one.name in registered,
            wanted=one.instance_count,
            ready=ready.get(one.name, 0),
        )
        for one in fleet.revision.variants
    ]


def _record(connection: Connection, caller: Caller, name: str) -> EndpointRecord:
    row = find(connection, endpoints, caller.scope, name)
    if row is None or row.delete_requested_us is not None:
        raise not_found(KIND, caller, name)
    return endpoint_record(row)


def _fleet(connection: Connection, record: EndpointRecord) -> Fleet:
    """What serves; before the first came into service: what starts."""
    return fleet_of(connection, record.uid, record.served_generation or record.generation)


def _variant(variants: Sequence[RevisionVariant], endpoint: str, name: str) -> RevisionVariant:
    names = ", ".join(one.name for one in variants)
    if not name and len(variants) > 1:
        raise Invalid(f"The endpoint {endpoint} has several variants: {names}. Say which one.")
    found = next((one for one in variants if not name or name_key(one.name) == name_key(name)), None)
    if found is None:
        raise Invalid(f"The endpoint {endpoint} has no variant {name}. It has: {names}.")
    return found


def _record_deed(connection: Connection, caller: Caller, record: EndpointRecord, action: str, now_us: int) -> None:
    arn = arn_of(KIND.noun, caller.scope, record.name)
    audit_row(connection, caller, Deed(action, record.uid, arn, now_us, KIND.noun))
