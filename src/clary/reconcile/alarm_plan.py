"""What becomes of alarms at one look: new states, what is noted and what is told. Pure and idempotent.

Metric alarms first, by what their data says; composites after them, each after those that its rule names. States are
levels: looking again with the same data changes nothing and tells nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from clary.domain.alarm_rules import Rule, children_of, parse_rule, suppressor_of
from clary.domain.alarms import (
    Alarm,
    AlarmValue,
    CompositeAlarm,
    EvaluationState,
    MetricAlarm,
    SetState,
    Suppression,
    alarm_name,
    is_scaling_action,
    stamp,
)
from clary.kit.clock import MICROS
from clary.reconcile.alarm_events import Told, body_for
from clary.store.outbox import bus_arn

_REASON_CHARS_MAX = 1023
"""StateReason (API reference)."""


@dataclass(frozen=True)
class Outcome:
    """What evaluating one metric alarm gave."""

    value: AlarmValue | None
    """None: it stays as it is."""
    reason: str = ""
    reason_data: str = ""
    evaluation: EvaluationState | None = None
    """Why it could not be evaluated."""


@dataclass(frozen=True)
class Change:
    """What is to be written of one alarm."""

    alarm: Alarm
    columns: Mapping[str, Any]
    """Observed columns of its row."""
    history: Sequence[tuple[str, Mapping[str, Any]]] = ()
    """Summary and data of StateUpdate items."""
    events: Sequence[tuple[str, Mapping[str, Any]]] = ()
    """Target ARN and body of each event."""


@dataclass
class _Region:
    """The alarms of one account and region while they are looked at."""

    now_us: int
    states: dict[str, Told]
    """By name, as they become."""
    evaluated: dict[str, int | None]
    """When each could last be evaluated, by name."""
    changed: set[str] = field(default_factory=set)
    """Names whose state changed at this look."""


def plan(alarms: Sequence[Alarm], outcomes: Mapping[str, Outcome], at_us: int, now_us: int) -> list[Change]:
    """Changes of all these alarms. `outcomes` by uid; `at_us` is the instant that was evaluated, at most `now_us`."""
    changes: list[Change] = []
    for scope in dict.fromkeys(alarm.scope for alarm in alarms):
        here = [alarm for alarm in alarms if alarm.scope == scope]
        region = _Region(now_us, {a.name: _told(a) for a in here}, {a.name: a.state.evaluated_us for a in here})
        for alarm in here:
            if isinstance(alarm.spec, MetricAlarm):
                changes.extend(_metric(region, alarm, outcomes.get(alarm.uid), at_us))
        for alarm, rule in _in_order(here):
            changes.extend(_composite(region, alarm, rule))
    return changes


# -- metric alarms -----------------------------------------------------------------------------------------------------


def _metric(region: _Region, alarm: Alarm, outcome: Outcome | None, at_us: int) -> Iterable[Change]:
    columns: dict[str, Any] = {}
    new: SetState | None = alarm.set
    if outcome is not None:
        failed = outcome.evaluation
        if failed is None:
            columns["evaluated_us"] = region.evaluated[alarm.name] = at_us
        if failed is not alarm.state.evaluation:
            columns |= {"evaluation_state": failed.value if failed else None, "state_updated_us": region.now_us}
            if failed is EvaluationState.EVALUATION_ERROR:
                columns["state_reason"] = outcome.reason[:_REASON_CHARS_MAX]
        if new is None and outcome.value not in (None, alarm.state.value):
            new = SetState(outcome.value, outcome.reason, outcome.reason_data)
    if alarm.seen < alarm.wish and (alarm.set is not None or outcome is not None):
        columns["seen"] = alarm.wish
    events: list[tuple[str, Mapping[str, Any]]] = []
    history: list[tuple[str, Mapping[str, Any]]] = []
    if new is not None:
        told, old = _turn(region, alarm, new, columns)
        if told.value is not old.value:
            history.append(_state_update(told, old))
            events = _tell(alarm, told, old, acting=True)
    if columns:
        yield Change(alarm, columns, history, events)


def _turn(region: _Region, alarm: Alarm, new: SetState, columns: dict[str, Any]) -> tuple[Told, Told]:
    """Put the new state into `columns` and the region; it and the old one as events tell of them."""
    old = region.states[alarm.name]
    told = Told(new.value, new.reason[:_REASON_CHARS_MAX], new.reason_data, region.now_us)
    columns |= {
        "state": new.value.value,
        "state_reason": told.reason,
        "state_reason_data": told.reason_data,
        "state_updated_us": region.now_us,
    }
    if new.value is not old.value:
        columns["transitioned_us"] = region.now_us
        region.changed.add(alarm.name)
    region.states[alarm.name] = told
    return told, old


def _tell(alarm: Alarm, new: Told, old: Told, *, acting: bool) -> list[tuple[str, Mapping[str, Any]]]:
    """Events of a change: to the bus, and to the actions where they are not held back."""
    targets = [bus_arn(alarm.scope)]
    if acting and alarm.spec.actions.enabled:
        targets += [arn for arn in alarm.spec.actions.of(new.value) if not is_scaling_action(arn)]
    return [(arn, body_for(arn, alarm, new, old)) for arn in targets]


def _state_update(new: Told, old: Told) -> tuple[str, Mapping[str, Any]]:
    data = {"version": "1.0", "oldState": _history_state(old), "newState": _history_state(new)}
    return f"Alarm updated from {old.value.value} to {new.value.value}", data


def _history_state(told: Told) -> dict[str, Any]:
    state: dict[str, Any] = {"stateValue": told.value.value, "stateReason": told.reason}
    if told.reason_data:
        try:
            state["stateReasonData"] = json.loads(told.reason_data)
        except ValueError:
            state["stateReasonData"] = told.reason_data
    return state


def _told(alarm: Alarm) -> Told:
    state = alarm.state
    return Told(state.value, state.reason, state.reason_data, state.updated_us, alarm.suppression)


# -- composite alarms --------------------------------------------------------------------------------------------------


def _in_order(alarms: Sequence[Alarm]) -> list[tuple[Alarm, Rule]]:
    """Composites with their rules, each after the composites that it depends on. Cycles are refused when they are put;
    should there be one, its members come in the order of their names."""
    composites = {alarm.name: alarm for alarm in alarms if isinstance(alarm.spec, CompositeAlarm)}
    ordered: dict[str, tuple[Alarm, Rule]] = {}
    seen: set[str] = set()
    for name, alarm in composites.items():
        # Without recursion: a chain may be as long as there are alarms.
        path = [(name, _needs(alarm))] if name not in seen else []
        seen.add(name)
        while path:
            at, needs = path[-1]
            below = next((need for need in needs if need in composites and need not in seen), None)
            if below is not None:
                seen.add(below)
                path.append((below, _needs(composites[below])))
                continue
            path.pop()
            spec = composites[at].spec
            assert isinstance(spec, CompositeAlarm)
            ordered[at] = (composites[at], parse_rule(spec.rule))
    return list(ordered.values())


def _needs(alarm: Alarm) -> Iterator[str]:
    """Names of the alarms that a composite depends on."""
    yield from children_of(alarm)
    suppressor = suppressor_of(alarm)
    if suppressor is not None:
        yield suppressor


def _composite(region: _Region, alarm: Alarm, rule: Rule) -> Iterable[Change]:
    spec = alarm.spec
    assert isinstance(spec, CompositeAlarm)
    columns: dict[str, Any] = {}
    children = children_of(alarm)
    instants = [region.evaluated.get(name) for name in children]
    known = [at_us for at_us in instants if at_us is not None]
    evaluated_us = None if len(known) < len(instants) else min(known, default=region.now_us)
    region.evaluated[alarm.name] = evaluated_us
    if evaluated_us != alarm.state.evaluated_us and children:
        columns["evaluated_us"] = evaluated_us
    history: list[tuple[str, Mapping[str, Any]]] = []
    old = told = region.states[alarm.name]
    new = _composite_state(region, alarm, rule, children)
    if alarm.seen < alarm.wish:
        columns["seen"] = alarm.wish
        columns.setdefault("evaluated_us", evaluated_us)
    if new is not None:
        told, old = _turn(region, alarm, new, columns)
        if told.value is not old.value:
            history.append(_state_update(told, old))
    events = _act(region, alarm, told, old, columns)
    if columns:
        yield Change(alarm, columns, history, events)


def _composite_state(region: _Region, alarm: Alarm, rule: Rule, children: Sequence[str]) -> SetState | None:
    """The state that follows; None where nothing happened to it, or it stays."""
    if alarm.set is not None:
        return alarm.set
    moved = [name for name in children if name in region.changed]
    asked = alarm.seen < alarm.wish
    if not moved and not asked:
        return None
    values = {
        name: region.states[alarm_name(name, alarm.scope)].value for name in rule.names if _known(region, alarm, name)
    }
    value = AlarmValue.ALARM if rule.holds(values) else AlarmValue.OK
    if value is alarm.state.value:
        return None
    if moved:
        last = region.states[moved[-1]]
        at = datetime.fromtimestamp(last.at_us / MICROS, UTC)
        reason = f"{_arn(alarm, moved[-1])} transitioned to {last.value.value} at {at:%A %d %B, %Y %H:%M:%S} UTC"
    else:
        done = "created" if alarm.seen == 0 else "updated"
        reason = f"{alarm.arn} was {done} and its alarm rule evaluates to {value.value}"
    triggering = moved or [name for name in children if name in region.states]
    data = {"triggeringAlarms": [_triggering(alarm, name, region.states[name]) for name in triggering[:20]]}
    return SetState(value, reason, json.dumps(data, separators=(",", ":"), ensure_ascii=False))


def _known(region: _Region, alarm: Alarm, name: str) -> bool:
    return alarm_name(name, alarm.scope) in region.states


def _arn(alarm: Alarm, name: str) -> str:
    return f"{alarm.arn[: len(alarm.arn) - len(alarm.name)]}{name}"


def _triggering(alarm: Alarm, name: str, told: Told) -> dict[str, Any]:
    return {"arn": _arn(alarm, name), "state": {"value": told.value.value, "timestamp": stamp(told.at_us)}}


def _act(
    region: _Region, alarm: Alarm, told: Told, old: Told, columns: dict[str, Any]
) -> list[tuple[str, Mapping[str, Any]]]:
    """Perform the actions of the state that it is in, unless they were performed or are held back."""
    before = alarm.suppression
    acted = alarm.acted or AlarmValue.INSUFFICIENT_DATA
    now = suppression(region, alarm, told.value, acted)
    if now != before:
        columns |= {"suppressed_by": now.by if now else None, "suppressed_until_us": now.until_us if now else None}
    events: list[tuple[str, Mapping[str, Any]]] = []
    acting = now is None and told.value is not acted
    turned = told.value is not old.value
    if acting:
        columns["acted"] = told.value.value
    if turned:
        events = _tell(alarm, replace(told, suppression=now), old, acting=acting)
    elif acting:
        # The end of a suppression: nothing changes but that the actions are performed.
        events = _tell(alarm, replace(told, suppression=None, at_us=region.now_us), old, acting=True)
    return events


def suppression(region: _Region, alarm: Alarm, value: AlarmValue, acted: AlarmValue) -> Suppression | None:
    """Whether the actions are held back now.

    While the suppressor is in ALARM; for the extension period after that; and, once the state is one whose actions were
    not performed, for the wait period in which the suppressor may yet go into ALARM (user guide, "Alarm suppression").
    """
    spec, before, now_us = alarm.spec, alarm.suppression, region.now_us
    name = suppressor_of(alarm)
    assert isinstance(spec, CompositeAlarm)
    if name is None:
        return None
    by = region.states.get(name)
    if by is not None and by.value is AlarmValue.ALARM:
        return Suppression("Alarm")
    if before is not None and before.until_us is None:
        until_us = now_us + spec.extension_s * MICROS
        return Suppression("ExtensionPeriod", until_us) if spec.extension_s else None
    if before is not None:
        lasts_us = (spec.wait_s if before.by == "WaitPeriod" else spec.extension_s) * MICROS
        # A clock that was set back does not make it longer.
        held = before.until_us is not None and now_us < before.until_us <= now_us + lasts_us
        needless = before.by == "WaitPeriod" and value is acted
        return before if held and not needless else None
    if value is not acted and spec.wait_s:
        return Suppression("WaitPeriod", now_us + spec.wait_s * MICROS)
    return None
