"""What a rule's target is sent: the event, a constant, a part of the event, or a text made of its parts. Pure.

Source: EventBridge user guide, "Amazon EventBridge input transformation".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clary.domain.errors import Invalid

_PATH = re.compile(r"\$((\.[\w-]+)|(\['[^']+'\])|(\[\"[^\"]+\"\])|(\[\d{1,4}\]))*", re.ASCII)
_STEP = re.compile(r"\.([\w-]+)|\['([^']+)'\]|\[\"([^\"]+)\"\]|\[(\d{1,4})\]", re.ASCII)
_PLACE = re.compile(r"<([\w.-]+)>", re.ASCII)
RESERVED = ("aws.events.rule-arn", "aws.events.rule-name", "aws.events.event.ingestion-time", "aws.events.event.json",
            "aws.events.event")  # fmt: skip


@dataclass(frozen=True)
class TargetSpec:
    """One target of a rule."""

    id: str
    arn: str
    role: str = ""
    """Kept: nothing is asked of it here."""
    input: str = ""
    """JSON that is sent in place of the event."""
    path: str = ""
    """JSONPath of what is sent of the event."""
    paths: Mapping[str, str] = field(default_factory=dict)
    template: str = ""


def check_target(target: TargetSpec) -> None:
    """Raise Invalid for an input that cannot be made."""
    if sum(map(bool, (target.input, target.path, target.template))) > 1:
        raise Invalid("Only one of Input, InputPath, or InputTransformer must be provided.")
    if target.input:
        try:
            json.loads(target.input)
        except (ValueError, RecursionError):
            raise Invalid(f"JSON syntax error in input for target {target.id}") from None
    for path in ([target.path] if target.path else []) + list(target.paths.values()):
        if not _PATH.fullmatch(path):
            raise Invalid(f"Invalid InputPath for target {target.id}: {path} is not a JSONPath of names and indexes.")
    for name in target.paths:
        if not re.fullmatch(r"[\w.-]+", name, re.ASCII) or name.startswith("aws."):
            raise Invalid(f"Invalid key in InputPathsMap of target {target.id}: {name}.")
    for name in _PLACE.findall(target.template):
        if name not in target.paths and name not in RESERVED:
            raise Invalid(f"InputTemplate for target {target.id} contains a placeholder that is not defined: <{name}>.")


def input_for(target: TargetSpec, event: Mapping[str, Any], rule_arn: str) -> Any:
    """The value that a target is sent."""
    if target.input:
        return json.loads(target.input)
    if target.path:
        return value_at(event, target.path)
    if target.template:
        return _filled(target, event, rule_arn)
    return event


def value_at(event: Any, path: str) -> Any:
    """What stands at a path; None where nothing does."""
    value = event
    for step in _STEP.finditer(path):
        name = step[1] or step[2] or step[3]
        if name is not None:
            value = value.get(name) if isinstance(value, Mapping) else None
        else:
            index = int(step[4])
            value = value[index] if isinstance(value, list) and index < len(value) else None
    return value


def _filled(target: TargetSpec, event: Mapping[str, Any], rule_arn: str) -> Any:
    values: dict[str, Any] = {name: value_at(event, path) for name, path in target.paths.items()}
    values["aws.events.rule-arn"] = rule_arn
    values["aws.events.rule-name"] = rule_arn.rpartition("/")[2]
    values["aws.events.event.ingestion-time"] = event.get("time")
    values["aws.events.event.json"] = event
    values["aws.events.event"] = {name: value for name, value in event.items() if name != "detail"}
    template = target.template

    def place(found: re.Match[str]) -> str:
        value = values.get(found[1])
        if _is_quoted(template, found.start()):
            # Within a text of JSON: as it stands, escaped.
            text = value if isinstance(value, str) else "" if value is None else json.dumps(value)
            return json.dumps(text)[1:-1]
        return '""' if value is None else json.dumps(value)

    text = _PLACE.sub(place, template)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _is_quoted(text: str, position: int) -> bool:
    """Whether a place in a template is within a JSON text."""
    inside, index = False, 0
    while index < position:
        if text[index] == "\\":
            index += 1
        elif text[index] == '"':
            inside = not inside
        index += 1
    return inside
