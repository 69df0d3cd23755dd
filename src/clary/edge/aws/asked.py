"""What the audit learns of a request at the door: its words, without secrets, and whether it failed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from clary.control.desk import Caller
from clary.domain.principal import Asked
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call, Members, Operation
from clary.edge.aws.protocols.values import Unreadable
from clary.edge.aws.spec import Service
from clary.edge.aws.validate import lower_first

HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"
PARAMETERS_CHARS_MAX = 32_768
"""Of one request; longer ones are kept as `{"omitted": true}`."""

_SECRET = re.compile(r"password|secret|credential|authorization|private.?key|api.?key|tokencode|access.?token", re.I)
_HIDDEN_MAPS = ("Environment",)
"""Whose values are hidden, whatever their names: where secrets of models stand."""
_USERINFO = re.compile(r"(://[^/@:\s]*:)[^/@\s]+@")
_PRESIGNED = re.compile(r"((?:X-Amz-(?:Signature|Security-Token)|Signature)=)[^&\s]+")

Witness = Callable[[Caller, str, str], None]
"""Told of each request without an audit row: who asked, the error's code, its message; both empty for success."""


def nobody(_: Caller, __: str, ___: str) -> None:
    """A witness that keeps nothing."""


def name(asked: Asked, service: Service, operation: Operation) -> None:
    """Note which operation is meant."""
    asked.source = f"{service.signing}.amazonaws.com"
    asked.operation = operation.name


def give(asked: Asked, members: Members, shape: Shape | None) -> None:
    """Note the input, made into text only where it is recorded, and what it names: `LogGroupName` of CreateLogGroup."""
    asked.parameters = lambda: parameters(members, shape)
    named = {key: value for key, value in members.items() if key.endswith("Name") and isinstance(value, str)}
    noun = re.sub(r"^[A-Z][a-z]+", "", asked.operation)
    key = next((key for key in named if key[:-4].lower() == noun.lower()), next(iter(named), ""))
    if key:
        asked.kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", key[:-4]).lower()
        asked.name = named[key]


@contextmanager
def watched(witness: Witness, call: Call) -> Iterator[None]:
    """Tell the witness how what is within ended, unless an audit row tells of it."""
    caller = Caller(call.principal, call.scope, call.request_id, call.asked)
    try:
        yield
    except AwsError as error:
        witness(caller, error.code, error.message)
        raise
    except Unreadable as error:
        witness(caller, "SerializationException", error.message)
        raise
    except Exception:
        witness(caller, "InternalFailure", "")
        raise
    if not call.asked.recorded:
        witness(caller, "", "")


def parameters(members: Members, shape: Shape | None) -> str:
    """An input as JSON with names as CloudTrail writes them (`endpointName`); secrets and bytes left out."""
    if not members:
        return ""
    text = json.dumps(_shown(members, shape), separators=(",", ":"), default=str)
    return text if len(text) <= PARAMETERS_CHARS_MAX else '{"omitted":true}'


def _shown(value: Any, shape: Shape | None) -> Any:
    if shape is not None and shape.metadata.get("sensitive"):
        return HIDDEN
    if isinstance(value, Mapping):
        return dict(_shown_member(key, member, shape) for key, member in value.items())
    if isinstance(value, (list, tuple)):
        return [_shown(item, shape.member if isinstance(shape, ListShape) else None) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return f"<{len(value)} bytes>"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str):
        return _PRESIGNED.sub(rf"\g<1>{HIDDEN}", _USERINFO.sub(rf"\g<1>{HIDDEN}@", value))
    return value


def _shown_member(key: str, value: Any, shape: Shape | None) -> tuple[str, Any]:
    of_map = isinstance(shape, MapShape)
    shown = key if of_map else lower_first(key)
    if isinstance(value, str) and _SECRET.search(key):
        return shown, HIDDEN
    if key in _HIDDEN_MAPS and isinstance(value, Mapping):
        return shown, dict.fromkeys(value, HIDDEN)
    if isinstance(shape, MapShape):
        return shown, _shown(value, shape.value)
    return shown, _shown(value, shape.members.get(key) if isinstance(shape, StructureShape) else None)
