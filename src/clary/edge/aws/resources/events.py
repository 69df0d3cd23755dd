"""EventBridge: rules of the default bus, their targets, events that clients put."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from clary.control import rules
from clary.control.desk import Desk
from clary.control.rules import Entry
from clary.domain import errors as domain
from clary.domain import event_patterns
from clary.domain.event_inputs import TargetSpec
from clary.domain.rules import BUS, RuleSpec
from clary.domain.tags import unique_tags
from clary.edge.aws import page
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call, Field, Handler, Members, Operation
from clary.edge.aws.resources.members import caller_of, given, instant_us, tag_list
from clary.store.outbox import bus_arn
from clary.store.rules import RuleRecord

PAGE = 100
ENTRIES_MAX = 10
ENTRY_BYTES_MAX = 256 * 1024
_OTHER_BUSES = "Only the bus default is served."
_ROLE = "Kept and returned; targets are called by the server itself."
_TARGETS = {
    f"Targets[].{name}": note
    for name, note in {
        **dict.fromkeys(
            (
                "KinesisParameters", "RunCommandParameters", "EcsParameters", "BatchParameters", "SqsParameters",
                "HttpParameters", "RedshiftDataParameters", "SageMakerPipelineParameters", "AppSyncParameters",
            ),
            "Targets are actions and topics.",
        ),
        "DeadLetterConfig": "There are no queues; what failed is in the log and in `clary actions runs`.",
        "RetryPolicy": "An action says how often it is tried again (clary actions add --retries).",
    }.items()
}  # fmt: skip


def operations(desk: Desk) -> tuple[Operation, ...]:
    """Rules, targets, events."""
    rule, bus, paged = "Rule", "EventBusName", ("NextToken", "Limit")
    inputs = ("Id", "Arn", "Input", "InputPath", "InputTransformer")
    force = {"Force": (Field.STORED, "No rule is managed by a service: it makes no difference.")}
    role = {"RoleArn": (Field.STORED, _ROLE)}
    targets = {name: (Field.REFUSED, note) for name, note in _TARGETS.items()}
    traced = {"Entries[].TraceHeader": (Field.REFUSED, "Events are not traced.")}
    endpoint = {"EndpointId": (Field.REFUSED, "There are no global endpoints.")}
    entry = tuple(f"Entries[].{name}" for name in ("Time", "Source", "Resources", "DetailType", "Detail", bus))
    wanted = ("Name", "ScheduleExpression", "EventPattern", "State", "Description", "Tags", bus)
    put_targets = (rule, bus, "Targets", *(f"Targets[].{name}" for name in inputs))
    return (
        _operation(desk, "PutRule", _put, wanted, role),
        _operation(desk, "DescribeRule", _describe, ("Name", bus)),
        _operation(desk, "ListRules", _list, ("NamePrefix", bus, *paged)),
        _operation(desk, "EnableRule", _enable, ("Name", bus)),
        _operation(desk, "DisableRule", _disable, ("Name", bus)),
        _operation(desk, "DeleteRule", _delete, ("Name", bus), force),
        _operation(
            desk, "PutTargets", _put_targets, put_targets, {"Targets[].RoleArn": (Field.STORED, _ROLE), **targets}
        ),
        _operation(desk, "ListTargetsByRule", _list_targets, (rule, bus, *paged)),
        _operation(desk, "ListRuleNamesByTarget", _list_by_target, ("TargetArn", bus, *paged)),
        _operation(desk, "RemoveTargets", _remove_targets, (rule, bus, "Ids"), force),
        _operation(desk, "PutEvents", _put_events, ("Entries", *entry), {**traced, **endpoint}),
        _operation(desk, "TestEventPattern", _test, ("EventPattern", "Event")),
        _operation(desk, "DescribeEventBus", _describe_bus, ("Name",)),
        _operation(desk, "ListEventBuses", _list_buses, ("NamePrefix", *paged)),
        _operation(desk, "TagResource", _tag, ("ResourceARN", "Tags")),
        _operation(desk, "UntagResource", _untag, ("ResourceARN", "TagKeys")),
        _operation(desk, "ListTagsForResource", _list_tags, ("ResourceARN",)),
    )


def _operation(
    desk: Desk,
    name: str,
    handler: Callable[[Desk, Call, Members], Any],
    served: Sequence[str],
    other: Mapping[str, tuple[Field, str]] = MappingProxyType({}),
) -> Operation:
    """With EventBridge's own codes for the facts of the domain, and the default bus alone."""

    async def coded(call: Call, members: Members) -> Members:
        if "EventBusName" in members:
            _check_bus(call, members["EventBusName"])
        try:
            found: Members | None = await handler(desk, call, members)
        except domain.DomainError as error:
            raise _error(error) from error
        return found or {}

    fields = {**dict.fromkeys(served, Field.SERVED), **{path: how for path, (how, _) in other.items()}}
    bound: Handler = coded
    return Operation("events", name, bound, fields, {path: note for path, (_, note) in other.items()})


def _check_bus(call: Call, name: str) -> None:
    if name not in (BUS, bus_arn(call.scope)):
        text = f"Event bus {name} does not exist. {_OTHER_BUSES}"
        raise AwsError("ResourceNotFoundException", text)


def _error(error: domain.DomainError) -> AwsError:
    if isinstance(error, domain.NotFound):
        return AwsError("ResourceNotFoundException", f"Rule {error.name} does not exist on EventBus {BUS}.")
    if isinstance(error, domain.LimitExceeded):
        if "wait" in error.what:
            return AwsError("ThrottlingException", "Rate exceeded: too many events wait on the bus.")
        return AwsError("LimitExceededException", f"The limit of {error.limit} {error.unit} is reached.")
    if isinstance(error, domain.NotServed):
        return AwsError("ValidationException", f"{error.what} is not served by Clary. {error.remedy}".rstrip())
    message = error.message if isinstance(error, domain.Invalid) else str(error)
    if message.startswith("Event pattern is not valid"):
        return AwsError("InvalidEventPatternException", message)
    if message.startswith("The requested resource exceeds"):
        return AwsError("LimitExceededException", message)
    return AwsError("ValidationException", message)


# -- rules -------------------------------------------------------------------------------------------------------------


async def _put(desk: Desk, call: Call, members: Members) -> Members:
    state = members.get("State", "ENABLED")
    if state not in ("ENABLED", "DISABLED"):
        raise AwsError("ValidationException", f"The state {state} is not served by Clary: there are no such events.")
    spec = RuleSpec(
        pattern=members.get("EventPattern", ""),
        schedule=members.get("ScheduleExpression", ""),
        enabled=state == "ENABLED",
        description=members.get("Description", ""),
        role=members.get("RoleArn", ""),
    )
    labels = unique_tags([(tag["Key"], tag["Value"]) for tag in members.get("Tags", ())])
    return {"RuleArn": (await rules.put(desk, caller_of(call), members["Name"], spec, labels)).arn}


async def _describe(desk: Desk, call: Call, members: Members) -> Members:
    rule = await rules.found(desk, caller_of(call), members["Name"])
    return {**_rule(rule), "CreatedBy": rule.scope.account}


def _rule(rule: RuleRecord) -> dict[str, Any]:
    spec = rule.spec
    return given(
        Name=rule.name,
        Arn=rule.arn,
        EventPattern=spec.pattern,
        ScheduleExpression=spec.schedule,
        State="ENABLED" if spec.enabled else "DISABLED",
        Description=spec.description,
        RoleArn=spec.role,
        EventBusName=BUS,
    )


async def _list(desk: Desk, call: Call, members: Members) -> Members:
    prefix = members.get("NamePrefix", "")
    by_name = {r.name: r for r in await rules.listed(desk, caller_of(call)) if r.name.startswith(prefix)}
    names, more = _cut(call, "ListRules", members, list(by_name))
    return {"Rules": [_rule(by_name[name]) for name in names], **more}


async def _enable(desk: Desk, call: Call, members: Members) -> None:
    await rules.switch(desk, caller_of(call), members["Name"], on=True)


async def _disable(desk: Desk, call: Call, members: Members) -> None:
    await rules.switch(desk, caller_of(call), members["Name"], on=False)


async def _delete(desk: Desk, call: Call, members: Members) -> None:
    await rules.remove(desk, caller_of(call), members["Name"])


def _cut(call: Call, name: str, members: Members, keys: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """A page of keys in their order, and the member that goes on after it."""
    kept = {key: value for key, value in members.items() if key not in ("NextToken", "Limit")}
    parameters = {"operation": name, "scope": [call.scope.account, call.scope.region], **kept}
    after = str(page.decode(members["NextToken"], parameters)[0]) if members.get("NextToken") else ""
    ordered, limit = sorted(keys), members.get("Limit", PAGE)
    begin = bisect_right(ordered, after)
    shown = ordered[begin : begin + limit]
    more = begin + limit < len(ordered)
    return shown, {"NextToken": page.encode((shown[-1],), parameters)} if more else {}


# -- targets -----------------------------------------------------------------------------------------------------------


async def _put_targets(desk: Desk, call: Call, members: Members) -> Members:
    await rules.put_targets(desk, caller_of(call), members["Rule"], [_target_of(one) for one in members["Targets"]])
    return {"FailedEntryCount": 0, "FailedEntries": []}


def _target_of(members: Members) -> TargetSpec:
    transformer = members.get("InputTransformer", {})
    return TargetSpec(
        id=members["Id"],
        arn=members["Arn"],
        role=members.get("RoleArn", ""),
        input=members.get("Input", ""),
        path=members.get("InputPath", ""),
        paths=dict(transformer.get("InputPathsMap", {})),
        template=transformer.get("InputTemplate", ""),
    )


def _target(target: TargetSpec) -> dict[str, Any]:
    transformer: dict[str, Any] | None = None
    if target.template:
        transformer = {"InputTemplate": target.template}
        if target.paths:
            transformer["InputPathsMap"] = dict(target.paths)
    return given(
        Id=target.id,
        Arn=target.arn,
        RoleArn=target.role,
        Input=target.input,
        InputPath=target.path,
        InputTransformer=transformer,
    )


async def _list_targets(desk: Desk, call: Call, members: Members) -> Members:
    by_id = {one.id: one for one in (await rules.found(desk, caller_of(call), members["Rule"])).spec.targets}
    ids, more = _cut(call, "ListTargetsByRule", members, list(by_id))
    return {"Targets": [_target(by_id[name]) for name in ids], **more}


async def _list_by_target(desk: Desk, call: Call, members: Members) -> Members:
    arn = members["TargetArn"]
    found = await rules.listed(desk, caller_of(call))
    matching = [rule.name for rule in found if any(target.arn == arn for target in rule.spec.targets)]
    names, more = _cut(call, "ListRuleNamesByTarget", members, matching)
    return {"RuleNames": names, **more}


async def _remove_targets(desk: Desk, call: Call, members: Members) -> Members:
    missing = await rules.remove_targets(desk, caller_of(call), members["Rule"], members["Ids"])
    failed = [
        {"TargetId": name, "ErrorCode": "ResourceNotFoundException", "ErrorMessage": f"Target {name} does not exist."}
        for name in missing
    ]
    return {"FailedEntryCount": len(failed), "FailedEntries": failed}


# -- events ------------------------------------------------------------------------------------------------------------


async def _put_events(desk: Desk, call: Call, members: Members) -> Members:
    entries = members["Entries"]
    if not 1 <= len(entries) <= ENTRIES_MAX:
        raise AwsError("ValidationException", f"PutEvents takes 1 to {ENTRIES_MAX} entries.")
    read = [_entry_of(call, entry) for entry in entries]
    ids = iter(await rules.put_events(desk, caller_of(call), [one for one in read if isinstance(one, Entry)]))
    answers: list[Mapping[str, str]] = [{"EventId": next(ids)} if isinstance(one, Entry) else one for one in read]
    return {"FailedEntryCount": sum("ErrorCode" in one for one in answers), "Entries": answers}


def _entry_of(call: Call, members: Members) -> Entry | dict[str, str]:
    """The event of an entry, or what is wrong with it."""
    for name in ("Source", "DetailType", "Detail"):
        if not members.get(name):
            return _wrong("InvalidArgument", f"Parameter {name} is not valid. Reason: {name} is a required argument.")
    if members["Source"].startswith("aws."):
        return _wrong("NotAuthorizedForSourceException", "Sources that begin with aws. are the services' own.")
    if members.get("EventBusName", BUS) not in (BUS, bus_arn(call.scope)):
        return _wrong("InvalidArgument", f"The event bus {members['EventBusName']} does not exist. {_OTHER_BUSES}")
    size = sum(len(members[name].encode()) for name in ("Source", "DetailType", "Detail"))
    if size + sum(len(one.encode()) for one in members.get("Resources", ())) > ENTRY_BYTES_MAX:
        return _wrong("InvalidArgument", f"The entry is longer than {ENTRY_BYTES_MAX} bytes.")
    try:
        detail = json.loads(members["Detail"])
    except (ValueError, RecursionError):
        detail = None
    if not isinstance(detail, dict):
        return _wrong("MalformedDetail", "Detail is malformed.")
    at_us = instant_us(members.get("Time"))
    return Entry(members["Source"], members["DetailType"], detail, tuple(members.get("Resources", ())), at_us)


def _wrong(code: str, message: str) -> dict[str, str]:
    return {"ErrorCode": code, "ErrorMessage": message}


async def _test(desk: Desk, call: Call, members: Members) -> Members:  # noqa: ARG001 - a handler's form
    pattern = event_patterns.parse(members["EventPattern"])
    try:
        event = json.loads(members["Event"])
    except (ValueError, RecursionError):
        event = None
    needed = ("id", "account", "source", "time", "region", "resources", "detail-type")
    if not isinstance(event, dict) or any(name not in event for name in needed):
        text = f"Parameter Event is not valid. Reason: it must be an event with {', '.join(needed)}."
        raise AwsError("ValidationException", text)
    return {"Result": event_patterns.matches(pattern, event)}


async def _describe_bus(desk: Desk, call: Call, members: Members) -> Members:  # noqa: ARG001 - a handler's form
    _check_bus(call, members.get("Name", BUS))
    return {"Name": BUS, "Arn": bus_arn(call.scope)}


async def _list_buses(desk: Desk, call: Call, members: Members) -> Members:  # noqa: ARG001 - a handler's form
    names, more = _cut(call, "ListEventBuses", members, [BUS] if BUS.startswith(members.get("NamePrefix", "")) else [])
    return {"EventBuses": [{"Name": name, "Arn": bus_arn(call.scope)} for name in names], **more}


# -- tags --------------------------------------------------------------------------------------------------------------


async def _tag(desk: Desk, call: Call, members: Members) -> None:
    new = unique_tags([(tag["Key"], tag["Value"]) for tag in members["Tags"]])
    await rules.add_tags(desk, caller_of(call), members["ResourceARN"], new)


async def _untag(desk: Desk, call: Call, members: Members) -> None:
    await rules.remove_tags(desk, caller_of(call), members["ResourceARN"], members["TagKeys"])


async def _list_tags(desk: Desk, call: Call, members: Members) -> Members:
    return {"Tags": tag_list(await rules.list_tags(desk, caller_of(call), members["ResourceARN"]))}
