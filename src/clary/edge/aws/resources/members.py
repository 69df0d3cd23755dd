"""Members that several SageMaker resources share, both ways: callers, tags, instants, networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from clary.control.desk import Caller
from clary.domain.model import Vpc
from clary.domain.tags import unique_tags
from clary.edge.aws.operation import Call, Members
from clary.kit.clock import MICROS


def caller_of(call: Call) -> Caller:
    """The caller as use cases know it."""
    return Caller(call.principal, call.scope, call.request_id, call.asked)


def instant(us: int) -> datetime:
    """Microseconds since 1970 as the encoders take it."""
    return datetime.fromtimestamp(us / MICROS, UTC)


def instant_us(value: datetime | None) -> int | None:
    """A given timestamp in microseconds; None where it is not given."""
    return None if value is None else round(value.timestamp() * MICROS)


def tags_of(members: Members) -> dict[str, str]:
    """`Tags` as a mapping; Invalid for a key given twice."""
    return unique_tags([(tag["Key"], tag["Value"]) for tag in members.get("Tags", ())])


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """A mapping as `Tags`."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def vpc_of(members: Members) -> Vpc | None:
    """`VpcConfig`, where it is given."""
    vpc: Mapping[str, Sequence[str]] | None = members.get("VpcConfig")
    return None if vpc is None else Vpc(tuple(vpc["SecurityGroupIds"]), tuple(vpc["Subnets"]))


def vpc_members(vpc: Vpc | None) -> dict[str, Any] | None:
    """`VpcConfig` again."""
    return None if vpc is None else {"SecurityGroupIds": list(vpc.security_group_ids), "Subnets": list(vpc.subnets)}


def given(**members: Any) -> dict[str, Any]:
    """Members without those that are None or empty text: Describe operations omit what is unset."""
    return {name: value for name, value in members.items() if value is not None and value != ""}
