"""Guarded rollouts as users see and steer them: how one is to go, how far it is, its end by hand.

Reconcile takes them from step to step (reconcile/rollout.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, update

from clary.control.desk import Caller, Deed, Desk, audit, not_found
from clary.control.endpoints import KIND
from clary.domain.alarms import AlarmState, AlarmValue
from clary.domain.endpoint import Revision
from clary.domain.errors import Invalid
from clary.domain.names import arn_of
from clary.domain.principal import Scope
from clary.domain.rollout import (
    FRESH_US,
    LOOK_US,
    Deployment,
    Progress,
    Step,
    check_deployment,
    check_sizes,
    steps_of,
)
from clary.domain.states import EndpointStatus
from clary.domain.versions import Fleet
from clary.kit.clock import MICROS
from clary.store.alarms import alarm_states
from clary.store.endpoints import EndpointRecord, endpoint_record, fleet_of
from clary.store.named import find
from clary.store.records import announce
from clary.store.rollouts import last_deployment, progress_of
from clary.store.tables import endpoints, revisions


@dataclass(frozen=True)
class Guard:
    """What UpdateEndpoint says of how it is to go."""

    deployment: Deployment | None = None
    """DeploymentConfig."""
    retain: bool = False
    """RetainDeploymentConfig: the one that was given last."""


PLAIN = Guard()
"""All at once, without a bake."""


@dataclass(frozen=True)
class Rollout:
    """A guarded rollout that is under way. Instants in UTC microseconds."""

    endpoint: str
    old: Fleet
    new: Fleet
    deployment: Deployment
    steps: tuple[Step, ...]
    progress: Progress | None
    """None until reconcile looked at it."""
    alarms: Mapping[str, AlarmState]
    """Of those it goes by, the ones that there are."""

    @property
    def stage(self) -> str:
        """`starting`, `baking` or `returning`."""
        if self.progress is None or (not self.progress.reason and self.progress.reached_us is None):
            return "starting"
        return "returning" if self.progress.reason else "baking"

    def share(self, name: str) -> float:
        """The new fleet's part of a variant's traffic, 0 to 1; while it goes back, of when it began to."""
        taken = self.progress.taken if self.progress else 0
        return float(self.steps[taken - 1].share(name)) if taken else 0.0

    @property
    def bake_left_s(self) -> float:
        """What is left of the bake under way, in seconds; 0 where none is."""
        if self.progress is None or self.stage != "baking":
            return 0.0
        return max(0.0, self.steps[self.progress.step - 1].wait_s - self.progress.baked_us / MICROS)


def bake_left_s(found: Rollout, now_us: int) -> float:
    """What is left of the bake under way, between two looks at it, too; where alarms count, as they counted last."""
    progress = found.progress
    if progress is None or progress.looked_us is None or found.deployment.alarms:
        return found.bake_left_s
    return max(0.0, found.bake_left_s - max(0, now_us - progress.counted_us) / MICROS)


def counts(found: Rollout, now_us: int) -> bool:
    """Whether the bake under way counts: its replicas are ready, it is looked at, and every alarm was evaluated of
    late. One that was deleted, or never evaluated, stops it."""
    progress = found.progress
    if progress is None or progress.looked_us is None or not 0 <= now_us - progress.looked_us <= 2 * LOOK_US:
        return False
    seen_us = [found.alarms[name].evaluated_us if name in found.alarms else None for name in found.deployment.alarms]
    return all(at_us is not None and now_us - at_us <= FRESH_US for at_us in seen_us)


def deployment_for(
    connection: Connection, record: EndpointRecord, revision: Revision, guard: Guard
) -> Deployment | None:
    """How an update to `revision` goes, checked. Raises Invalid, also for an alarm that is not there or in ALARM."""
    if guard.retain and guard.deployment is not None:
        raise Invalid("Give either DeploymentConfig or RetainDeploymentConfig, not both.")
    deployment = last_deployment(connection, record.uid) if guard.retain else guard.deployment
    if deployment is None:
        return None
    check_deployment(deployment)
    check_sizes(deployment, revision)
    check_alarms(alarm_states(connection, record.scope, deployment.alarms), deployment, record.scope)
    return deployment


def check_alarms(states: Mapping[str, AlarmState], deployment: Deployment, scope: Scope) -> None:
    """Raise Invalid where an alarm of AutoRollbackConfiguration is not there, or is in ALARM already."""
    missing = [name for name in deployment.alarms if name not in states]
    if missing:
        raise Invalid(
            f"AutoRollbackConfiguration names alarms that account {scope.account} does not have in {scope.region}: "
            f"{', '.join(missing)}."
        )
    alarming = [name for name in deployment.alarms if states[name].value is AlarmValue.ALARM]
    if alarming:
        raise Invalid(
            f"The deployment cannot start: alarms of its AutoRollbackConfiguration are in ALARM already: "
            f"{', '.join(alarming)}."
        )


async def under_way(desk: Desk, caller: Caller, name: str) -> Rollout | None:
    """The rollout of an endpoint; None where none is under way. NotFound."""
    return await desk.store.read(lambda connection: rollout_of(connection, caller, name))


def rollout_of(connection: Connection, caller: Caller, name: str) -> Rollout | None:
    """As under_way."""
    return _rollout(connection, _row(connection, caller, name))


async def abort(desk: Desk, caller: Caller, name: str) -> int:
    """Want the traffic back at the old fleet; the number of the version that goes on.

    NotFound; Invalid where no rollout is under way.
    """

    def work(connection: Connection) -> int:
        row = _row(connection, caller, name)
        found = _required(connection, row)
        _wish(connection, caller, row, Deed("Rollback", "", "", now_us), found.new.generation, abort_us=now_us)
        return found.old.version

    now_us = desk.clock.now_us()
    return await desk.store.write(work)


async def promote(desk: Desk, caller: Caller, name: str, *, whole: bool = False) -> int:
    """Want the bake under way to end now; the number of the last step whose bake ends, from 1.

    `whole`: want all the traffic at the new fleet, by every step that this takes and no bake in between; the bake after
    it is made. Where it has all of it already, that bake ends, and the wait for termination. NotFound; Invalid where
    nothing bakes or, with `whole`, where the rollout goes back.
    """

    def work(connection: Connection) -> int:
        row = _row(connection, caller, name)
        found = _required(connection, row)
        if found.stage != "baking" and not (whole and found.stage == "starting"):
            raise Invalid(f"The rollout of endpoint {row.name} does not bake now, it is {found.stage}.")
        at = found.progress.step if found.progress else 1
        first_full = next(number for number, step in enumerate(found.steps, 1) if step.full)
        step = at if not whole else first_full - 1 if at < first_full else len(found.steps)
        _wish(connection, caller, row, Deed("Promote", "", "", now_us), found.new.generation, promoted_step=step)
        return step

    now_us = desk.clock.now_us()
    return await desk.store.write(work)


def _row(connection: Connection, caller: Caller, name: str) -> Row[Any]:
    row = find(connection, endpoints, caller.scope, name)
    if row is None:
        raise not_found(KIND, caller, name)
    return row


def _required(connection: Connection, row: Row[Any]) -> Rollout:
    found = _rollout(connection, row)
    if found is None:
        raise Invalid(f"No guarded rollout of endpoint {row.name} is under way.")
    return found


def _rollout(connection: Connection, row: Row[Any]) -> Rollout | None:
    record = endpoint_record(row)
    if record.status is not EndpointStatus.UPDATING or record.served_generation is None:
        return None
    new = fleet_of(connection, record.uid, record.generation)
    if new.deployment is None:
        return None
    return Rollout(
        endpoint=record.name,
        old=fleet_of(connection, record.uid, record.served_generation),
        new=new,
        deployment=new.deployment,
        steps=steps_of(new.deployment, new.revision),
        progress=progress_of(connection, record.uid, record.generation),
        alarms=alarm_states(connection, record.scope, new.deployment.alarms),
    )


def _wish(connection: Connection, caller: Caller, row: Row[Any], deed: Deed, generation: int, **columns: int) -> None:
    connection.execute(
        update(revisions)
        .where(revisions.c.endpoint_uid == row.uid, revisions.c.generation == generation)
        .values(**columns)
    )
    announce(connection, KIND.noun, row.uid, deed.at_us)
    arn = arn_of(KIND.noun, caller.scope, row.name)
    audit(connection, caller, KIND, replace(deed, uid=row.uid, resource=arn))
