"""The audit: rows in a chain of hashes, appended with the deeds they tell of, read and pruned in order.

A row's hash is SHA-256 over the hash before it, a line end, and the row's content: its columns that are not empty, but
for `seq` and `hash`, as JSON with sorted names. So no row can be changed, taken out or put in without the rows after it
showing it; only who rewrites all of them stays unseen, unless a hash was kept elsewhere (`verify` with `known`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select

from clary.store.tables import audit, audit_checkpoints

GENESIS = "0" * 64
"""The hash before the first row."""
STEP_ROWS = 2_000
"""Rows read, or deleted, in one transaction."""


@dataclass(frozen=True)
class Entry:
    """One row."""

    seq: int
    at_us: int
    action: str
    kind: str
    resource_uid: str
    resource: str
    account: str
    principal_arn: str
    key_id: str
    session: str
    request_id: str
    region: str
    username: str
    resource_name: str
    source: str
    user_agent: str
    source_ip: str
    parameters: str
    error_code: str
    error_message: str
    hash: str

    @property
    def event_id(self) -> str:
        """A UUID's form of the first half of the hash: as unique as the row."""
        digits = self.hash[:32]
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


@dataclass(frozen=True)
class Checkpoint:
    """Up to where rows were deleted."""

    seq: int = 0
    hash: str = GENESIS
    deleted_rows: int = 0


@dataclass(frozen=True)
class Walk:
    """How far a verification came."""

    seq: int
    """Of the last row seen."""
    hash: str
    rows: int = 0
    broken_seq: int | None = None
    """The first row whose hash is not that of its content and of the row before it."""
    done: bool = False


def link(previous: str, row: Mapping[str, object]) -> str:
    """The hash of a row after the one with hash `previous`. `row`: its columns by name."""
    content = {name: value for name, value in row.items() if name not in ("seq", "hash") and value not in ("", None)}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()


def append(connection: Connection, row: Mapping[str, object]) -> None:
    """Add a row: its columns by name, without `seq` and `hash`. Within the one writing transaction at a time."""
    connection.execute(insert(audit).values(**row, hash=link(_last_hash(connection), row)))


def newest_first(
    connection: Connection, where: Sequence[ColumnElement[bool]], before_seq: int | None, limit: int
) -> list[Entry]:
    """At most `limit` rows that fit, older than `before_seq`."""
    older = () if before_seq is None else (audit.c.seq < before_seq,)
    rows = connection.execute(select(audit).where(and_(True, *where, *older)).order_by(audit.c.seq.desc()).limit(limit))
    return [Entry(**row) for row in rows.mappings()]


def oldest_first(
    connection: Connection, where: Sequence[ColumnElement[bool]], after_seq: int, limit: int
) -> list[Entry]:
    """At most `limit` rows that fit, newer than `after_seq`."""
    query = select(audit).where(and_(audit.c.seq > after_seq, *where)).order_by(audit.c.seq).limit(limit)
    return [Entry(**row) for row in connection.execute(query).mappings()]


def checkpoint(connection: Connection) -> Checkpoint:
    """The newest."""
    row = connection.execute(select(audit_checkpoints).order_by(audit_checkpoints.c.seq.desc()).limit(1)).first()
    return Checkpoint() if row is None else Checkpoint(row.seq, row.hash, row.deleted_rows)


def walk(connection: Connection, at: Walk | None) -> Walk:
    """Check the next rows, from the checkpoint on where `at` is None."""
    if at is None:
        start = checkpoint(connection)
        at = Walk(start.seq, start.hash)
    rows = connection.execute(select(audit).where(audit.c.seq > at.seq).order_by(audit.c.seq).limit(STEP_ROWS))
    seq, previous, count = at.seq, at.hash, at.rows
    for row in rows.mappings():
        content = {str(name): value for name, value in row.items()}
        if link(previous, content) != row["hash"]:
            return Walk(seq, previous, count, row["seq"], done=True)
        seq, previous, count = row["seq"], row["hash"], count + 1
    return Walk(seq, previous, count, done=count < at.rows + STEP_ROWS)


def hash_of(connection: Connection, seq: int) -> str | None:
    """The hash of a row that is there, or of the one that a checkpoint stands for."""
    found = connection.execute(select(audit.c.hash).where(audit.c.seq == seq)).scalar()
    if found is None:
        found = connection.execute(select(audit_checkpoints.c.hash).where(audit_checkpoints.c.seq == seq)).scalar()
    return None if found is None else str(found)


def is_prunable(connection: Connection, before_us: int, rows_max: int) -> bool:
    """Whether `prune` would delete anything."""
    oldest = connection.execute(select(audit.c.seq, audit.c.at_us).order_by(audit.c.seq).limit(1)).first()
    count = connection.execute(select(func.count()).select_from(audit)).scalar() or 0
    return oldest is not None and count > 1 and (oldest.at_us < before_us or count > rows_max)


def prune(connection: Connection, before_us: int, rows_max: int, now_us: int) -> int:
    """Delete the oldest rows that are older than `before_us` or too many, the newest never. Gives how many went: at
    most STEP_ROWS, so that a caller goes on while there are as many."""
    start = checkpoint(connection)
    newest = connection.execute(select(func.max(audit.c.seq))).scalar() or 0
    rows = connection.execute(
        select(audit.c.seq, audit.c.at_us, audit.c.hash)
        .where(audit.c.seq > start.seq, audit.c.seq < newest)
        .order_by(audit.c.seq)
        .limit(STEP_ROWS)
    ).all()
    surplus = max(0, (connection.execute(select(func.count()).select_from(audit)).scalar() or 0) - rows_max)
    going: list[Any] = []
    for number, row in enumerate(rows):
        if row.at_us >= before_us and number >= surplus:
            break
        going.append(row)
    if not going:
        return 0
    last = going[-1]
    mark = {"seq": last.seq, "hash": last.hash, "deleted_rows": start.deleted_rows + len(going), "at_us": now_us}
    connection.execute(insert(audit_checkpoints).values(**mark))
    connection.execute(delete(audit).where(audit.c.seq <= last.seq))
    return len(going)


def _last_hash(connection: Connection) -> str:
    last = connection.execute(select(audit.c.hash).order_by(audit.c.seq.desc()).limit(1)).scalar()
    return checkpoint(connection).hash if last is None else str(last)
