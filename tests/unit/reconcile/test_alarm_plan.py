"""One look at alarms: states, what is noted, what is told. Composites, suppression, idempotence."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from clary.domain.alarms import (
    Actions,
    Alarm,
    AlarmSpec,
    AlarmValue,
    Comparison,
    CompositeAlarm,
    EvaluationState,
    MetricAlarm,
    MetricQuery,
    MetricStat,
    SetState,
    Suppression,
    initial_state,
)
from clary.domain.principal import Scope
from clary.reconcile.alarm_plan import Change, Outcome, plan

SCOPE = Scope("123456789012", "us-east-1")
S = 1_000_000
NOW = 1_700_000_000 * S
OK, ALARM, NO_DATA = AlarmValue.OK, AlarmValue.ALARM, AlarmValue.INSUFFICIENT_DATA
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:f"
TOPIC = "arn:aws:sns:us-east-1:123456789012:ops"
SCALING = "arn:aws:autoscaling:us-east-1:123456789012:scalingPolicy:u:resource/sagemaker/e:policyName/p"
BUS = "arn:aws:events:us-east-1:123456789012:event-bus/default"

STAT = MetricStat("AWS/SageMaker", "ModelLatency", (("EndpointName", "e"), ("VariantName", "v")), 60, "p99")


def metric(actions: Actions | None = None) -> MetricAlarm:
    return MetricAlarm((MetricQuery("m1", STAT),), 1, 5.0, Comparison.GREATER, actions=actions or Actions())


def an_alarm(name: str, spec: AlarmSpec | None = None, value: AlarmValue = OK, **more: object) -> Alarm:
    """One that was looked at before."""
    state = replace(initial_state(f"uid-{name}", name, NOW), value=value, evaluated_us=NOW, reason="before")
    alarm = Alarm(f"uid-{name}", SCOPE, name, NOW, NOW, spec or metric(), state, acted=value, wish=1, seen=1)
    return replace(alarm, **more)  # type: ignore[arg-type]


def outcome(value: AlarmValue) -> Outcome:
    return Outcome(value, f"it is {value.value}", '{"version":"1.0"}')


def applied(alarms: Sequence[Alarm], changes: Sequence[Change]) -> list[Alarm]:
    """The rows after the changes were written."""
    by_uid = {change.alarm.uid: change.columns for change in changes}
    return [_applied(alarm, by_uid.get(alarm.uid, {})) for alarm in alarms]


def _applied(alarm: Alarm, columns: Mapping[str, Any]) -> Alarm:
    state = alarm.state
    if "state" in columns:
        state = replace(state, value=AlarmValue(columns["state"]), reason=columns["state_reason"])
        state = replace(state, reason_data=columns["state_reason_data"], updated_us=columns["state_updated_us"])
    if "evaluated_us" in columns:
        state = replace(state, evaluated_us=columns["evaluated_us"])
    if "evaluation_state" in columns:
        failed = columns["evaluation_state"]
        state = replace(state, evaluation=EvaluationState(failed) if failed else None)
    if "suppressed_by" in columns:
        by = columns["suppressed_by"]
        alarm = replace(alarm, suppression=Suppression(by, columns["suppressed_until_us"]) if by else None)
    if columns.get("acted"):
        alarm = replace(alarm, acted=AlarmValue(columns["acted"]))
    seen = columns.get("seen", alarm.seen)
    return replace(alarm, state=state, seen=seen, set=None if seen == alarm.wish else alarm.set)


def targets(changes: Sequence[Change], name: str = "a") -> list[str]:
    return [target for change in changes if change.alarm.name == name for target, _ in change.events]


# -- metric alarms -----------------------------------------------------------------------------------------------------


def test_a_change_is_noted_and_told_once() -> None:
    actions = Actions(alarm=(FUNCTION, TOPIC, SCALING), ok=(TOPIC,))
    alarms = [an_alarm("a", metric(actions))]
    changes = plan(alarms, {"uid-a": outcome(ALARM)}, NOW + 58 * S, NOW + 60 * S)
    (change,) = changes
    assert change.columns["state"] == "ALARM"
    assert change.columns["transitioned_us"] == change.columns["state_updated_us"] == NOW + 60 * S
    assert change.columns["evaluated_us"] == NOW + 58 * S
    # A scaling policy reads the state itself.
    assert targets(changes) == [BUS, FUNCTION, TOPIC]
    assert [summary for summary, _ in change.history] == ["Alarm updated from OK to ALARM"]
    after = applied(alarms, changes)
    again = plan(after, {"uid-a": outcome(ALARM)}, NOW + 118 * S, NOW + 120 * S)
    assert [list(change.columns) for change in again] == [["evaluated_us"]]
    assert targets(again) == []
    assert targets(plan(after, {"uid-a": outcome(OK)}, NOW, NOW + 180 * S)) == [BUS, TOPIC]


def test_disabled_actions_are_not_told_and_the_bus_is() -> None:
    alarms = [an_alarm("a", metric(Actions(enabled=False, alarm=(FUNCTION,))))]
    assert targets(plan(alarms, {"uid-a": outcome(ALARM)}, NOW, NOW)) == [BUS]


def test_a_state_that_stays_changes_nothing() -> None:
    alarms = [an_alarm("a", value=ALARM)]
    (change,) = plan(alarms, {"uid-a": Outcome(None)}, NOW + S, NOW + S)
    assert list(change.columns) == ["evaluated_us"]
    assert plan(alarms, {}, NOW, NOW) == []


def test_a_state_that_is_set_wins_over_what_the_data_says_until_the_next_look() -> None:
    alarms = [an_alarm("a", metric(Actions(alarm=(FUNCTION,))), wish=2, set=SetState(ALARM, "a test", ""))]
    changes = plan(alarms, {"uid-a": outcome(OK)}, NOW, NOW + S)
    assert changes[0].columns["state"] == "ALARM"
    assert changes[0].columns["seen"] == 2
    assert targets(changes) == [BUS, FUNCTION]
    after = applied(alarms, changes)
    assert after[0].set is None
    assert plan(after, {"uid-a": outcome(OK)}, NOW, NOW + 60 * S)[0].columns["state"] == "OK"


def test_what_cannot_be_evaluated_keeps_its_state_and_does_not_count_as_evaluated() -> None:
    alarms = [an_alarm("a", value=ALARM)]
    failed = Outcome(None, "Evaluation Error: no such id", evaluation=EvaluationState.EVALUATION_ERROR)
    changes = plan(alarms, {"uid-a": failed}, NOW + 60 * S, NOW + 60 * S)
    assert changes[0].columns == {
        "evaluation_state": "EVALUATION_ERROR",
        "state_updated_us": NOW + 60 * S,
        "state_reason": "Evaluation Error: no such id",
    }
    after = applied(alarms, changes)
    assert plan(after, {"uid-a": failed}, NOW, NOW) == []
    assert plan(after, {"uid-a": outcome(ALARM)}, NOW, NOW)[0].columns["evaluation_state"] is None


def test_bodies_for_a_command_a_topic_and_the_bus() -> None:
    spec = replace(metric(Actions(alarm=(FUNCTION, TOPIC))), description="Too slow")
    changes = plan([an_alarm("a", spec)], {"uid-a": outcome(ALARM)}, NOW, NOW + 1_234_000)
    bodies = dict(changes[0].events)
    function, topic, bus = bodies[FUNCTION], bodies[TOPIC], bodies[BUS]
    assert set(function) == {"source", "alarmArn", "accountId", "time", "region", "alarmData"}
    assert function["time"] == "2023-11-14T22:13:21.234+0000"
    data = function["alarmData"]
    assert data["state"] == {
        "value": "ALARM",
        "reason": "it is ALARM",
        "reasonData": '{"version":"1.0"}',
        "timestamp": "2023-11-14T22:13:21.234+0000",
    }
    assert data["previousState"]["value"] == "OK"
    assert data["configuration"]["metrics"][0]["metricStat"] == {
        "metric": {
            "namespace": "AWS/SageMaker",
            "name": "ModelLatency",
            "dimensions": {"EndpointName": "e", "VariantName": "v"},
        },
        "period": 60,
        "stat": "p99",
    }
    assert bus["detail-type"] == "CloudWatch Alarm State Change"
    assert bus["time"] == "2023-11-14T22:13:21Z"
    assert bus["detail"] == data
    assert topic["NewStateValue"] == "ALARM"
    assert topic["Trigger"]["ExtendedStatistic"] == "p99"
    assert topic["Trigger"]["Dimensions"][0] == {"value": "e", "name": "EndpointName"}
    json.dumps([function, topic, bus])


# -- composite alarms --------------------------------------------------------------------------------------------------


def composite(rule: str, **more: object) -> CompositeAlarm:
    return replace(CompositeAlarm(rule, actions=Actions(ok=(TOPIC,), alarm=(FUNCTION,))), **more)  # type: ignore[arg-type]


def test_a_new_composite_takes_the_state_of_its_rule() -> None:
    alarms = [an_alarm("a", value=ALARM), an_alarm("c", composite("ALARM(a)"), NO_DATA, seen=0, acted=None)]
    (change,) = plan(alarms, {}, NOW, NOW)
    assert change.columns["state"] == "ALARM"
    assert change.columns["state_reason"].endswith("alarm:c was created and its alarm rule evaluates to ALARM")
    assert targets([change], "c") == [BUS, FUNCTION]
    assert plan(applied(alarms, [change]), {}, NOW, NOW) == []


def test_composites_follow_their_children_in_one_look_however_they_are_named() -> None:
    alarms = [
        an_alarm("0-outer", composite("ALARM(m-inner) AND OK(b)")),
        an_alarm("a"),
        an_alarm("b"),
        an_alarm("m-inner", composite('ALARM("arn:aws:cloudwatch:us-east-1:123456789012:alarm:a")')),
    ]
    changes = plan(alarms, {"uid-a": outcome(ALARM), "uid-b": outcome(OK)}, NOW, NOW + S)
    states = {change.alarm.name: change.columns.get("state") for change in changes}
    assert states == {"a": "ALARM", "b": None, "m-inner": "ALARM", "0-outer": "ALARM"}
    outer = next(change for change in changes if change.alarm.name == "0-outer")
    assert outer.columns["state_reason"] == (
        "arn:aws:cloudwatch:us-east-1:123456789012:alarm:m-inner transitioned to ALARM at Tuesday 14 November, 2023 "
        "22:13:21 UTC"
    )
    assert plan(applied(alarms, changes), {}, NOW, NOW) == []


def test_a_long_chain_of_composites_is_followed_to_its_end() -> None:
    names = ["a", *(f"c{number:04}" for number in range(1500))]
    chain = [an_alarm(name, composite(f"ALARM({below})"), seen=1) for below, name in itertools.pairwise(names)]
    changes = plan([*reversed(chain), an_alarm("a")], {"uid-a": outcome(ALARM)}, NOW, NOW)
    assert [change.alarm.name for change in changes] == names
    assert {change.columns["state"] for change in changes} == {"ALARM"}


def test_a_composite_was_evaluated_when_the_last_of_its_children_was() -> None:
    late = replace(an_alarm("b").state, evaluated_us=NOW - 60 * S)
    alarms = [an_alarm("a"), replace(an_alarm("b"), state=late), an_alarm("c", composite("ALARM(a) OR ALARM(b)"))]
    changes = plan(alarms, {"uid-a": outcome(OK)}, NOW + 60 * S, NOW + 60 * S)
    assert {change.alarm.name: change.columns["evaluated_us"] for change in changes} == {
        "a": NOW + 60 * S,
        "c": NOW - 60 * S,
    }


def test_a_set_composite_stays_until_a_child_changes() -> None:
    alarms = [an_alarm("a"), an_alarm("c", composite("ALARM(a)"), wish=2, set=SetState(ALARM, "a test", ""))]
    alarms = applied(alarms, plan(alarms, {}, NOW, NOW))
    assert alarms[1].state.value is ALARM
    alarms = applied(alarms, plan(alarms, {"uid-a": outcome(OK)}, NOW, NOW))
    assert alarms[1].state.value is ALARM
    alarms = applied(alarms, plan(alarms, {"uid-a": outcome(NO_DATA)}, NOW, NOW))
    assert alarms[1].state.value is OK


# -- suppression -------------------------------------------------------------------------------------------------------


def look(alarms: list[Alarm], at_s: int, **values: AlarmValue) -> tuple[list[Alarm], list[str]]:
    """The alarms after a look at which these had these states; targets of the composite's events but the bus."""
    changes = plan(alarms, {f"uid-{name}": outcome(value) for name, value in values.items()}, NOW, NOW + at_s * S)
    return applied(alarms, changes), [target for target in targets(changes, "c") if target != BUS]


def suppressed_alarms(value: AlarmValue = OK) -> list[Alarm]:
    spec = composite("ALARM(a)", suppressor="s", wait_s=120, extension_s=180)
    return [an_alarm("a"), an_alarm("c", spec), an_alarm("s", value=value)]


def test_actions_wait_for_the_suppressor_and_are_performed_when_it_stays_silent() -> None:
    alarms, told = look(suppressed_alarms(), 0, a=ALARM)
    assert told == []
    assert alarms[1].state.value is ALARM
    assert alarms[1].suppression == Suppression("WaitPeriod", NOW + 120 * S)
    alarms, told = look(alarms, 119)
    assert told == []
    alarms, told = look(alarms, 120)
    assert told == [FUNCTION]
    assert alarms[1].suppression is None
    assert look(alarms, 121)[1] == []


def test_a_suppressor_that_comes_in_time_holds_them_back_and_its_end_too_for_a_while() -> None:
    alarms, told = look(suppressed_alarms(), 0, a=ALARM)
    alarms, told = look(alarms, 60, s=ALARM)
    assert (told, alarms[1].suppression) == ([], Suppression("Alarm"))
    alarms, told = look(alarms, 1000)
    assert told == []
    alarms, told = look(alarms, 2000, s=OK)
    assert (told, alarms[1].suppression) == ([], Suppression("ExtensionPeriod", NOW + 2180 * S))
    alarms, told = look(alarms, 2180)
    assert (told, alarms[1].suppression) == ([FUNCTION], None)


def test_what_came_and_went_while_it_was_suppressed_is_never_told() -> None:
    alarms, _ = look(suppressed_alarms(ALARM), 0, a=ALARM)
    alarms, _ = look(alarms, 60, a=OK)
    alarms, _ = look(alarms, 120, s=OK)
    alarms, told = look(alarms, 300)
    assert told == []
    assert alarms[1].suppression is None


def test_what_came_and_went_within_the_wait_is_never_told() -> None:
    alarms, _ = look(suppressed_alarms(), 0, a=ALARM)
    alarms, told = look(alarms, 60, a=OK)
    assert (told, alarms[1].suppression) == ([], None)
    assert look(alarms, 500)[1] == []


def test_a_clock_set_back_makes_no_suppression_longer() -> None:
    alarms, _ = look(suppressed_alarms(), 0, a=ALARM)
    alarms, told = look(alarms, -3600)
    assert told == [FUNCTION]


values = st.sampled_from([OK, ALARM, NO_DATA])


@given(st.lists(st.tuples(st.integers(-100, 200), values, values), max_size=20))
def test_told_is_every_other_state_and_never_the_same_twice(steps: list[tuple[int, AlarmValue, AlarmValue]]) -> None:
    """Whatever happens to the alarm, its suppressor and the clock: actions follow the state, and do not repeat."""
    alarms, at_s, told = suppressed_alarms(), 0, list[str]()
    for elapsed_s, a, s in steps:
        at_s += elapsed_s
        alarms, more = look(alarms, at_s, a=a, s=s)
        told += more
        assert alarms[1].state.value is (ALARM if a is ALARM else OK)
    for _ in range(2):
        at_s += 1000
        alarms, more = look(alarms, at_s, s=OK)
        told += more
    assert alarms[1].suppression is None
    assert alarms[1].acted is alarms[1].state.value
    assert told == [FUNCTION, TOPIC] * (len(told) // 2) + [FUNCTION] * (len(told) % 2)
    assert (told[-1:] == [FUNCTION]) is (alarms[1].state.value is ALARM)
