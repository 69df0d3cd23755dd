"""Rules of the default event bus: made, changed, given targets; and events that clients put on the bus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, delete, insert, update

from clary.control.desk import Caller, Deed, Desk, drop_tags, put_tags, tags_of
from clary.domain.errors import Invalid, LimitExceeded, NotFound
from clary.domain.event_inputs import TargetSpec
from clary.domain.rules import RULES_MAX, RuleSpec, check_rule, check_targets, rule_arn
from clary.kit.ids import uuid_of
from clary.kit.instants import stamp_s
from clary.store import deliveries, outbox
from clary.store import rules as rows
from clary.store.documents import pack
from clary.store.outbox import bus_arn
from clary.store.records import record
from clary.store.rules import RuleRecord
from clary.store.tables import event_rules

KIND = "rule"


@dataclass(frozen=True)
class Entry:
    """An event that a client puts on the bus."""

    source: str
    detail_type: str
    detail: Mapping[str, object]
    resources: tuple[str, ...]
    at_us: int | None
    """None: now."""


async def put(desk: Desk, caller: Caller, name: str, spec: RuleSpec, given: Mapping[str, str]) -> RuleRecord:
    """Make a rule, or make it anew with the targets and tags that it has. Invalid, LimitExceeded."""
    check_rule(spec)
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> RuleRecord:
        known = rows.find(connection, caller.scope, name)
        if known is not None:
            made = replace(known, spec=replace(spec, targets=known.spec.targets))
            _change(connection, made)
        else:
            if len(rows.of_scope(connection, caller.scope)) >= RULES_MAX:
                raise LimitExceeded("rules", RULES_MAX, KIND)
            made = RuleRecord(desk.ids.ulid(now_us), caller.scope, name, now_us, spec, None)
            where = {"account": caller.scope.account, "region": caller.scope.region, "name": name}
            values = {"uid": made.uid, **where, "created_us": now_us, "spec": pack(spec)}
            connection.execute(insert(event_rules).values(**values))
            put_tags(connection, made.uid, {}, dict(given))
        _audit(connection, caller, "PutRule", made, now_us)
        return made

    return await desk.store.write(work)


async def listed(desk: Desk, caller: Caller) -> list[RuleRecord]:
    """Those of an account and region, by name."""
    return await desk.store.read(lambda connection: rows.of_scope(connection, caller.scope))


async def found(desk: Desk, caller: Caller, name: str) -> RuleRecord:
    """One by its name. NotFound."""
    return await desk.store.read(lambda connection: _find(connection, caller, name))


async def remove(desk: Desk, caller: Caller, name: str) -> None:
    """Delete a rule without targets; none of that name is no error. Invalid."""

    def work(connection: Connection) -> None:
        rule = rows.find(connection, caller.scope, name)
        if rule is None:
            return
        if rule.spec.targets:
            raise Invalid("Rule can't be deleted since it has targets.")
        connection.execute(delete(event_rules).where(event_rules.c.uid == rule.uid))
        drop_tags(connection, rule.uid)
        _audit(connection, caller, "DeleteRule", rule, desk.clock.now_us())

    await desk.store.write(work)


async def switch(desk: Desk, caller: Caller, name: str, *, on: bool) -> None:
    """Enable or disable a rule. NotFound."""
    await _set(desk, caller, name, "EnableRule" if on else "DisableRule", lambda spec: replace(spec, enabled=on))


async def put_targets(desk: Desk, caller: Caller, name: str, targets: Sequence[TargetSpec]) -> None:
    """Add targets, or change those of the same ids. NotFound, Invalid, NotServed."""

    def change(spec: RuleSpec) -> RuleSpec:
        by_id = {one.id: one for one in (*spec.targets, *targets)}
        check_targets(list(by_id.values()), caller.scope.account)
        return replace(spec, targets=tuple(by_id.values()))

    await _set(desk, caller, name, "PutTargets", change)


async def remove_targets(desk: Desk, caller: Caller, name: str, ids: Sequence[str]) -> list[str]:
    """Remove targets; the ids that there are not. NotFound."""
    missing: list[str] = []

    def change(spec: RuleSpec) -> RuleSpec:
        known = {one.id for one in spec.targets}
        missing[:] = [one for one in ids if one not in known]
        return replace(spec, targets=tuple(one for one in spec.targets if one.id not in ids))

    await _set(desk, caller, name, "RemoveTargets", change)
    return missing


async def put_events(desk: Desk, caller: Caller, entries: Sequence[Entry]) -> list[str]:
    """Put events on the bus, in their order; their ids. LimitExceeded."""
    now_us = desk.clock.now_us()
    scope = caller.scope
    bus = bus_arn(scope)
    uids = [desk.ids.ulid(now_us) for _ in entries]
    made = [
        outbox.Event(
            uid,
            now_us,
            scope,
            entry.source,
            bus,
            {
                "version": "0",
                "detail-type": entry.detail_type,
                "source": entry.source,
                "account": scope.account,
                "time": stamp_s(now_us if entry.at_us is None else entry.at_us),
                "region": scope.region,
                "resources": list(entry.resources),
                "detail": entry.detail,
            },
        )
        for uid, entry in zip(uids, entries, strict=True)
    ]

    def work(connection: Connection) -> None:
        if deliveries.count_for(connection, bus) + len(made) > deliveries.WAITING_MAX:
            raise LimitExceeded("events that wait on the bus", deliveries.WAITING_MAX, "events")
        outbox.append(connection, *made)

    await desk.store.write(work)
    return [uuid_of(uid) for uid in uids]


# -- tags --------------------------------------------------------------------------------------------------------------


async def add_tags(desk: Desk, caller: Caller, arn: str, new: dict[str, str]) -> None:
    """Add or overwrite tags of a rule. NotFound, Invalid, LimitExceeded."""

    def work(connection: Connection) -> None:
        rule = _by_arn(connection, caller, arn)
        put_tags(connection, rule.uid, tags_of(connection, rule.uid), new)
        _audit(connection, caller, "TagResource", rule, desk.clock.now_us())

    await desk.store.write(work)


async def remove_tags(desk: Desk, caller: Caller, arn: str, keys: Sequence[str]) -> None:
    """Remove tags; keys that are not there are no error. NotFound."""

    def work(connection: Connection) -> None:
        rule = _by_arn(connection, caller, arn)
        drop_tags(connection, rule.uid, keys)
        _audit(connection, caller, "UntagResource", rule, desk.clock.now_us())

    await desk.store.write(work)


async def list_tags(desk: Desk, caller: Caller, arn: str) -> dict[str, str]:
    """All tags of a rule by key. NotFound."""
    return await desk.store.read(lambda connection: tags_of(connection, _by_arn(connection, caller, arn).uid))


def _by_arn(connection: Connection, caller: Caller, arn: str) -> RuleRecord:
    name = arn.rpartition("/")[2]
    if arn != rule_arn(caller.scope, name):
        raise NotFound(KIND, arn, arn)
    return _find(connection, caller, name)


async def _set(
    desk: Desk, caller: Caller, name: str, action: str, change: Callable[[RuleSpec], RuleSpec]
) -> None:  # fmt: skip
    def work(connection: Connection) -> None:
        rule = _find(connection, caller, name)
        _change(connection, replace(rule, spec=change(rule.spec)))
        _audit(connection, caller, action, rule, desk.clock.now_us())

    await desk.store.write(work)


def _change(connection: Connection, rule: RuleRecord) -> None:
    connection.execute(update(event_rules).where(event_rules.c.uid == rule.uid).values(spec=pack(rule.spec)))


def _find(connection: Connection, caller: Caller, name: str) -> RuleRecord:
    rule = rows.find(connection, caller.scope, name)
    if rule is None:
        raise NotFound(KIND, name, rule_arn(caller.scope, name))
    return rule


def _audit(connection: Connection, caller: Caller, verb: str, rule: RuleRecord, now_us: int) -> None:
    record(connection, caller, Deed(verb, rule.uid, rule.arn, now_us, KIND))
