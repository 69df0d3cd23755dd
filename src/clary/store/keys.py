"""Access keys as stored: sealed secrets in, opened keys out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection, Row, insert, select

from clary.kit.sigv4_claim import Key
from clary.store.seal import Seal, SealError
from clary.store.tables import keys

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class KeyRecord:
    """A key without its secret. Instants in UTC microseconds."""

    key_id: str
    account: str
    arn: str
    name: str
    """What `clary keys create` called it; `root` for the first."""
    created_us: int
    revoked_us: int | None


def put_key(connection: Connection, seal: Seal, record: KeyRecord, secret: str) -> None:
    """Store a new key with its secret sealed for this key id alone."""
    connection.execute(
        insert(keys).values(
            key_id=record.key_id,
            account=record.account,
            arn=record.arn,
            name=record.name,
            sealed=seal.close(secret, record.key_id),
            created_us=record.created_us,
        )
    )


def key_records(connection: Connection) -> list[KeyRecord]:
    """Every key, revoked ones too, oldest first."""
    return [_record(row) for row in connection.execute(select(keys).order_by(keys.c.created_us, keys.c.key_id))]


def live_keys(connection: Connection, seal: Seal) -> list[Key]:
    """Keys that may sign, opened. One that does not open signs nothing, and is no reason for the others not to."""
    live = []
    for row in connection.execute(select(keys).where(keys.c.revoked_us.is_(None)).order_by(keys.c.key_id)):
        try:
            secret = seal.open(row.sealed, row.key_id)
        except SealError as error:
            _log.error("an access key cannot be used", key_id=row.key_id, cause=str(error))
            continue
        live.append(Key(key_id=row.key_id, secret=secret, account=row.account, arn=row.arn))
    return live


def _record(row: Row[Any]) -> KeyRecord:
    return KeyRecord(row.key_id, row.account, row.arn, row.name, row.created_us, row.revoked_us)
