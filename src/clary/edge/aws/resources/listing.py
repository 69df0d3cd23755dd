"""List operations: parameters to a query, a page to an answer."""

from __future__ import annotations

from typing import Any

from clary.edge.aws import page
from clary.edge.aws.operation import Call, Field, Members
from clary.edge.aws.resources.members import instant_us
from clary.store.named import PAGE_DEFAULT, After, ListQuery

NAMED_FIELDS = dict.fromkeys(
    ("SortBy", "SortOrder", "NextToken", "MaxResults", "NameContains", "CreationTimeBefore", "CreationTimeAfter"),
    Field.SERVED,
)
"""Of every list of named resources."""


def query_of(call: Call, operation: str, members: Members) -> ListQuery:
    """What is asked for; Invalid for a token of other parameters."""
    after = None
    if members.get("NextToken"):
        value, uid = page.decode(members["NextToken"], _parameters(call, operation, members))
        after = After(value, str(uid))
    return ListQuery(
        sort_by=members.get("SortBy", "CreationTime"),
        descending=members.get("SortOrder", "Descending") == "Descending",
        limit=members.get("MaxResults", PAGE_DEFAULT),
        after=after,
        name_contains=members.get("NameContains", ""),
        created_from_us=instant_us(members.get("CreationTimeAfter")),
        created_before_us=instant_us(members.get("CreationTimeBefore")),
        modified_after_us=instant_us(members.get("LastModifiedTimeAfter")),
        modified_before_us=instant_us(members.get("LastModifiedTimeBefore")),
        status=members.get("StatusEquals", ""),
    )


def page_members(
    call: Call, operation: str, members: Members, items: dict[str, list[dict[str, Any]]], more: After | None
) -> Members:
    """The answer; `items` is the list under its member name."""
    if more is None:
        return items
    token = page.encode((more.value, more.uid), _parameters(call, operation, members))
    return {**items, "NextToken": token}


def _parameters(call: Call, operation: str, members: Members) -> dict[str, object]:
    """What a token belongs to: all that selects and orders, not the size of a page."""
    given = {name: value for name, value in members.items() if name not in ("NextToken", "MaxResults")}
    return {**given, "": [operation, call.scope.account, call.scope.region]}
