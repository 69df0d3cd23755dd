"""Rows of autoscaling: targets, policies, scheduled actions, activities, and the counts that variants were given."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, insert, select, update

from clary.domain.principal import Scope
from clary.domain.scaling import (
    STEP,
    TRACKING,
    Memory,
    ScheduledSpec,
    StepScaling,
    TargetSpec,
    TargetTracking,
)
from clary.store.alarms import delete_alarms, find_alarm
from clary.store.documents import pack, unpack
from clary.store.tables import (
    scalable_targets,
    scaling_policies,
    scheduled_actions,
    tags,
    variant_scales,
)

PolicySpec = TargetTracking | StepScaling
_POLICY_KINDS: Mapping[str, type[TargetTracking] | type[StepScaling]] = {TRACKING: TargetTracking, STEP: StepScaling}


@dataclass(frozen=True)
class Target:
    """A scalable target as stored. Instants in UTC microseconds, here and below."""

    uid: str
    scope: Scope
    resource_id: str
    dimension: str
    endpoint_uid: str
    variant: str
    created_us: int
    spec: TargetSpec
    memory: Memory


@dataclass(frozen=True)
class Policy:
    """A scaling policy as stored."""

    uid: str
    target_uid: str
    name: str
    kind: str
    """PolicyType."""
    guid: str
    created_us: int
    spec: PolicySpec
    alarm_high: str
    """Name; empty where there is none."""
    alarm_low: str


@dataclass(frozen=True)
class ScheduledAction:
    """A scheduled action as stored."""

    uid: str
    target_uid: str
    name: str
    guid: str
    created_us: int
    modified_us: int
    spec: ScheduledSpec
    ran_us: int | None
    """Nothing that was due up to then runs any more."""


def key_of(resource_id: str) -> str:
    """What two resource ids that are one have in common."""
    return resource_id.lower()


def find_target(connection: Connection, scope: Scope, resource_id: str, dimension: str) -> Target | None:
    """The target of a resource, or None."""
    table = scalable_targets
    row = connection.execute(
        select(table).where(
            table.c.account == scope.account,
            table.c.region == scope.region,
            table.c.resource_key == key_of(resource_id),
            table.c.dimension == dimension,
        )
    ).first()
    return None if row is None else target_of(row)


def target_by_uid(connection: Connection, uid: str) -> Target | None:
    """The target, or None where it is gone."""
    row = connection.execute(select(scalable_targets).where(scalable_targets.c.uid == uid)).first()
    return None if row is None else target_of(row)


def targets_of(connection: Connection, endpoint_uid: str | None = None) -> list[Target]:
    """Every target, or those of one endpoint."""
    query = select(scalable_targets).order_by(scalable_targets.c.uid)
    if endpoint_uid is not None:
        query = query.where(scalable_targets.c.endpoint_uid == endpoint_uid)
    return [target_of(row) for row in connection.execute(query)]


def add_target(connection: Connection, target: Target) -> None:
    """Register a target."""
    connection.execute(
        insert(scalable_targets).values(
            uid=target.uid,
            account=target.scope.account,
            region=target.scope.region,
            resource_id=target.resource_id,
            resource_key=key_of(target.resource_id),
            dimension=target.dimension,
            endpoint_uid=target.endpoint_uid,
            variant=target.variant,
            created_us=target.created_us,
            modified_us=target.created_us,
            spec=pack(target.spec),
        )
    )


def change_target(connection: Connection, uid: str, spec: TargetSpec, now_us: int) -> None:
    """Other bounds or another suspended state."""
    connection.execute(
        update(scalable_targets).where(scalable_targets.c.uid == uid).values(spec=pack(spec), modified_us=now_us)
    )


def remember(connection: Connection, uid: str, memory: Memory) -> None:
    """What scaling remembers of a target; written by reconcile alone."""
    connection.execute(update(scalable_targets).where(scalable_targets.c.uid == uid).values(memory=pack(memory)))


def drop_target(connection: Connection, target: Target) -> None:
    """Deregister: its policies with their alarms, its scheduled actions and tags go; its activities stay."""
    for policy in policies_of(connection, [target.uid]):
        drop_policy(connection, target.scope, policy)
    connection.execute(delete(scheduled_actions).where(scheduled_actions.c.target_uid == target.uid))
    connection.execute(delete(tags).where(tags.c.resource_uid == target.uid))
    connection.execute(delete(scalable_targets).where(scalable_targets.c.uid == target.uid))


def policies_of(connection: Connection, target_uids: Collection[str]) -> list[Policy]:
    """The policies of some targets."""
    table = scaling_policies
    rows = connection.execute(select(table).where(table.c.target_uid.in_(target_uids)).order_by(table.c.uid))
    return [policy_of(row) for row in rows]


def put_policy(connection: Connection, policy: Policy, now_us: int) -> None:
    """Write a policy, new or anew."""
    values = {
        "target_uid": policy.target_uid,
        "name": policy.name,
        "kind": policy.kind,
        "guid": policy.guid,
        "modified_us": now_us,
        "spec": pack(policy.spec),
        "alarm_high": policy.alarm_high,
        "alarm_low": policy.alarm_low,
    }
    _put(connection, scaling_policies, policy.uid, policy.created_us, values)


def drop_policy(connection: Connection, scope: Scope, policy: Policy) -> None:
    """Delete a policy and the alarms that were made for it; alarms that somebody made for a step policy stay."""
    drop_alarms(connection, scope, [policy.alarm_high, policy.alarm_low])
    connection.execute(delete(scaling_policies).where(scaling_policies.c.uid == policy.uid))


def drop_alarms(connection: Connection, scope: Scope, names: Collection[str]) -> None:
    """Delete alarms that were made for a policy; empty names and those that are gone are passed over."""
    found = [find_alarm(connection, scope, name) for name in names if name]
    delete_alarms(connection, [alarm.uid for alarm in found if alarm is not None])


def actions_of(connection: Connection, target_uids: Collection[str]) -> list[ScheduledAction]:
    """The scheduled actions of some targets."""
    table = scheduled_actions
    rows = connection.execute(select(table).where(table.c.target_uid.in_(target_uids)).order_by(table.c.uid))
    return [action_of(row) for row in rows]


def put_action(connection: Connection, action: ScheduledAction) -> None:
    """Write a scheduled action, new or anew."""
    values = {
        "target_uid": action.target_uid,
        "name": action.name,
        "guid": action.guid,
        "modified_us": action.modified_us,
        "spec": pack(action.spec),
    }
    _put(connection, scheduled_actions, action.uid, action.created_us, values)


def drop_action(connection: Connection, uid: str) -> None:
    """Delete a scheduled action."""
    connection.execute(delete(scheduled_actions).where(scheduled_actions.c.uid == uid))


def mark_ran(connection: Connection, uid: str, ran_us: int) -> None:
    """Nothing of this action that was due up to `ran_us` runs any more; written by reconcile alone."""
    connection.execute(update(scheduled_actions).where(scheduled_actions.c.uid == uid).values(ran_us=ran_us))


def set_scale(connection: Connection, endpoint_uid: str, generation: int, variant: str, count: int, at_us: int) -> None:
    """Give a variant of a generation another count."""
    table = variant_scales
    key = (table.c.endpoint_uid == endpoint_uid, table.c.generation == generation, table.c.variant == variant)
    connection.execute(delete(table).where(*key))
    connection.execute(
        insert(table).values(
            endpoint_uid=endpoint_uid, generation=generation, variant=variant, instances=count, at_us=at_us
        )
    )


def scales_of(connection: Connection, endpoint_uid: str, generation: int) -> dict[str, int]:
    """The counts that scaling gave the variants of a generation, by variant name."""
    table = variant_scales
    rows = connection.execute(
        select(table.c.variant, table.c.instances).where(
            table.c.endpoint_uid == endpoint_uid, table.c.generation == generation
        )
    )
    return {row.variant: row.instances for row in rows}


def _put(connection: Connection, table: Table, uid: str, created_us: int, values: Mapping[str, Any]) -> None:
    changed = connection.execute(update(table).where(table.c.uid == uid).values(**values))
    if changed.rowcount == 0:
        connection.execute(insert(table).values(uid=uid, created_us=created_us, **values))


def target_of(row: Row[Any]) -> Target:
    """A row of `scalable_targets` as a value."""
    return Target(
        uid=row.uid,
        scope=Scope(row.account, row.region),
        resource_id=row.resource_id,
        dimension=row.dimension,
        endpoint_uid=row.endpoint_uid,
        variant=row.variant,
        created_us=row.created_us,
        spec=unpack(row.spec, TargetSpec),
        memory=Memory() if row.memory is None else unpack(row.memory, Memory),
    )


def policy_of(row: Row[Any]) -> Policy:
    """A row of `scaling_policies` as a value."""
    return Policy(
        uid=row.uid,
        target_uid=row.target_uid,
        name=row.name,
        kind=row.kind,
        guid=row.guid,
        created_us=row.created_us,
        spec=unpack(row.spec, _POLICY_KINDS[row.kind]),
        alarm_high=row.alarm_high,
        alarm_low=row.alarm_low,
    )


def action_of(row: Row[Any]) -> ScheduledAction:
    """A row of `scheduled_actions` as a value."""
    return ScheduledAction(
        uid=row.uid,
        target_uid=row.target_uid,
        name=row.name,
        guid=row.guid,
        created_us=row.created_us,
        modified_us=row.modified_us,
        spec=unpack(row.spec, ScheduledSpec),
        ran_us=row.ran_us,
    )
