"""Alarms: define, describe, set, delete, tag. What is wanted is written here; reconcile evaluates it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sqlalchemy import Connection

from clary.control.desk import Caller, Deed, Desk, drop_tags, put_tags, tags_of
from clary.domain.alarm_rules import children_of, suppressor_of
from clary.domain.alarms import (
    Alarm,
    AlarmSpec,
    AlarmValue,
    CompositeAlarm,
    MetricAlarm,
    MetricStat,
    SetState,
    alarm_arn,
    alarm_name,
    check_alarm,
    initial_state,
    stamp,
)
from clary.domain.errors import DomainError, Invalid, LimitExceeded, NotFound, NotServed
from clary.domain.principal import Scope
from clary.store import alarm_history
from clary.store.alarm_history import HistoryQuery, Item, encode_data
from clary.store.alarms import COMPOSITE, METRIC, alarms_of, change, delete_alarms, find_alarm, put, set_state
from clary.store.records import record
from clary.telemetry.expressions import check, compile
from clary.telemetry.statistics import parse_stat

NOUN = "alarm"
ALARMS_MAX = 5000
"""Alarms of one account and region (quota of the service)."""
SET_HOLD_S = 2.0
"""SetAlarmState answers once the state is seen, at most so many seconds later: DescribeAlarms then shows it."""


@dataclass(frozen=True)
class AlarmFilter:
    """Which alarms DescribeAlarms gives."""

    names: Collection[str] = ()
    """Of these only; empty: of all."""
    prefix: str = ""
    kinds: Collection[str] = (METRIC,)
    value: AlarmValue | None = None
    action_prefix: str = ""


async def put_alarm(desk: Desk, caller: Caller, name: str, spec: AlarmSpec, tags: dict[str, str]) -> None:
    """Define an alarm; one that there is keeps its state and its tags. Raises Invalid, NotServed, LimitExceeded."""
    if not name.isprintable():
        raise Invalid("An alarm's name must not contain control characters.")
    check_spec(spec)
    now_us = desk.clock.now_us()
    uid = desk.ids.ulid(now_us)

    def work(connection: Connection) -> None:
        found = {alarm.name: alarm for alarm in alarms_of(connection, caller.scope)}
        if name not in found and len(found) >= ALARMS_MAX:
            raise LimitExceeded("alarms of an account and region", ALARMS_MAX, "alarms")
        if isinstance(spec, CompositeAlarm):
            _check_composite(found, caller.scope, name, spec, uid, now_us)
        elif name in found and isinstance(found[name].spec, CompositeAlarm):
            raise Invalid(f"An alarm named {name} exists already, and is a composite alarm.")
        old = put(connection, caller.scope, name, spec, uid, now_us)
        if old is None:
            put_tags(connection, uid, {}, tags)
        done = "Create" if old is None else "Update"
        _note(connection, caller.scope, name, spec, done, now_us)
        operation = "PutMetricAlarm" if isinstance(spec, MetricAlarm) else "PutCompositeAlarm"
        _audit(connection, caller, operation, old.uid if old else uid, name, now_us)

    await desk.store.write(work)


async def describe(desk: Desk, caller: Caller, wanted: AlarmFilter) -> Sequence[Alarm]:
    """Alarms in the order of their names."""

    def meets(alarm: Alarm) -> bool:
        actions = alarm.spec.actions
        arns = (*actions.ok, *actions.alarm, *actions.insufficient)
        return (
            (not wanted.names or alarm.name in wanted.names)
            and alarm.name.startswith(wanted.prefix)
            and kind_of(alarm) in wanted.kinds
            and wanted.value in (None, alarm.state.value)
            and (not wanted.action_prefix or any(arn.startswith(wanted.action_prefix) for arn in arns))
        )

    return [alarm for alarm in await _all(desk, caller) if meets(alarm)]


async def children(desk: Desk, caller: Caller, name: str) -> Sequence[Alarm]:
    """Alarms that the rule of a composite alarm names. Raises NotFound."""
    found = {alarm.name: alarm for alarm in await _all(desk, caller)}
    if name not in found:
        raise not_found(caller, name)
    names = set(children_of(found[name]))
    return [alarm for alarm in found.values() if alarm.name in names]


async def parents(desk: Desk, caller: Caller, name: str) -> Sequence[Alarm]:
    """Composite alarms whose rules name an alarm. Raises NotFound."""
    found = await _all(desk, caller)
    if all(alarm.name != name for alarm in found):
        raise not_found(caller, name)
    return [alarm for alarm in found if name in children_of(alarm)]


async def of_metric(desk: Desk, caller: Caller, asked: Callable[[MetricStat], bool]) -> Sequence[Alarm]:
    """Alarms on one metric of which that is true; those on expressions are not among them."""

    def meets(alarm: Alarm) -> bool:
        spec = alarm.spec
        if not isinstance(spec, MetricAlarm) or not spec.simple:
            return False
        return spec.watched.stat is not None and asked(spec.watched.stat)

    return [alarm for alarm in await _all(desk, caller) if meets(alarm)]


async def history(desk: Desk, caller: Caller, query: HistoryQuery) -> Sequence[Item]:
    """A page of what became of alarms within the last two weeks."""
    oldest_us = desk.clock.now_us() - alarm_history.KEPT_US
    within = replace(query, from_us=max(oldest_us, query.from_us or 0))
    return await desk.store.read(lambda connection: alarm_history.page(connection, caller.scope, within))


async def set_alarm(desk: Desk, caller: Caller, name: str, state: SetState) -> None:
    """Set a state until the next evaluation. Raises NotFound."""
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> int:
        alarm = find_alarm(connection, caller.scope, name)
        if alarm is None:
            raise not_found(caller, name)
        set_state(connection, alarm.uid, state)
        _audit(connection, caller, "SetAlarmState", alarm.uid, name, now_us)
        return alarm.wish + 1

    wish = await desk.store.write(work)
    end_s = desk.clock.monotonic_s() + SET_HOLD_S
    while True:
        seen = desk.store.signal.version
        alarm = await desk.store.read(partial(find_alarm, scope=caller.scope, name=name))
        left_s = end_s - desk.clock.monotonic_s()
        if alarm is None or alarm.seen >= wish or left_s <= 0:
            return
        await desk.store.signal.wait_past_or(seen, desk.clock, left_s)


async def enable_actions(desk: Desk, caller: Caller, names: Collection[str], *, enabled: bool) -> None:
    """Switch the actions of alarms on or off; names that there are not are no error."""
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> None:
        for name in names:
            alarm = find_alarm(connection, caller.scope, name)
            if alarm is None or alarm.spec.actions.enabled is enabled:
                continue
            spec = replace(alarm.spec, actions=replace(alarm.spec.actions, enabled=enabled))
            change(connection, alarm.uid, spec, now_us)
            _note(connection, caller.scope, name, spec, "Update", now_us)
            operation = "EnableAlarmActions" if enabled else "DisableAlarmActions"
            _audit(connection, caller, operation, alarm.uid, name, now_us)

    await desk.store.write(work)


async def remove(desk: Desk, caller: Caller, names: Collection[str]) -> None:
    """Delete alarms; names that there are not are no error. Invalid for one that a composite alarm depends on."""
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> None:
        found = alarms_of(connection, caller.scope)
        going = [alarm for alarm in found if alarm.name in names]
        if sum(isinstance(alarm.spec, CompositeAlarm) for alarm in going) > 1:
            raise Invalid("You can delete at most one composite alarm in one operation.")
        needed = {
            name
            for alarm in found
            if alarm not in going
            for name in (*children_of(alarm), suppressor_of(alarm))
            if name is not None
        }
        blocked = [alarm.name for alarm in going if alarm.name in needed]
        if blocked:
            raise Invalid(f"Cannot delete {','.join(blocked)} as there are composite alarm(s) depending on it.")
        for alarm in going:
            _note(connection, caller.scope, alarm.name, alarm.spec, "Delete", now_us)
            _audit(connection, caller, "DeleteAlarms", alarm.uid, alarm.name, now_us)
        delete_alarms(connection, [alarm.uid for alarm in going])

    await desk.store.write(work)


async def add_tags(desk: Desk, caller: Caller, arn: str, new: dict[str, str]) -> None:
    """Add or overwrite tags. Raises NotFound, Invalid, LimitExceeded."""
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> None:
        alarm = _by_arn(connection, caller, arn)
        put_tags(connection, alarm.uid, tags_of(connection, alarm.uid), new)
        _audit(connection, caller, "TagResource", alarm.uid, alarm.name, now_us)

    await desk.store.write(work)


async def remove_tags(desk: Desk, caller: Caller, arn: str, keys: Collection[str]) -> None:
    """Remove tags; keys that are not there are no error. Raises NotFound."""
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> None:
        alarm = _by_arn(connection, caller, arn)
        drop_tags(connection, alarm.uid, keys)
        _audit(connection, caller, "UntagResource", alarm.uid, alarm.name, now_us)

    await desk.store.write(work)


async def list_tags(desk: Desk, caller: Caller, arn: str) -> dict[str, str]:
    """All tags by key. Raises NotFound."""
    return await desk.store.read(lambda connection: tags_of(connection, _by_arn(connection, caller, arn).uid))


def check_spec(spec: AlarmSpec) -> None:
    """Raise Invalid or NotServed for an alarm that cannot be, or cannot be evaluated."""
    if isinstance(spec, MetricAlarm):
        _check_statistics(spec)
    check_alarm(spec)
    if isinstance(spec, MetricAlarm):
        _check_expressions(spec)


def check_metrics(spec: MetricAlarm) -> None:
    """Raise Invalid or NotServed for a statistic or an expression that cannot be evaluated."""
    _check_statistics(spec)
    _check_expressions(spec)


def _check_statistics(spec: MetricAlarm) -> None:
    for query in spec.queries:
        if query.stat is not None and parse_stat(query.stat.stat) is None:
            raise Invalid(f"The value {query.stat.stat} for parameter Statistic is not supported.")


def _check_expressions(spec: MetricAlarm) -> None:
    try:
        expressions = {query.id: compile(query.expression) for query in spec.queries if query.stat is None}
        check([query.id for query in spec.queries if query.stat is not None], expressions)
    except NotServed:
        raise
    except DomainError as error:
        raise Invalid(f"Invalid metrics list: {error}") from None
    if any(expression.searches for expression in expressions.values()):
        raise Invalid("Invalid metrics list: SEARCH is not supported on Metric Alarms.")
    if expressions and len(expressions) == len(spec.queries):
        raise Invalid("Invalid metrics list: an expression needs at least one metric.")


def kind_of(alarm: Alarm) -> str:
    """`metric` or `composite`."""
    return COMPOSITE if isinstance(alarm.spec, CompositeAlarm) else METRIC


def not_found(caller: Caller, name: str) -> NotFound:
    """The refusal that names the alarm."""
    return NotFound(NOUN, name, alarm_arn(caller.scope, name))


def _check_composite(
    found: dict[str, Alarm], scope: Scope, name: str, spec: CompositeAlarm, uid: str, now_us: int
) -> None:
    if name in found and isinstance(found[name].spec, MetricAlarm):
        raise Invalid(f"An alarm named {name} exists already, and is a metric alarm.")
    new = Alarm(uid, scope, name, now_us, now_us, spec, initial_state(uid, name, now_us))
    missing = [child for child in children_of(new) if child not in found and child != name]
    if missing:
        raise Invalid(
            f"Could not save the composite alarm as alarms [{', '.join(missing)}] in the alarm rule do not exist"
        )
    suppressor = suppressor_of(new)
    if suppressor is not None and suppressor not in found:
        raise Invalid(f"Could not save the composite alarm as its actions suppressor {suppressor} does not exist")
    if _reaches({**found, name: new}, name):
        raise Invalid(f"Could not save the composite alarm as its alarm rule would depend on {name} itself")


def _reaches(found: dict[str, Alarm], name: str) -> bool:
    """Whether an alarm depends on itself, over whatever others."""
    open_names, seen = [name], set[str]()
    while open_names:
        alarm = found.get(open_names.pop())
        if alarm is None:
            continue
        for below in (*children_of(alarm), suppressor_of(alarm)):
            if below == name:
                return True
            if below is not None and below not in seen:
                seen.add(below)
                open_names.append(below)
    return False


async def _all(desk: Desk, caller: Caller) -> Sequence[Alarm]:
    """In the order of code points, which pages go by: databases order text in ways of their own."""
    found = await desk.store.read(lambda connection: alarms_of(connection, caller.scope))
    return sorted(found, key=lambda alarm: alarm.name)


def _by_arn(connection: Connection, caller: Caller, arn: str) -> Alarm:
    name = alarm_name(arn, caller.scope)
    if name == arn:
        raise Invalid(f"The ARN {arn} is not that of an alarm of this account and region; tags are kept for alarms.")
    alarm = find_alarm(connection, caller.scope, name)
    if alarm is None:
        raise NotFound(NOUN, name, arn)
    return alarm


def _audit(connection: Connection, caller: Caller, operation: str, uid: str, name: str, now_us: int) -> None:
    record(connection, caller, Deed(operation, uid, alarm_arn(caller.scope, name), now_us, NOUN))


def _note(connection: Connection, scope: Scope, name: str, spec: AlarmSpec, done: str, now_us: int) -> None:
    """The ConfigurationUpdate item of a change."""
    word = {"Create": "created", "Update": "updated", "Delete": "deleted"}[done]
    data = {"version": "1.0", "type": done, f"{word}Alarm": _described(scope, name, spec, now_us)}
    kind = METRIC if isinstance(spec, MetricAlarm) else COMPOSITE
    item = Item(scope, name, kind, now_us, "ConfigurationUpdate", f'Alarm "{name}" {word}'[:255], encode_data(data))
    alarm_history.append(connection, item)


def _described(scope: Scope, name: str, spec: AlarmSpec, now_us: int) -> dict[str, Any]:
    actions = spec.actions
    described: dict[str, Any] = {
        "alarmName": name,
        "alarmDescription": spec.description,
        "alarmArn": alarm_arn(scope, name),
        "alarmConfigurationUpdatedTimestamp": stamp(now_us),
        "actionsEnabled": actions.enabled,
        "okactions": list(actions.ok),
        "alarmActions": list(actions.alarm),
        "insufficientDataActions": list(actions.insufficient),
    }
    if isinstance(spec, CompositeAlarm):
        return {key: value for key, value in {**described, "alarmRule": spec.rule}.items() if value is not None}
    described |= {
        "threshold": float(spec.threshold),
        "comparisonOperator": spec.comparison.value,
        "evaluationPeriods": spec.evaluation_periods,
        "datapointsToAlarm": spec.datapoints_to_alarm,
        "treatMissingData": spec.missing.value if spec.missing else None,
    }
    stat = spec.watched.stat
    if spec.simple and stat is not None:
        described |= {
            "namespace": stat.namespace,
            "metricName": stat.metric,
            "statistic": stat.stat,
            "period": stat.period_s,
            "dimensions": [{"name": key, "value": value} for key, value in stat.dimensions],
        }
    else:
        described["metrics"] = [{"id": query.id, "expression": query.expression} for query in spec.queries]
    return {key: value for key, value in described.items() if value is not None}
