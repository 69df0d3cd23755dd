"""What the plan of a scalable target goes by, read from rows, and its actions, written as rows. Sync functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from sqlalchemy import Connection

from clary.domain.alarms import Alarm, Comparison, MetricAlarm
from clary.domain.names import arn_of
from clary.domain.scaling import ActivityText, StepScaling, TargetTracking, is_whole, policy_arn, threshold_of
from clary.domain.states import IN_TRANSITION, EndpointStatus
from clary.kit.ids import Ids
from clary.reconcile.scaling_facts import (
    Action,
    Arm,
    Due,
    EndActivity,
    Have,
    Note,
    Open,
    PolicyFacts,
    Ran,
    Reading,
    Remember,
    SetScale,
    Signal,
    Stepping,
    Tracking,
    Trigger,
    WakeAt,
    Want,
)
from clary.store.alarms import alarms_of, find_alarm
from clary.store.alarms import put as put_alarm
from clary.store.endpoints import endpoint_by_uid, fleet_of, ready_of
from clary.store.records import announce
from clary.store.scaling import Policy, ScheduledAction, Target, actions_of, mark_ran, policies_of, remember, set_scale
from clary.store.scaling_activities import Activity, add_activity, end_activity, open_activity

_ABOVE = (Comparison.GREATER, Comparison.GREATER_OR_EQUAL)


@dataclass(frozen=True)
class Facts:
    """One target as it stands in the store, before metrics were asked."""

    target: Target
    have: Have
    policies: tuple[tuple[Policy, tuple[Alarm, ...]], ...]
    """Each with the alarms that call for it now."""
    own: Mapping[str, tuple[Alarm, ...]]
    """The alarms that were made for a policy, by its uid."""
    schedule: tuple[ScheduledAction, ...]

    @property
    def watched(self) -> list[Alarm]:
        """The alarms whose values are to be read: while one policy is called for, those of all."""
        calling = [alarm for _, alarms in self.policies for alarm in alarms]
        return [*calling, *(alarm for alarms in self.own.values() for alarm in alarms)] if calling else []


def facts_of(connection: Connection, target: Target) -> Facts | None:
    """None where there is nothing to scale: no endpoint, or none that came into service yet."""
    record = endpoint_by_uid(connection, target.endpoint_uid)
    if record is None or record.served_generation is None or record.status is EndpointStatus.DELETING:
        return None
    fleet = fleet_of(connection, record.uid, record.served_generation)
    variant = next((one for one in fleet.revision.variants if one.name == target.variant), None)
    if variant is None:
        return None
    activity = open_activity(connection, target.uid)
    have = Have(
        generation=fleet.generation,
        count=variant.instance_count,
        ready=ready_of(connection, record.uid, fleet).get(variant.name, 0),
        active=record.status is EndpointStatus.IN_SERVICE,
        updating=record.status in IN_TRANSITION,
        arn=arn_of("endpoint", record.scope, record.name),
        open=None if activity is None else _open(activity),
    )
    policies = policies_of(connection, [target.uid])
    attached = alarms_of(connection, target.scope) if any(isinstance(p.spec, StepScaling) for p in policies) else ()
    own = {policy.uid: _own(connection, target, policy) for policy in policies}
    calling = tuple((policy, _calling(target, policy, own[policy.uid] or attached)) for policy in policies)
    return Facts(target, have, calling, own, tuple(actions_of(connection, [target.uid])))


def want_of(facts: Facts, readings: Mapping[str, Reading]) -> Want:
    """What control wrote, with the values of what policies go by: by the uid of the alarm that watches it."""
    return Want(
        spec=facts.target.spec,
        policies=tuple(_policy(facts, policy, alarms, readings) for policy, alarms in facts.policies),
        schedule=tuple(
            # An action that was put anew runs from then on.
            Due(one.uid, one.name, one.spec, one.created_us, max(one.modified_us, one.ran_us or 0))
            for one in facts.schedule
        ),
    )


def apply(connection: Connection, facts: Facts, actions: Sequence[Action], ids: Ids, now_us: int) -> None:
    """Write all actions of a plan, in the transaction that its facts were read in."""
    target = facts.target
    for number, action in enumerate(actions):
        at_us = now_us + number  # activities of one look are listed in their order
        match action:
            case SetScale(count=count, text=text):
                generation = facts.have.generation
                set_scale(connection, target.endpoint_uid, generation, target.variant, count, now_us)
                add_activity(
                    connection, _activity(facts, ids.ulid(now_us), "InProgress", at_us, text=text, count=count)
                )
                announce(connection, "endpoint", target.endpoint_uid, now_us)
            case Note(status=status, text=text):
                add_activity(connection, _activity(facts, ids.ulid(now_us), status, at_us, text=text))
            case EndActivity(activity=activity, status=status, text=text):
                end_activity(connection, activity.uid, status, text, now_us)
            case Arm(policy_uid=uid):
                for alarm, spec in _unarmed(facts, uid):
                    put_alarm(connection, target.scope, alarm.name, spec, alarm.uid, now_us)
            case Ran(uid=uid, at_us=ran_us):
                mark_ran(connection, uid, ran_us)
            case Remember(memory=memory):
                remember(connection, target.uid, memory)
            case WakeAt():
                pass  # the loop's to keep
            case _:
                assert_never(action)


def _activity(
    facts: Facts, uid: str, status: str, now_us: int, *, text: ActivityText, count: int | None = None
) -> Activity:
    target = facts.target
    return Activity(
        uid=uid,
        scope=target.scope,
        resource_id=target.resource_id,
        dimension=target.dimension,
        target_uid=target.uid,
        generation=facts.have.generation,
        count=count,
        status=status,
        started_us=now_us,
        ended_us=now_us if count is None else None,
        text=text,
    )


def _open(activity: Activity) -> Open:
    assert activity.count is not None, "an activity that sets nothing ends as it begins"
    return Open(activity.uid, activity.generation, activity.count, activity.started_us, activity.text)


def _own(connection: Connection, target: Target, policy: Policy) -> tuple[Alarm, ...]:
    found = (find_alarm(connection, target.scope, name) for name in (policy.alarm_high, policy.alarm_low) if name)
    return tuple(alarm for alarm in found if alarm is not None and isinstance(alarm.spec, MetricAlarm))


def _calling(target: Target, policy: Policy, alarms: Iterable[Alarm]) -> tuple[Alarm, ...]:
    """The alarms in a state whose actions name the policy; one that is still to be evaluated anew calls for nothing."""
    arn = policy_arn(target.scope, policy.guid, target.resource_id, policy.name)
    return tuple(
        alarm
        for alarm in alarms
        if isinstance(alarm.spec, MetricAlarm)
        and alarm.seen >= alarm.wish
        and alarm.spec.actions.enabled
        and arn in alarm.spec.actions.of(alarm.state.value)
    )


def _unarmed(facts: Facts, policy_uid: str) -> list[tuple[Alarm, MetricAlarm]]:
    """Alarms of a policy whose threshold is another count's, with what they are to be."""
    policy = next(policy for policy, _ in facts.policies if policy.uid == policy_uid)
    if not isinstance(policy.spec, TargetTracking) or not is_whole(policy.spec):
        return []
    found = []
    for alarm in facts.own[policy_uid]:
        threshold = threshold_of(policy.spec, facts.have.count, high=alarm.name == policy.alarm_high)
        if isinstance(alarm.spec, MetricAlarm) and alarm.spec.threshold != threshold:
            found.append((alarm, replace(alarm.spec, threshold=threshold)))
    return found


def _policy(facts: Facts, policy: Policy, alarms: Sequence[Alarm], readings: Mapping[str, Reading]) -> PolicyFacts:
    signals = {alarm.name: Signal(alarm.name, alarm.state.value.value, alarm.state.transitioned_us) for alarm in alarms}
    if isinstance(policy.spec, TargetTracking):
        armed = not _unarmed(facts, policy.uid)
        own = facts.own[policy.uid]
        reading = next((readings[alarm.uid] for alarm in own if alarm.uid in readings), None)
        if reading is not None and is_whole(policy.spec):
            reading = replace(reading, value=reading.value / max(1, facts.have.count))
        return Tracking(
            uid=policy.uid,
            name=policy.name,
            spec=policy.spec,
            high=signals.get(policy.alarm_high) if armed else None,
            low=signals.get(policy.alarm_low) if armed else None,
            reading=reading,
            armed=armed,
        )
    return Stepping(
        policy.uid, policy.name, policy.spec, tuple(_trigger(alarm, signals[alarm.name], readings) for alarm in alarms)
    )


def _trigger(alarm: Alarm, signal: Signal, readings: Mapping[str, Reading]) -> Trigger:
    assert isinstance(alarm.spec, MetricAlarm)
    reading = readings.get(alarm.uid)
    breach = 0.0 if reading is None else reading.value - alarm.spec.threshold
    return Trigger(signal, breach, alarm.spec.comparison in _ABOVE)
