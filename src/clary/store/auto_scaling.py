"""Rows of scaling with no configuration."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, insert, select

from clary.domain.auto_scaling import AutoScale
from clary.store.documents import pack, unpack
from clary.store.tables import auto_scales


@dataclass(frozen=True)
class AutoScaled:
    """A variant that is scaled with no configuration."""

    endpoint_uid: str
    variant: str
    spec: AutoScale


def put_auto_scale(connection: Connection, endpoint_uid: str, variant: str, spec: AutoScale, now_us: int) -> None:
    """Scale a variant so; written by control alone."""
    drop_auto_scale(connection, endpoint_uid, variant)
    connection.execute(
        insert(auto_scales).values(endpoint_uid=endpoint_uid, variant=variant, modified_us=now_us, spec=pack(spec))
    )


def drop_auto_scale(connection: Connection, endpoint_uid: str, variant: str) -> bool:
    """Scale it no more; whether it was."""
    return connection.execute(delete(auto_scales).where(*_key(endpoint_uid, variant))).rowcount > 0


def auto_scales_of(connection: Connection, endpoint_uid: str | None = None) -> list[AutoScaled]:
    """Every variant that is scaled so, or those of one endpoint."""
    query = select(auto_scales).order_by(auto_scales.c.endpoint_uid, auto_scales.c.variant)
    if endpoint_uid is not None:
        query = query.where(auto_scales.c.endpoint_uid == endpoint_uid)
    return [AutoScaled(row.endpoint_uid, row.variant, unpack(row.spec, AutoScale)) for row in connection.execute(query)]


def _key(endpoint_uid: str, variant: str) -> tuple[ColumnElement[bool], ...]:
    return auto_scales.c.endpoint_uid == endpoint_uid, auto_scales.c.variant == variant
