"""Endpoint configurations: create, describe, list, delete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert

from clary.control import models
from clary.control.desk import Caller, Deed, Desk, Kind, audit, drop_tags, head, not_found, put_tags, require_free
from clary.domain.endpoint import EndpointConfigSpec, check_config
from clary.domain.names import arn_of
from clary.domain.principal import Scope
from clary.store.documents import pack, unpack
from clary.store.named import After, ListQuery, columns_of, find, list_page
from clary.store.tables import endpoint_configs
from clary.store.tables import models as models_table

KIND = Kind(endpoint_configs, "endpoint-config", "EndpointConfig")


@dataclass(frozen=True)
class EndpointConfig:
    """An endpoint configuration as stored."""

    name: str
    arn: str
    created_us: int
    spec: EndpointConfigSpec


async def create(desk: Desk, caller: Caller, name: str, spec: EndpointConfigSpec, tags: dict[str, str]) -> str:
    """Store a configuration; its ARN. Raises Invalid, AlreadyExists, LimitExceeded, NotFound for a model it names."""
    check_config(spec)
    now_us = desk.clock.now_us()
    uid = desk.ids.ulid(now_us)

    def work(connection: Connection) -> str:
        arn = require_free(connection, KIND, caller, name)
        for variant in spec.variants:
            if find(connection, models_table, caller.scope, variant.model_name) is None:
                raise not_found(models.KIND, caller, variant.model_name)
        connection.execute(insert(endpoint_configs).values(**head(caller, name, uid, now_us), spec=pack(spec)))
        put_tags(connection, uid, {}, tags)
        audit(connection, caller, KIND, Deed("Create", uid, arn, now_us))
        return arn

    return await desk.store.write(work)


async def describe(desk: Desk, caller: Caller, name: str) -> EndpointConfig:
    """The configuration; NotFound."""
    row = await desk.store.read(lambda connection: find(connection, endpoint_configs, caller.scope, name))
    if row is None:
        raise not_found(KIND, caller, name)
    return _config(row)


async def list_configs(desk: Desk, caller: Caller, query: ListQuery) -> tuple[list[EndpointConfig], After | None]:
    """One page of configurations."""
    rows, more = await desk.store.read(
        lambda connection: list_page(connection, columns_of(endpoint_configs), caller.scope, query)
    )
    return [_config(row) for row in rows], more


async def remove(desk: Desk, caller: Caller, name: str) -> None:
    """Delete the entry; endpoints made from it go on serving from their revision. NotFound."""
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> None:
        row = find(connection, endpoint_configs, caller.scope, name)
        if row is None:
            raise not_found(KIND, caller, name)
        connection.execute(delete(endpoint_configs).where(endpoint_configs.c.uid == row.uid))
        drop_tags(connection, row.uid)
        arn = arn_of(KIND.noun, caller.scope, row.name)
        audit(connection, caller, KIND, Deed("Delete", row.uid, arn, now_us))

    await desk.store.write(work)


def _config(row: Row[Any]) -> EndpointConfig:
    return EndpointConfig(
        row.name,
        arn_of(KIND.noun, Scope(row.account, row.region), row.name),
        row.created_us,
        unpack(row.spec, EndpointConfigSpec),
    )
