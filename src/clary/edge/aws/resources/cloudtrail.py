"""CloudTrail: LookupEvents over the audit, each row as the record that CloudTrail would have of it.

Calls that only read are not recorded (`ReadOnly` = true finds nothing); see docs/how-to/audit.md.
"""

from __future__ import annotations

import json
from typing import Any

from clary.control import audit
from clary.control.desk import Desk
from clary.control.trail_records import TYPES, record_of
from clary.domain.errors import Invalid
from clary.edge.aws import page
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call, Field, Members, Operation
from clary.edge.aws.resources.members import instant, instant_us
from clary.kit.clock import MICROS
from clary.store.audit import Entry

PAGE = 50
_FOREVER_US = 1 << 62
_NOTES = {"EventCategory": "Insights events are not made here."}
_KINDS = {name: kind for kind, name in TYPES.items()}


def operations(desk: Desk) -> tuple[Operation, ...]:
    """What is served of CloudTrail."""

    async def lookup_events(call: Call, members: Members) -> Members:
        return await _lookup(desk, call, members)

    served = ("LookupAttributes", "StartTime", "EndTime", "MaxResults", "NextToken")
    fields = {**dict.fromkeys(served, Field.SERVED), "EventCategory": Field.REFUSED}
    return (Operation("cloudtrail", "LookupEvents", lookup_events, fields, _NOTES),)


async def _lookup(desk: Desk, call: Call, members: Members) -> Members:
    attributes = members.get("LookupAttributes") or []
    if len(attributes) > 1:
        raise AwsError("InvalidLookupAttributesException", "You can specify only one lookup attribute.")
    key, value = (attributes[0]["AttributeKey"], attributes[0]["AttributeValue"]) if attributes else ("", "")
    start_us = instant_us(members.get("StartTime")) or 0
    end_us = instant_us(members.get("EndTime"))
    if end_us is not None and end_us < start_us:
        raise AwsError("InvalidTimeRangeException", "The start time occurs after the end time.")
    sought = audit.Sought(
        account=call.scope.account,
        region=call.scope.region,
        start_us=start_us,
        end_us=_FOREVER_US if end_us is None else end_us,
        key=key,
        value=_KINDS.get(value, value) if key == "ResourceType" else value,
    )
    parameters = {"": [sought.account, sought.region, start_us, end_us, key, value]}
    before = None
    if members.get("NextToken"):
        try:
            before = int(page.decode(members["NextToken"], parameters)[0])
        except Invalid as error:
            raise AwsError("InvalidNextTokenException", error.message) from None
    found, more = await audit.lookup(desk, sought, before, members.get("MaxResults", PAGE))
    answer: dict[str, Any] = {"Events": [_event(entry) for entry in found]}
    if more:
        answer["NextToken"] = page.encode((found[-1].seq,), parameters)
    return answer


def _event(entry: Entry) -> dict[str, Any]:
    named = [{"ResourceType": TYPES.get(entry.kind, entry.kind), "ResourceName": entry.resource_name}]
    return {
        "EventId": entry.event_id,
        "EventName": entry.action,
        "ReadOnly": "false",
        "AccessKeyId": entry.key_id,
        "EventTime": instant(entry.at_us // MICROS * MICROS),
        "EventSource": entry.source,
        "Username": entry.username,
        "Resources": named if entry.resource_name else [],
        "CloudTrailEvent": json.dumps(record_of(entry), separators=(",", ":")),
    }
