"""Autoscaling: scalable targets, policies, scheduled actions, activities. What is wanted is written here; reconcile
scales."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from clary.control.alarms import check_metrics
from clary.control.desk import Caller, Deed, Desk, put_tags
from clary.domain.alarms import alarm_arn, check_alarm
from clary.domain.endpoint import Revision
from clary.domain.errors import Invalid, LimitExceeded, NotFound
from clary.domain.principal import Scope
from clary.domain.scaling import (
    INSTANCE_COUNT,
    STEP,
    TRACKING,
    Memory,
    ScheduledSpec,
    StepScaling,
    Suspended,
    TargetSpec,
    TargetTracking,
    action_arn,
    alarm_name,
    alarm_of,
    check_bounds,
    check_scheduled,
    check_steps,
    check_tracking,
    policy_arn,
    queries_of,
    service_role,
    target_arn,
    variant_of,
)
from clary.domain.schedules import check
from clary.store import scaling as rows
from clary.store.alarms import put as put_alarm
from clary.store.auto_scaling import drop_auto_scale
from clary.store.endpoints import endpoint_record, fleet_of
from clary.store.named import After, find
from clary.store.records import record
from clary.store.scaling import Policy, ScheduledAction, Target
from clary.store.scaling_activities import ACTIVITIES_KEPT_US, Activity, list_activities
from clary.store.scaling_pages import Page, list_actions, list_policies, list_targets
from clary.store.tables import endpoints, scalable_targets

TARGET, POLICY, ACTION = "scalable-target", "scaling-policy", "scheduled-action"
TARGETS_MAX = 500
"""Of an account and region (quota of the service for SageMaker)."""
POLICIES_MAX = 50
"""Of a target (quota: step and target-tracking policies)."""
ACTIONS_MAX = 200
"""Of a target (quota)."""


class Resource(NamedTuple):
    """What is scaled."""

    id: str
    """`endpoint/NAME/variant/NAME`"""
    dimension: str = INSTANCE_COUNT


@dataclass(frozen=True)
class Registration:
    """RegisterScalableTarget; None: as it is, or the default of a new target."""

    min_capacity: int | None = None
    max_capacity: int | None = None
    role_arn: str | None = None
    scale_in_suspended: bool | None = None
    scale_out_suspended: bool | None = None
    scheduled_suspended: bool | None = None
    tags: dict[str, str] = field(default_factory=dict)


async def register(desk: Desk, caller: Caller, resource: Resource, given: Registration) -> str:
    """Register a target, or change it; its ARN. Raises Invalid, NotServed, LimitExceeded."""
    endpoint, variant = variant_of(resource.id)
    now_us = desk.clock.now_us()
    uid = desk.ids.ulid(now_us)

    def work(connection: Connection) -> str:
        old = rows.find_target(connection, caller.scope, *resource)
        if old is None:
            made = _new_target(connection, caller, resource, (endpoint, variant), given, uid, now_us)
            rows.add_target(connection, made)
            drop_auto_scale(connection, made.endpoint_uid, made.variant)  # one scales at a time
            put_tags(connection, uid, {}, given.tags)
        else:
            if given.tags:
                raise Invalid(
                    "The scalable target that you tried to tag already exists. To update tags on an existing scalable "
                    "target, use the TagResource API."
                )
            made = replace(old, spec=_changed(old.spec, given))
            rows.change_target(connection, old.uid, made.spec, now_us)
        arn = target_arn(caller.scope, made.uid)
        record(connection, caller, Deed("RegisterScalableTarget", made.uid, arn, now_us, TARGET))
        return arn

    return await desk.store.write(work)


def _new_target(
    connection: Connection,
    caller: Caller,
    resource: Resource,
    names: tuple[str, str],
    given: Registration,
    uid: str,
    now_us: int,
) -> Target:
    if given.min_capacity is None or given.max_capacity is None:
        raise Invalid("MinCapacity and MaxCapacity are required to register a new scalable target.")
    check_bounds(given.min_capacity, given.max_capacity)
    table = scalable_targets
    mine = (table.c.account == caller.scope.account, table.c.region == caller.scope.region)
    if (connection.execute(select(func.count()).select_from(table).where(*mine)).scalar() or 0) >= TARGETS_MAX:
        raise LimitExceeded("scalable targets of an account and region", TARGETS_MAX, "targets")
    row = find(connection, endpoints, caller.scope, names[0])
    found = None
    if row is not None and row.delete_requested_us is None:
        fleet = fleet_of(connection, row.uid, endpoint_record(row).generation)
        found = next((one for one in fleet.revision.variants if one.name.lower() == names[1].lower()), None)
    if row is None or found is None:
        raise Invalid(f"SageMaker endpoint variant doesn't exist: {resource.id}")
    return Target(
        uid=uid,
        scope=caller.scope,
        resource_id=resource.id,
        dimension=resource.dimension,
        endpoint_uid=row.uid,
        variant=found.name,
        created_us=now_us,
        spec=_changed(TargetSpec(0, 0, service_role(caller.scope.account), revision=0), given),
        memory=Memory(),
    )


def _changed(old: TargetSpec, given: Registration) -> TargetSpec:
    """Bounds that are given void those that a schedule set."""
    bounded = given.min_capacity is not None or given.max_capacity is not None
    spec = TargetSpec(
        min_capacity=old.min_capacity if given.min_capacity is None else given.min_capacity,
        max_capacity=old.max_capacity if given.max_capacity is None else given.max_capacity,
        role_arn=given.role_arn or old.role_arn,
        suspended=Suspended(
            _other(given.scale_in_suspended, old.suspended.scale_in),
            _other(given.scale_out_suspended, old.suspended.scale_out),
            _other(given.scheduled_suspended, old.suspended.scheduled),
        ),
        revision=old.revision + bounded,
    )
    check_bounds(spec.min_capacity, spec.max_capacity)
    return spec


def _other(given: bool | None, old: bool) -> bool:
    return old if given is None else given


async def deregister(desk: Desk, caller: Caller, resource: Resource) -> None:
    """Drop a target with its policies, their alarms and its schedule; the count stays. Raises NotFound."""
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> None:
        target = _target(connection, caller, resource)
        rows.drop_target(connection, target)
        arn = target_arn(caller.scope, target.uid)
        record(connection, caller, Deed("DeregisterScalableTarget", target.uid, arn, now_us, TARGET))

    await desk.store.write(work)


async def targets(desk: Desk, caller: Caller, page: Page) -> tuple[list[Target], After | None]:
    """One page of targets."""
    return await desk.store.read(lambda connection: list_targets(connection, caller.scope, page))


async def put_policy(
    desk: Desk, caller: Caller, resource: Resource, name: str, spec: TargetTracking | StepScaling
) -> tuple[Policy, str]:
    """Make a policy, or define it anew; with its ARN.

    Raises NotFound for the target, Invalid, NotServed, LimitExceeded.
    """
    if isinstance(spec, TargetTracking):
        check_tracking(spec, resource.dimension)
    else:
        check_steps(spec)
    kind = TRACKING if isinstance(spec, TargetTracking) else STEP
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> tuple[Policy, str]:
        target = _target(connection, caller, resource)
        found = {one.name: one for one in rows.policies_of(connection, [target.uid])}
        old = found.get(name)
        if old is None and len(found) >= POLICIES_MAX:
            raise LimitExceeded("scaling policies of a target", POLICIES_MAX, "policies")
        if old is not None and old.kind != kind:
            raise Invalid(f"The policy {name} is of the type {old.kind}, which cannot change. Delete it first.")
        if old is None:
            guid = desk.ids.request_id()
            old = Policy(desk.ids.ulid(now_us), target.uid, name, kind, guid, now_us, spec, "", "")
        policy = replace(old, spec=spec)
        if isinstance(spec, TargetTracking):
            policy = _with_alarms(connection, desk, target, policy, spec, now_us)
        rows.put_policy(connection, policy, now_us)
        arn = policy_arn(caller.scope, policy.guid, target.resource_id, name)
        record(connection, caller, Deed("PutScalingPolicy", policy.uid, arn, now_us, POLICY))
        return policy, arn

    return await desk.store.write(work)


def _with_alarms(
    connection: Connection, desk: Desk, target: Target, policy: Policy, spec: TargetTracking, now_us: int
) -> Policy:
    """The policy with its pair of alarms; one that does not scale in has the upper one only."""
    endpoint = connection.execute(select(endpoints.c.name).where(endpoints.c.uid == target.endpoint_uid)).scalar_one()
    arn = policy_arn(target.scope, policy.guid, target.resource_id, policy.name)
    queries = queries_of(spec, endpoint, target.variant)
    names = {True: policy.alarm_high, False: policy.alarm_low}
    if spec.disable_scale_in and policy.alarm_low:
        rows.drop_alarms(connection, target.scope, [policy.alarm_low])
        names[False] = ""
    for high in (True,) if spec.disable_scale_in else (True, False):
        names[high] = names[high] or alarm_name(target.resource_id, high=high, guid=desk.ids.request_id())
        alarm = alarm_of(spec, queries, arn, high=high)
        check_alarm(alarm)
        check_metrics(alarm)
        put_alarm(connection, target.scope, names[high], alarm, desk.ids.ulid(now_us), now_us)
    return replace(policy, alarm_high=names[True], alarm_low=names[False])


def alarms_of(policy: Policy, scope: Scope) -> list[tuple[str, str]]:
    """Name and ARN of the alarms that were made for a policy."""
    return [(name, alarm_arn(scope, name)) for name in (policy.alarm_high, policy.alarm_low) if name]


async def delete_policy(desk: Desk, caller: Caller, resource: Resource, name: str) -> None:
    """Delete a policy and the alarms that were made for it. Raises NotFound."""
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> None:
        target = rows.find_target(connection, caller.scope, *resource)
        found = () if target is None else rows.policies_of(connection, [target.uid])
        policy = next((one for one in found if one.name == name), None)
        if target is None or policy is None:
            raise NotFound(POLICY, name, f"{resource.id} {resource.dimension}")
        rows.drop_policy(connection, caller.scope, policy)
        arn = policy_arn(caller.scope, policy.guid, target.resource_id, name)
        record(connection, caller, Deed("DeleteScalingPolicy", policy.uid, arn, now_us, POLICY))

    await desk.store.write(work)


async def policies(desk: Desk, caller: Caller, page: Page) -> tuple[list[tuple[Policy, Target]], After | None]:
    """One page of policies."""
    return await desk.store.read(lambda connection: list_policies(connection, caller.scope, page))


async def put_action(desk: Desk, caller: Caller, resource: Resource, name: str, spec: ScheduledSpec) -> None:
    """Make a scheduled action, or change it: what `spec` lacks stays, but for start and end (API reference).

    Raises NotFound for the target, Invalid, LimitExceeded.
    """
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> None:
        target = _target(connection, caller, resource)
        found = {one.name: one for one in rows.actions_of(connection, [target.uid])}
        old = found.get(name)
        if old is None and len(found) >= ACTIONS_MAX:
            raise LimitExceeded("scheduled actions of a target", ACTIONS_MAX, "actions")
        made = spec if old is None else _merged(old.spec, spec)
        if not made.times.schedule:
            raise Invalid("Schedule is required for a new scheduled action.")
        check(made.times)
        check_scheduled(made)
        if old is None:
            guid = desk.ids.request_id()
            old = ScheduledAction(desk.ids.ulid(now_us), target.uid, name, guid, now_us, now_us, made, None)
        rows.put_action(connection, replace(old, spec=made, modified_us=now_us))
        arn = action_arn(caller.scope, old.guid, target.resource_id, name)
        record(connection, caller, Deed("PutScheduledAction", old.uid, arn, now_us, ACTION))

    await desk.store.write(work)


def _merged(old: ScheduledSpec, new: ScheduledSpec) -> ScheduledSpec:
    times = replace(
        new.times,
        schedule=new.times.schedule or old.times.schedule,
        time_zone=new.times.time_zone or old.times.time_zone,
    )
    if new.min_capacity is None and new.max_capacity is None:
        return replace(old, times=times)
    return replace(new, times=times)


async def delete_action(desk: Desk, caller: Caller, resource: Resource, name: str) -> None:
    """Delete a scheduled action. Raises NotFound."""
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> None:
        target = rows.find_target(connection, caller.scope, *resource)
        found = () if target is None else rows.actions_of(connection, [target.uid])
        action = next((one for one in found if one.name == name), None)
        if target is None or action is None:
            raise NotFound(ACTION, name, f"{resource.id} {resource.dimension}")
        rows.drop_action(connection, action.uid)
        arn = action_arn(caller.scope, action.guid, target.resource_id, name)
        record(connection, caller, Deed("DeleteScheduledAction", action.uid, arn, now_us, ACTION))

    await desk.store.write(work)


async def actions(desk: Desk, caller: Caller, page: Page) -> tuple[list[tuple[ScheduledAction, Target]], After | None]:
    """One page of scheduled actions."""
    return await desk.store.read(lambda connection: list_actions(connection, caller.scope, page))


async def activities(
    desk: Desk, caller: Caller, page: Page, *, not_scaled: bool
) -> tuple[list[Activity], After | None]:
    """One page of the activities of the last six weeks, the newest first."""
    since_us = desk.clock.now_us() - ACTIVITIES_KEPT_US
    return await desk.store.read(
        lambda connection: list_activities(connection, caller.scope, page, since_us, not_scaled=not_scaled)
    )


# -- for other use cases -----------------------------------------------------------------------------------------------


def admit_revision(connection: Connection, endpoint_uid: str, serves: Revision, new: Revision) -> None:
    """Raise Invalid where a variant that is registered would go or change its instance type (developer guide, "Update
    endpoints that use automatic scaling"; the words are the hosted service's, from public reports)."""
    old = {variant.name: variant.instance_type for variant in serves.variants}
    kept = {variant.name: variant.instance_type for variant in new.variants}
    named = {target.variant for target in rows.targets_of(connection, endpoint_uid)}
    changed = [name for name in sorted(named & old.keys()) if kept.get(name) != old[name]]
    if changed:
        raise Invalid(
            f'The variant(s) "[{", ".join(changed)}]" must be deregistered as scalable targets with AWS Auto Scaling '
            "before they can be removed or have their instance type updated."
        )


def drop_targets(connection: Connection, endpoint_uid: str) -> None:
    """An endpoint that is deleted is scaled no more."""
    for target in rows.targets_of(connection, endpoint_uid):
        rows.drop_target(connection, target)


def _target(connection: Connection, caller: Caller, resource: Resource) -> Target:
    found = rows.find_target(connection, caller.scope, *resource)
    if found is None:
        raise NotFound(TARGET, resource.id, f"{resource.id} {resource.dimension}")
    return found
