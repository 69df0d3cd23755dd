"""What a served operation is: the seam between the generic AWS door and the resource modules.

A resource module exports `OPERATIONS: tuple[Operation, ...]`; the door decodes, validates, authorises and encodes
around the handler, and refuses by name the fields that an operation lists as refused.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clary.domain.principal import Asked, Principal, Scope

Members = Mapping[str, Any]
"""Members of a botocore shape, by member name: str, int, float, bool, bytes, aware datetime, list, dict."""


class Field(enum.Enum):
    """How an input field is treated. Nothing is ignored."""

    SERVED = "served"
    STORED = "stored"
    """Kept and returned, without effect here; `Operation.notes` says why."""
    REFUSED = "refused"
    """Answered by the service's validation error, naming the field."""


@dataclass(frozen=True)
class Call:
    """One request, after it was authenticated."""

    principal: Principal
    scope: Scope
    request_id: str
    user_agent: str
    endpoint_url: str
    """Scheme, host and port the client used, such as `http://127.0.0.1:8430`."""
    asked: Asked = field(default_factory=Asked)
    """For the audit."""


@dataclass(frozen=True)
class Answer:
    """What a handler gives back where members alone do not say it all."""

    members: Members
    headers: Mapping[str, str] = field(default_factory=dict)
    """Extra response headers."""
    status: int | None = None
    """None: the status of the service model."""
    stream: AsyncIterator[bytes] | None = None
    """Body of an operation whose output has a streaming payload."""


Handler = Callable[[Call, Members], Awaitable[Members | Answer]]


@dataclass(frozen=True)
class Operation:
    """One operation that is served."""

    service: str
    """botocore's service name: `sagemaker`, `cloudwatch`, `sts`."""
    name: str
    """As in the service model: `CreateModel`."""
    handler: Handler
    fields: Mapping[str, Field]
    """Every input field by dotted path, lists as `[]` and map values as `{}`: `ProductionVariants[].VariantName`.
    A path stands for all below it that are not listed themselves. A test fails on a field without an entry."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """For stored and refused fields: the reason, one sentence, printed in the docs table and in the refusal."""
