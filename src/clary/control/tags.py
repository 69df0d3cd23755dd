"""Tags of a resource, found by its ARN."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, Row

from clary.control import endpoint_configs, endpoints, models, training, tuning
from clary.control.desk import Caller, Desk, Kind, drop_tags, put_tags, tags_of
from clary.domain.errors import Invalid, NotFound, NotServed
from clary.domain.names import arn_of
from clary.domain.principal import Scope
from clary.store.named import find
from clary.store.records import Deed, record

_KINDS: dict[str, Kind] = {
    kind.noun: kind for kind in (models.KIND, endpoint_configs.KIND, endpoints.KIND, training.KIND, tuning.KIND)
}
_ARN = re.compile(r"arn:aws[a-z-]*:sagemaker:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):(?P<noun>[a-z-]+)/(?P<name>.+)")


async def add(desk: Desk, caller: Caller, arn: str, new: dict[str, str]) -> dict[str, str]:
    """Add or overwrite tags; all tags of the resource. Raises NotFound, Invalid, LimitExceeded."""
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> dict[str, str]:
        kind, row = _resource(connection, caller, arn)
        old = tags_of(connection, row.uid)
        put_tags(connection, row.uid, old, new)
        record(connection, caller, Deed("AddTags", row.uid, _arn(kind, row), now_us, kind.noun))
        return dict(sorted({**old, **new}.items()))

    return await desk.store.write(work)


async def remove(desk: Desk, caller: Caller, arn: str, keys: list[str]) -> None:
    """Remove tags; keys that are not there are no error. Raises NotFound."""
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> None:
        kind, row = _resource(connection, caller, arn)
        drop_tags(connection, row.uid, keys)
        record(connection, caller, Deed("DeleteTags", row.uid, _arn(kind, row), now_us, kind.noun))

    await desk.store.write(work)


async def list_tags(desk: Desk, caller: Caller, arn: str) -> dict[str, str]:
    """All tags by key, at most 50: one page. Raises NotFound."""

    def work(connection: Connection) -> dict[str, str]:
        _, row = _resource(connection, caller, arn)
        return tags_of(connection, row.uid)

    return await desk.store.read(work)


def _resource(connection: Connection, caller: Caller, arn: str) -> tuple[Kind, Row[Any]]:
    """The resource of an ARN in the caller's account and region; ARNs match without regard to case."""
    parts = _ARN.fullmatch(arn)
    if parts is None:
        raise Invalid(f"Value '{arn}' at ResourceArn is not the ARN of a SageMaker resource.")
    kind = _KINDS.get(parts["noun"].lower())
    if kind is None:
        raise NotServed(f"Tagging a {parts['noun']}", f"Tags are kept for: {', '.join(_KINDS)}.")
    scope = Scope(parts["account"], parts["region"])
    row = find(connection, kind.table, scope, parts["name"]) if scope == caller.scope else None
    if row is None:
        raise NotFound(kind.noun, parts["name"], arn)
    return kind, row


def _arn(kind: Kind, row: Row[Any]) -> str:
    return arn_of(kind.noun, Scope(row.account, row.region), row.name)
