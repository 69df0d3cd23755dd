"""Validation of parsed members against their shapes, in the hosted services' own words.

`1 validation error detected: Value 'a b' at 'endpointName' failed to satisfy constraint: Member must satisfy regular
expression pattern: ...`: texts as seen in public issues (see the snapshot test for where each one comes from).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from clary.edge.aws.patterns import compiled
from clary.edge.aws.protocols.json import UNKNOWN

VALUE_CHARS_MAX = 2048
"""How much of a refused value an error repeats."""
ERRORS_MAX = 20
"""How many errors one answer lists; the number named is the whole."""
PATTERN_CHARS_MAX = 1024
"""Longer values that are too long anyway are not matched: some patterns take the square of the length."""


def lower_first(name: str) -> str:
    """`EndpointName` -> `endpointName`: how the services spell members in errors."""
    return name[:1].lower() + name[1:]


def validate(members: Mapping[str, Any], shape: Shape | None) -> str | None:
    """The service's message for all that is wrong, or None. Members as the protocols parse them."""
    if not isinstance(shape, StructureShape):
        unknown = [name.removeprefix(UNKNOWN) for name in members]
        found = [_unknown("", name) for name in unknown]
    else:
        found = list(_structure(members, shape, ""))
    return message_of(found) if found else None


def message_of(errors: list[str]) -> str:
    """`N validation errors detected: ...; ...`."""
    count = f"{len(errors)} validation error{'s' if len(errors) > 1 else ''} detected: "
    return count + "; ".join(errors[:ERRORS_MAX])


def failed(value: str, path: str, constraint: str) -> str:
    """One error; `value` is empty or starts with a blank."""
    return f"Value{value} at '{path}' failed to satisfy constraint: {constraint}"


def _unknown(prefix: str, name: str) -> str:
    # Ours: the hosted services ignore what they do not know, and Clary ignores nothing.
    return failed("", prefix + lower_first(name), f"Member '{name}' is not known to this version of the service model")


def _structure(members: Mapping[str, Any], shape: StructureShape, prefix: str) -> Iterator[str]:
    for name in shape.required_members:
        if members.get(name) is None:
            yield failed(" null", prefix + lower_first(name), "Member must not be null")
    for name, value in members.items():
        if name.startswith(UNKNOWN):
            yield _unknown(prefix, name.removeprefix(UNKNOWN))
        elif value is not None:
            yield from _value(value, shape.members[name], prefix + lower_first(name))
    if shape.is_tagged_union and len(members) != 1 and not any(name.startswith(UNKNOWN) for name in members):
        yield failed("", prefix.rstrip("."), f"Exactly one member must be set, of: [{', '.join(shape.members)}]")


def _value(value: Any, shape: Shape, path: str) -> Iterator[str]:
    for constraint in broken(value, shape):
        yield failed(_shown(value, shape), path, constraint)
    if isinstance(shape, StructureShape):
        if not shape.is_document_type:
            yield from _structure(value, shape, path + ".")
    elif isinstance(shape, ListShape):
        yield from _list(value, shape, path)
    elif isinstance(shape, MapShape):
        yield from _map(value, shape, path)


def _list(value: list[Any], shape: ListShape, path: str) -> Iterator[str]:
    member = shape.member
    if isinstance(member, (StructureShape, ListShape, MapShape)):
        for number, item in enumerate(value, 1):
            where = f"{path}.{number}.member"
            if item is None:
                yield failed(" null", where, "Member must not be null")
            else:
                yield from _value(item, member, where)
    elif any(item is None or any(broken(item, member)) for item in value):
        yield failed(_shown(value, shape), path, f"Member must satisfy constraint: [{_constraints(member)}]")


def _map(value: dict[str, Any], shape: MapShape, path: str) -> Iterator[str]:
    if any(any(broken(key, shape.key)) for key in value):
        yield failed(_shown(value, shape), path, f"Map keys must satisfy constraint: [{_constraints(shape.key)}]")
    if isinstance(shape.value, (StructureShape, ListShape, MapShape)):
        for key, item in value.items():
            if item is None:
                yield failed(" null", f"{path}.{key}.member", "Member must not be null")
            else:
                yield from _value(item, shape.value, f"{path}.{key}.member")
    elif any(item is None or any(broken(item, shape.value)) for item in value.values()):
        yield failed(_shown(value, shape), path, f"Map value must satisfy constraint: [{_constraints(shape.value)}]")


def broken(value: Any, shape: Shape) -> Iterator[str]:
    """The constraints of the shape itself that a value does not meet, in the order the services list them."""
    for text, met in _rules(shape):
        if not met(value):
            yield text


def _constraints(shape: Shape) -> str:
    return ", ".join(text for text, _ in _rules(shape))


_Rule = tuple[str, Callable[[Any], bool]]


@functools.lru_cache(maxsize=4096)
def _rules(shape: Shape) -> tuple[_Rule, ...]:
    """Text and test of each constraint of a shape. Models keep their shapes, so identity is enough for the cache."""
    traits = shape.metadata
    rules: list[_Rule] = []
    measure: Callable[[Any], Any] = len
    what = "length"
    if shape.type_name in ("integer", "long", "float", "double"):
        measure, what = (lambda value: value), "value"
    least, most = traits.get("min"), traits.get("max")
    if most is not None:
        rules.append((f"Member must have {what} less than or equal to {most}", lambda v: measure(v) <= most))
    if least is not None and (what == "value" or least > 0):
        rules.append((f"Member must have {what} greater than or equal to {least}", lambda v: measure(v) >= least))
    elif least == 0 and most is not None:
        rules.append(("Member must have length greater than or equal to 0", lambda _: True))
    if "enum" in traits:
        allowed = frozenset(traits["enum"])
        rules.append((f"Member must satisfy enum value set: [{', '.join(traits['enum'])}]", lambda v: v in allowed))
    if "pattern" in traits and shape.type_name == "string":
        rules.append(_pattern_rule(traits["pattern"], most))
    return tuple(rules)


def _pattern_rule(pattern: str, most: int | None) -> _Rule:
    matcher = compiled(pattern)

    def met(value: str) -> bool:
        too_long = most is not None and len(value) > max(most, PATTERN_CHARS_MAX)
        return too_long or matcher.matches(value)

    return f"Member must satisfy regular expression pattern: {pattern}", met


def _shown(value: Any, shape: Shape) -> str:
    """` 'text'` of a value, nothing for what must not be repeated (secrets, bytes)."""
    if shape.metadata.get("sensitive") or shape.type_name == "blob":
        return ""
    text = _text(value)
    return f" '{text if len(text) <= VALUE_CHARS_MAX else text[:VALUE_CHARS_MAX] + '...'}'"


def _text(value: Any) -> str:
    """A value as the services print theirs: lists as `[a, b]`, maps and structures as `{a=b}`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (bytes, bytearray)):
        return "..."
    if isinstance(value, list):
        return f"[{', '.join(_text(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}={_text(item)}' for key, item in value.items())}}}"
    return "null" if value is None else str(value)
