"""CloudTrail: trails, which bring events to a bucket."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from clary.control import trails
from clary.control.desk import Desk
from clary.domain.errors import AlreadyExists, LimitExceeded, NotFound
from clary.domain.trails import ALL_MANAGEMENT, DATA, ENDPOINT, FIELDS, MANAGEMENT, FieldSelector, Selector, TrailSpec
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call, Field, Handler, Members, Operation
from clary.edge.aws.resources.members import caller_of, given, instant
from clary.store.trails import TrailRecord

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,126}[A-Za-z0-9]")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX_CHARS_MAX = 200
_ELSEWHERE = {
    "SnsTopicName": "Nobody is notified of deliveries; use the bucket.",
    "EnableLogFileValidation": "Objects have no digests; the audit itself is chained (clary audit verify).",
    "CloudWatchLogsLogGroupArn": "Trails are delivered to a bucket.",
    "CloudWatchLogsRoleArn": "Trails are delivered to a bucket.",
    "KmsKeyId": "There are no keys of KMS; encrypt the disk.",
    "IsOrganizationTrail": "There is no organization.",
    "RecursiveLogging": "Accesses to buckets are not recorded.",
    "IsMultiRegionTrail": "A trail is of one region here; make one in each.",
}
_GLOBAL = "Every service's events are of the region that the caller signed for."
_OPERATORS = {
    "Equals": "equals",
    "StartsWith": "starts_with",
    "EndsWith": "ends_with",
    "NotEquals": "not_equals",
    "NotStartsWith": "not_starts_with",
    "NotEndsWith": "not_ends_with",
}


def operations(desk: Desk) -> tuple[Operation, ...]:
    """Trails."""
    where = ("Name", "S3BucketName", "S3KeyPrefix")
    told = {"IncludeGlobalServiceEvents": Field.STORED, **dict.fromkeys(_ELSEWHERE, Field.REFUSED)}
    notes = {**_ELSEWHERE, "IncludeGlobalServiceEvents": _GLOBAL}
    tags = {"TagsList": "Trails have no tags here."}

    def made(
        name: str,
        handler: Callable[[Desk, Call, Members], Any],
        served: Sequence[str],
        other: Mapping[str, Field] = MappingProxyType({}),
        notes: Mapping[str, str] = MappingProxyType({}),
    ) -> Operation:
        return Operation(
            "cloudtrail", name, _bound(handler, desk), {**dict.fromkeys(served, Field.SERVED), **other}, notes
        )

    refused, stored = Field.REFUSED, Field.STORED
    simple = {"EventSelectors": "Simple selectors cannot name endpoints; use AdvancedEventSelectors."}
    shadows = {"includeShadowTrails": "There are no trails of other regions to show."}
    selectors = ("TrailName", "AdvancedEventSelectors")
    return (
        made("CreateTrail", _create, where, {**told, "TagsList": refused}, {**notes, **tags}),
        made("UpdateTrail", _update, where, told, notes),
        made("DeleteTrail", _delete, ("Name",)),
        made("GetTrail", _get, ("Name",)),
        made("ListTrails", _list, (), {"NextToken": refused}, {"NextToken": "All come in one page."}),
        made("DescribeTrails", _describe, ("trailNameList",), {"includeShadowTrails": stored}, shadows),
        made("StartLogging", _start, ("Name",)),
        made("StopLogging", _stop, ("Name",)),
        made("GetTrailStatus", _status, ("Name",)),
        made("PutEventSelectors", _put_selectors, selectors, {"EventSelectors": refused}, simple),
        made("GetEventSelectors", _get_selectors, ("TrailName",)),
    )


def _bound(handler: Callable[[Desk, Call, Members], Any], desk: Desk) -> Handler:
    async def bound(call: Call, members: Members) -> Members:
        try:
            found: Members | None = await handler(desk, call, members)
        except NotFound as error:
            text = f"Unknown trail: {error.name} for the user: {call.scope.account}"
            raise AwsError("TrailNotFoundException", text) from None
        except AlreadyExists as error:
            text = f"Trail {error.name} already exists for customer: {call.scope.account}"
            raise AwsError("TrailAlreadyExistsException", text) from None
        except LimitExceeded as error:
            text = f"User: {call.scope.account} already has {error.limit} trails in {call.scope.region}."
            raise AwsError("MaximumNumberOfTrailsExceededException", text) from None
        return found or {}

    return bound


async def _create(desk: Desk, call: Call, members: Members) -> Members:
    name = members["Name"]
    if not _NAME.fullmatch(name):
        text = (
            "Trail names have 3 to 128 letters, digits, periods, underscores and dashes, and begin and end in one of "
        )
        raise AwsError("InvalidTrailNameException", text + "the first two.")
    _check_place(members)
    spec = TrailSpec(members["S3BucketName"], members.get("S3KeyPrefix", ""))
    return _trail_answer(await trails.create(desk, caller_of(call), name, spec))


async def _update(desk: Desk, call: Call, members: Members) -> Members:
    _check_place(members)

    def change(spec: TrailSpec) -> TrailSpec:
        bucket, prefix = members.get("S3BucketName", spec.bucket), members.get("S3KeyPrefix", spec.prefix)
        return replace(spec, bucket=bucket, prefix=prefix)

    return _trail_answer(await trails.retarget(desk, caller_of(call), members["Name"], change))


def _check_place(members: Members) -> None:
    if "S3BucketName" in members and not _BUCKET.fullmatch(members["S3BucketName"]):
        raise AwsError("InvalidS3BucketNameException", f"{members['S3BucketName'][:64]!r} is not a valid bucket name.")
    prefix = members.get("S3KeyPrefix", "")
    if len(prefix) > _PREFIX_CHARS_MAX or prefix.startswith("/") or prefix.endswith("/"):
        text = f"A prefix has at most {_PREFIX_CHARS_MAX} characters and no slash at its ends."
        raise AwsError("InvalidS3PrefixException", text)


async def _delete(desk: Desk, call: Call, members: Members) -> None:
    await trails.remove(desk, caller_of(call), members["Name"])


async def _get(desk: Desk, call: Call, members: Members) -> Members:
    return {"Trail": _trail_members(await trails.found(desk, call.scope, members["Name"]))}


async def _list(desk: Desk, call: Call, members: Members) -> Members:  # noqa: ARG001 - a handler's form
    found = await trails.listed(desk, call.scope)
    return {"Trails": [{"TrailARN": one.arn, "Name": one.name, "HomeRegion": one.scope.region} for one in found]}


async def _describe(desk: Desk, call: Call, members: Members) -> Members:
    wanted = members.get("trailNameList")
    found = await trails.listed(desk, call.scope)
    return {
        "trailList": [_trail_members(one) for one in found if not wanted or one.name in wanted or one.arn in wanted]
    }


async def _start(desk: Desk, call: Call, members: Members) -> None:
    await trails.switch(desk, caller_of(call), members["Name"], on=True)


async def _stop(desk: Desk, call: Call, members: Members) -> None:
    await trails.switch(desk, caller_of(call), members["Name"], on=False)


async def _status(desk: Desk, call: Call, members: Members) -> Members:
    trail = await trails.found(desk, call.scope, members["Name"])

    def at(us: int | None) -> Any:
        return None if us is None else instant(us)

    return {
        "IsLogging": trail.is_logging,
        **given(
            LatestDeliveryError=trail.delivery_error,
            LatestDeliveryTime=at(trail.delivered_us),
            StartLoggingTime=at(trail.started_us),
            StopLoggingTime=at(trail.stopped_us),
        ),
    }


async def _put_selectors(desk: Desk, call: Call, members: Members) -> Members:
    selectors = tuple(_selector(one) for one in members.get("AdvancedEventSelectors", ()))
    if not selectors:
        raise _bad_selectors("Give AdvancedEventSelectors.")
    trail = await trails.select_events(desk, caller_of(call), members["TrailName"], selectors)
    return {"TrailARN": trail.arn, "AdvancedEventSelectors": _selector_members(trail.spec)}


async def _get_selectors(desk: Desk, call: Call, members: Members) -> Members:
    trail = await trails.found(desk, call.scope, members["TrailName"])
    if trail.spec.selectors == (ALL_MANAGEMENT,):
        simple = {"ReadWriteType": "All", "IncludeManagementEvents": True, "DataResources": []}
        return {"TrailARN": trail.arn, "EventSelectors": [simple]}
    return {"TrailARN": trail.arn, "AdvancedEventSelectors": _selector_members(trail.spec)}


def _selector(members: Members) -> Selector:
    """One advanced selector; InvalidEventSelectorsException for what nothing here is."""
    fields = tuple(
        FieldSelector(one["Field"], **{ours: tuple(one.get(theirs, ())) for theirs, ours in _OPERATORS.items()})
        for one in members["FieldSelectors"]
    )
    for field in fields:
        if field.field not in FIELDS:
            raise _bad_selectors(
                f"{field.field[:64]!r} is not a field that is served; it is one of {', '.join(FIELDS)}."
            )
    category = next((field.equals for field in fields if field.field == "eventCategory"), ())
    if category not in ((MANAGEMENT,), (DATA,)):
        raise _bad_selectors("Each selector has eventCategory, which equals Management or Data.")
    kind = next((field.equals for field in fields if field.field == "resources.type"), ())
    if category == (DATA,) and kind != (ENDPOINT,):
        raise _bad_selectors(f"Data events are those of endpoints: resources.type equals {ENDPOINT}.")
    return Selector(members.get("Name", ""), fields)


def _bad_selectors(text: str) -> AwsError:
    return AwsError("InvalidEventSelectorsException", text)


def _selector_members(spec: TrailSpec) -> list[dict[str, Any]]:
    return [
        {
            "Name": one.name,
            "FieldSelectors": [
                {
                    "Field": field.field,
                    **{theirs: list(v) for theirs, ours in _OPERATORS.items() if (v := getattr(field, ours))},
                }
                for field in one.fields
            ],
        }
        for one in spec.selectors
    ]


def _trail_answer(trail: TrailRecord) -> dict[str, Any]:
    return {
        "Name": trail.name,
        "S3BucketName": trail.spec.bucket,
        **given(S3KeyPrefix=trail.spec.prefix),
        "IncludeGlobalServiceEvents": True,
        "IsMultiRegionTrail": False,
        "TrailARN": trail.arn,
        "LogFileValidationEnabled": False,
        "IsOrganizationTrail": False,
    }


def _trail_members(trail: TrailRecord) -> dict[str, Any]:
    custom = trail.spec.selectors != (ALL_MANAGEMENT,)
    more = {"HomeRegion": trail.scope.region, "HasCustomEventSelectors": custom, "HasInsightSelectors": False}
    return {**_trail_answer(trail), **more}
