"""Rows of rules of the event bus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select, update

from clary.domain.principal import Scope
from clary.domain.rules import RuleSpec, rule_arn
from clary.store.documents import unpack
from clary.store.tables import event_rules


@dataclass(frozen=True)
class RuleRecord:
    """One rule."""

    uid: str
    scope: Scope
    name: str
    created_us: int
    spec: RuleSpec
    ran_us: int | None

    @property
    def arn(self) -> str:
        """`arn:aws:events:REGION:ACCOUNT:rule/NAME`."""
        return rule_arn(self.scope, self.name)


def every(connection: Connection) -> list[RuleRecord]:
    """All rules, by account, region and name."""
    order = (event_rules.c.account, event_rules.c.region, event_rules.c.name)
    return [_record(row) for row in connection.execute(select(event_rules).order_by(*order))]


def of_scope(connection: Connection, scope: Scope) -> list[RuleRecord]:
    """Those of an account and region, by name."""
    mine = (event_rules.c.account == scope.account, event_rules.c.region == scope.region)
    rows = connection.execute(select(event_rules).where(*mine))
    # By code points, whatever the database's order of text.
    return sorted((_record(row) for row in rows), key=lambda rule: rule.name)


def find(connection: Connection, scope: Scope, name: str) -> RuleRecord | None:
    """One by its name."""
    return next((rule for rule in of_scope(connection, scope) if rule.name == name), None)


def note_run(connection: Connection, uid: str, now_us: int) -> None:
    """Its schedule has run up to now."""
    connection.execute(update(event_rules).where(event_rules.c.uid == uid).values(ran_us=now_us))


def _record(row: Row[Any]) -> RuleRecord:
    scope = Scope(row.account, row.region)
    return RuleRecord(row.uid, scope, row.name, row.created_us, unpack(row.spec, RuleSpec), row.ran_us)
