"""The audit: what is looked up in it, whether it is whole, how long it is kept, and calls that made no row themselves.

A use case writes its row in the transaction of its deed. Calls that change something elsewhere (log groups, metrics'
alarms) and calls that failed are told to the witness: it writes its rows once a second, all in one transaction, so that
a client that fails in a loop costs no write a call. Calls that only read leave no row, nor do those that carry data.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections import deque
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection, func
from sqlalchemy.exc import SQLAlchemyError

from clary.control.desk import Desk
from clary.domain.errors import Invalid
from clary.kit.clock import MICROS
from clary.store import audit as rows
from clary.store.audit import Checkpoint, Entry, Walk
from clary.store.base import StoreUnavailableError, patience_s
from clary.store.records import Caller, Deed, record
from clary.store.tables import audit

READS = re.compile(r"(Describe|List|Get|Search|Lookup|Filter|Head|Test|Simulate|BatchGet|BatchDescribe|StartLiveTail)")
"""Operations whose names begin so change nothing."""
DATA = frozenset({"PutLogEvents", "PutMetricData", "BatchPutMetrics", "InvokeEndpoint", "InvokeEndpointAsync"})
"""Data events, as CloudTrail calls them, not management events."""
SECOND_S = 1.0
PRUNE_S = 3600.0
LAST_S = 2.0
"""For what waits when control ends."""
KEPT_DAYS = 400
ROWS_MAX = 1_000_000
"""Rows kept, about 1 GB at most."""
WAITING_MAX = 1_000
"""Rows of the witness within a second; more are counted in the log alone."""
LOOKUP_DAYS = 90
"""How far back LookupEvents sees (its API reference)."""
DAY_US = 86_400 * MICROS


@dataclass(frozen=True)
class Sought:
    """Which rows."""

    account: str
    region: str
    start_us: int
    end_us: int
    key: str = ""
    """EventId, EventName, ReadOnly, Username, ResourceType, ResourceName, EventSource, AccessKeyId; empty: all."""
    value: str = ""
    """Compared as it stands; for ResourceType, Clary's noun (`endpoint-config`)."""


@dataclass(frozen=True)
class Verdict:
    """Whether the chain is whole."""

    rows: int
    """Checked and found right."""
    head_seq: int
    head_hash: str
    """Of the last row that was right: worth keeping elsewhere."""
    pruned_rows: int
    broken_seq: int | None
    """The first row that was changed, or stands after one that was taken out."""
    known_is_right: bool | None
    """Whether the row that the caller knows has the hash that the caller knows; None where none was given."""


class Auditor:
    """Writes for calls without a row of their own, and prunes."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._waiting: deque[tuple[Caller, Deed, str, str]] = deque()
        self._dropped = 0
        self._log = structlog.get_logger(__name__)

    def witness(self, caller: Caller, error_code: str, error_message: str) -> None:
        """Note a call that made no row; edge/aws/asked.Witness."""
        operation = caller.asked.operation
        if READS.match(operation) or operation in DATA:
            return
        if len(self._waiting) >= WAITING_MAX:
            self._dropped += 1
            return
        self._waiting.append((caller, Deed(operation, "", "", self._desk.clock.now_us()), error_code, error_message))

    async def run(self) -> None:
        """Write what was told once a second, and prune once an hour, forever; the rest when it is cancelled."""
        next_us = 0
        failed = False
        try:
            while True:
                now_us = self._desk.clock.now_us()
                try:
                    await self.flush()
                    if now_us >= next_us:
                        next_us = now_us + round(PRUNE_S * MICROS)
                        await prune(self._desk)
                    failed = False
                except SQLAlchemyError as error:
                    if not failed:
                        self._log.error("Rows of the audit wait: the store takes none.", error=str(error))
                    failed = True
                await self._desk.clock.sleep(SECOND_S)
        finally:
            patience_s.set(LAST_S)
            with contextlib.suppress(SQLAlchemyError, StoreUnavailableError):
                await self.flush()

    async def flush(self) -> None:
        """Write what was told so far; what cannot be written waits on."""
        told = list(self._waiting)
        dropped, self._dropped = self._dropped, 0
        if dropped:
            self._log.warning("The audit left calls out: too many in one second.", calls=dropped)
        if not told:
            return

        def work(connection: Connection) -> None:
            for caller, deed, code, message in told:
                record(connection, caller, deed, code, message)

        await self._desk.store.write(work)
        for _ in told:
            self._waiting.popleft()


async def prune(desk: Desk) -> None:
    """Delete what is older than KEPT_DAYS, and the oldest above ROWS_MAX."""
    now_us = desk.clock.now_us()

    def due(connection: Connection) -> bool:
        return rows.is_prunable(connection, now_us - KEPT_DAYS * DAY_US, ROWS_MAX)

    while await desk.store.read(due):
        await desk.store.write(lambda connection: rows.prune(connection, now_us - KEPT_DAYS * DAY_US, ROWS_MAX, now_us))


async def lookup(desk: Desk, sought: Sought, before_seq: int | None, limit: int) -> tuple[list[Entry], bool]:
    """The newest rows that fit, and whether there are more."""
    floor_us = desk.clock.now_us() - LOOKUP_DAYS * DAY_US
    where = [
        audit.c.account == sought.account,
        audit.c.region.in_((sought.region, "")),
        audit.c.at_us >= max(sought.start_us, floor_us),
        audit.c.at_us <= sought.end_us,
    ]
    value = sought.value
    if sought.key == "EventId":
        where.append(audit.c.hash.like(re.sub(r"[^0-9a-f]", "", value.lower())[:32].ljust(32, "x") + "%"))
    elif sought.key == "ReadOnly":
        # Calls that only read are not recorded.
        where.append(audit.c.seq < 0 if value.lower() == "true" else audit.c.seq > 0)
    elif sought.key == "ResourceName":
        name = re.split(r"[/:]", value)[-1].lower()
        where.append(func.lower(audit.c.resource_name) == name)
        if ":" in value:
            where.append(audit.c.resource == value)
    elif sought.key:
        column = {
            "EventName": audit.c.action,
            "Username": audit.c.username,
            "ResourceType": audit.c.kind,
            "EventSource": audit.c.source,
            "AccessKeyId": audit.c.key_id,
        }[sought.key]
        where.append(column == value)
    found = await desk.store.read(lambda connection: rows.newest_first(connection, where, before_seq, limit + 1))
    return found[:limit], len(found) > limit


async def verify(desk: Desk, known: str = "") -> Verdict:
    """Walk the whole chain, in many short transactions. `known`: `SEQ:HASH` of an earlier verdict. Invalid."""
    right: bool | None = None
    if known:
        seq, _, digest = known.partition(":")
        if not (seq.isascii() and seq.isdigit() and len(seq) < 19 and re.fullmatch(r"[0-9a-f]{64}", digest)):
            raise Invalid("A known head is SEQ:HASH, as an earlier verification printed it.")
        right = await desk.store.read(lambda connection: rows.hash_of(connection, int(seq))) == digest
    before: Checkpoint = await desk.store.read(rows.checkpoint)
    at: Walk | None = None
    while at is None or not at.done:
        at = await desk.store.read(functools.partial(rows.walk, at=at))
    return Verdict(at.rows, at.seq, at.hash, before.deleted_rows, at.broken_seq, right)
