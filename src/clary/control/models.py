"""Models: create, describe, list, delete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert

from clary.control.desk import Caller, Deed, Desk, Kind, audit, drop_tags, head, not_found, put_tags, require_free
from clary.domain.model import ModelSpec, check_model
from clary.domain.names import arn_of
from clary.domain.principal import Scope
from clary.store.documents import pack, unpack
from clary.store.named import After, ListQuery, columns_of, find, list_page
from clary.store.tables import models

KIND = Kind(models, "model", "Model")


@dataclass(frozen=True)
class Model:
    """A model as stored."""

    name: str
    arn: str
    created_us: int
    spec: ModelSpec


async def create(desk: Desk, caller: Caller, name: str, spec: ModelSpec, tags: dict[str, str]) -> str:
    """Store a model; its ARN. Raises Invalid, NotServed, AlreadyExists, LimitExceeded."""
    check_model(spec)
    now_us = desk.clock.now_us()
    uid = desk.ids.ulid(now_us)

    def work(connection: Connection) -> str:
        arn = require_free(connection, KIND, caller, name)
        connection.execute(insert(models).values(**head(caller, name, uid, now_us), spec=pack(spec)))
        put_tags(connection, uid, {}, tags)
        audit(connection, caller, KIND, Deed("Create", uid, arn, now_us))
        return arn

    return await desk.store.write(work)


async def describe(desk: Desk, caller: Caller, name: str) -> Model:
    """The model; NotFound."""
    row = await desk.store.read(lambda connection: find(connection, models, caller.scope, name))
    if row is None:
        raise not_found(KIND, caller, name)
    return _model(row)


async def list_models(desk: Desk, caller: Caller, query: ListQuery) -> tuple[list[Model], After | None]:
    """One page of models."""
    rows, more = await desk.store.read(
        lambda connection: list_page(connection, columns_of(models), caller.scope, query)
    )
    return [_model(row) for row in rows], more


async def remove(desk: Desk, caller: Caller, name: str) -> None:
    """Delete the entry; endpoints made from it go on serving from their revision. NotFound."""
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> None:
        row = find(connection, models, caller.scope, name)
        if row is None:
            raise not_found(KIND, caller, name)
        connection.execute(delete(models).where(models.c.uid == row.uid))
        drop_tags(connection, row.uid)
        arn = arn_of(KIND.noun, caller.scope, row.name)
        audit(connection, caller, KIND, Deed("Delete", row.uid, arn, now_us))

    await desk.store.write(work)


def _model(row: Row[Any]) -> Model:
    return Model(
        row.name,
        arn_of(KIND.noun, Scope(row.account, row.region), row.name),
        row.created_us,
        unpack(row.spec, ModelSpec),
    )
