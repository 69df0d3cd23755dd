"""Rows of actions and of their runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from clary.domain.actions import ActionSpec
from clary.store.documents import unpack
from clary.store.tables import action_runs, actions

RUNS_KEPT = 100
"""Of each action; the oldest go first."""
OUTPUT_CHARS_MAX = 4096
"""Of what a run said, its end."""

_NEWEST_FIRST = (action_runs.c.started_us.desc(), action_runs.c.uid.desc())


@dataclass(frozen=True)
class ActionRecord:
    """One action."""

    uid: str
    account: str
    name: str
    created_us: int
    spec: ActionSpec


@dataclass(frozen=True)
class Run:
    """One run of an action."""

    uid: str
    account: str
    name: str
    event_uid: str
    source: str
    """Of the event."""
    attempt: int
    """1 is the first."""
    started_us: int
    ended_us: int | None = None
    outcome: str = "running"
    """`running`, `succeeded`, `failed`, or `lost` where control ended before it."""
    reason: str = ""
    output: str = ""


def listed(connection: Connection, account: str) -> list[ActionRecord]:
    """Those of an account, by name."""
    rows = connection.execute(select(actions).where(actions.c.account == account).order_by(actions.c.name))
    return [_record(row) for row in rows]


def find(connection: Connection, account: str, name: str) -> ActionRecord | None:
    """One by its name."""
    query = select(actions).where(actions.c.account == account, actions.c.name == name)
    row = connection.execute(query).first()
    return None if row is None else _record(row)


def begin_run(connection: Connection, run: Run) -> None:
    """Note that a run begins; the oldest of its action go."""
    mine = (action_runs.c.account == run.account, action_runs.c.name == run.name)
    newest = select(action_runs.c.uid).where(*mine).order_by(*_NEWEST_FIRST)
    oldest = connection.execute(newest.offset(RUNS_KEPT - 1)).scalars().all()
    if oldest:
        connection.execute(delete(action_runs).where(action_runs.c.uid.in_(oldest)))
    values = {name: getattr(run, name) for name in Run.__dataclass_fields__}
    connection.execute(insert(action_runs).values(**values))


def end_run(connection: Connection, uid: str, now_us: int, outcome: str, reason: str, output: str) -> None:
    """Note how a run ended."""
    values = {"ended_us": now_us, "outcome": outcome, "reason": reason, "output": output[-OUTPUT_CHARS_MAX:]}
    connection.execute(update(action_runs).where(action_runs.c.uid == uid).values(**values))


def lose_runs(connection: Connection, now_us: int) -> None:
    """What a control before this one had begun is lost: their events are delivered again."""
    values = {"ended_us": now_us, "outcome": "lost", "reason": "The server stopped while it ran."}
    connection.execute(update(action_runs).where(action_runs.c.ended_us.is_(None)).values(**values))


def runs_of(connection: Connection, account: str, name: str, limit: int = RUNS_KEPT) -> list[Run]:
    """The newest runs of an action, the newest first."""
    mine = (action_runs.c.account == account, action_runs.c.name == name)
    rows = connection.execute(select(action_runs).where(*mine).order_by(*_NEWEST_FIRST).limit(limit))
    return [Run(**row._mapping) for row in rows]


def _record(row: Row[Any]) -> ActionRecord:
    return ActionRecord(row.uid, row.account, row.name, row.created_us, unpack(row.spec, ActionSpec))
