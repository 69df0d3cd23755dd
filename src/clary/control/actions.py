"""Actions: added, removed, tried by their operator, and what their commands are given."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import Connection, delete, func, insert, select

from clary.control.desk import Caller, Deed, Desk
from clary.control.sessions import worker_credentials
from clary.domain.actions import ROLE, ActionSpec, check_action, function_arn, topic_arn
from clary.domain.errors import AlreadyExists, LimitExceeded, NotFound
from clary.domain.principal import Asked, Principal, Scope
from clary.kit.clock import MICROS
from clary.store import actions as rows
from clary.store import outbox
from clary.store.actions import ActionRecord, Run
from clary.store.documents import pack
from clary.store.records import record
from clary.store.sessions import Sessions
from clary.store.tables import action_runs, actions

KIND = "action"
ACTIONS_MAX = 200
"""Of an account."""
_SERVICE = "lambda.amazonaws.com"
"""Who assumes a command's role, in the audit: what a role's trust policy names."""


async def add(desk: Desk, caller: Caller, name: str, spec: ActionSpec) -> ActionRecord:
    """A new action. Invalid, AlreadyExists, LimitExceeded."""
    check_action(name, spec, caller.scope.account)
    now_us = desk.clock.now_us()
    made = ActionRecord(desk.ids.ulid(now_us), caller.scope.account, name, now_us, spec)

    def work(connection: Connection) -> None:
        if rows.find(connection, made.account, name) is not None:
            raise AlreadyExists(KIND, name, function_arn(caller.scope, name))
        mine = select(func.count()).select_from(actions).where(actions.c.account == made.account)
        if connection.execute(mine).scalar_one() >= ACTIONS_MAX:
            raise LimitExceeded("actions", ACTIONS_MAX, KIND)
        values = {"uid": made.uid, "account": made.account, "name": name, "created_us": now_us, "spec": pack(spec)}
        connection.execute(insert(actions).values(**values))
        _audit(connection, caller, "AddAction", made, now_us)

    await desk.store.write(work)
    return made


async def listed(desk: Desk, caller: Caller) -> list[ActionRecord]:
    """Those of the caller's account, by name."""
    return await desk.store.read(lambda connection: rows.listed(connection, caller.scope.account))


async def remove(desk: Desk, caller: Caller, name: str) -> None:
    """Drop an action and the record of its runs; what waits for it is given up. NotFound."""

    def work(connection: Connection) -> None:
        action = _find(connection, caller.scope, name)
        connection.execute(delete(actions).where(actions.c.uid == action.uid))
        mine = (action_runs.c.account == action.account, action_runs.c.name == name)
        connection.execute(delete(action_runs).where(*mine))
        _audit(connection, caller, "RemoveAction", action, desk.clock.now_us())

    await desk.store.write(work)


async def runs(desk: Desk, caller: Caller, name: str) -> list[Run]:
    """Its newest runs, the newest first. NotFound."""

    def work(connection: Connection) -> list[Run]:
        _find(connection, caller.scope, name)
        return rows.runs_of(connection, caller.scope.account, name)

    return await desk.store.read(work)


async def trial(desk: Desk, caller: Caller, name: str) -> str:
    """Send an action the event of an alarm that there is not; the uid of the event. NotFound."""
    now_us = desk.clock.now_us()
    uid = desk.ids.ulid(now_us)
    body = sample_event(caller.scope, now_us)

    def work(connection: Connection) -> None:
        action = _find(connection, caller.scope, name)
        target = function_arn(caller.scope, name)
        outbox.append(connection, outbox.Event(uid, now_us, caller.scope, outbox.TRIAL, target, body))
        _audit(connection, caller, "TestAction", action, now_us)

    await desk.store.write(work)
    return uid


async def environment(
    desk: Desk, sessions: Sessions, url: str, scope: Scope, name: str, spec: ActionSpec
) -> Mapping[str, str]:
    """Variables of a run: where the server is, and an hour's credentials of the action's role."""
    given = {**dict.fromkeys(("AWS_REGION", "AWS_DEFAULT_REGION"), scope.region), "AWS_ENDPOINT_URL": url}
    if not spec.role or not ROLE.fullmatch(spec.role):
        return given
    now_us = desk.clock.now_us()
    made = worker_credentials(sessions, spec.role, f"action-{name}"[:64], now_us)
    who = Principal(scope.account, _SERVICE, "")
    caller = Caller(who, scope, desk.ids.request_id(), Asked(source="sts.amazonaws.com"))
    deed = Deed("AssumeRole", spec.role.rpartition("/")[2], spec.role, now_us, "role")
    await desk.store.write(lambda connection: record(connection, caller, deed))
    return {
        **given,
        "AWS_ACCESS_KEY_ID": made.key_id,
        "AWS_SECRET_ACCESS_KEY": made.secret,
        "AWS_SESSION_TOKEN": made.token,
    }


def arns(scope: Scope, name: str) -> tuple[str, str]:
    """What an action is called by: as a function, and as a topic."""
    return function_arn(scope, name), topic_arn(scope, name)


def sample_event(scope: Scope, now_us: int) -> dict[str, object]:
    """An alarm's event for a function, of an alarm called `clary-actions-test`."""
    at = datetime.fromtimestamp(now_us / MICROS, UTC).isoformat(timespec="milliseconds").replace("+00:00", "+0000")
    metric = {"namespace": "Clary/Test", "name": "Test", "dimensions": {}}
    queries = [{"id": "m1", "metricStat": {"metric": metric, "period": 60, "stat": "Average"}, "returnData": True}]
    return {
        "source": "aws.cloudwatch",
        "alarmArn": f"arn:aws:cloudwatch:{scope.region}:{scope.account}:alarm:clary-actions-test",
        "accountId": scope.account,
        "time": at,
        "region": scope.region,
        "alarmData": {
            "alarmName": "clary-actions-test",
            "state": {"value": "ALARM", "reason": "This is a test of an action: no alarm is raised.", "timestamp": at},
            "previousState": {"value": "OK", "reason": "This is a test of an action.", "timestamp": at},
            "configuration": {"description": "A test of an action.", "metrics": queries},
        },
    }


def _find(connection: Connection, scope: Scope, name: str) -> ActionRecord:
    found = rows.find(connection, scope.account, name)
    if found is None:
        raise NotFound(KIND, name, function_arn(scope, name))
    return found


def _audit(connection: Connection, caller: Caller, verb: str, action: ActionRecord, now_us: int) -> None:
    record(connection, caller, Deed(verb, action.uid, function_arn(caller.scope, action.name), now_us, KIND))
