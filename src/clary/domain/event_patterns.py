"""Event patterns: which events a rule of EventBridge, or a filter policy of SNS, wants. Pure.

Source: EventBridge user guide, "Comparison operators for use in event patterns". All fields of an object must match; of
the values in a field's list, one. A field of the event that is a list matches if one of its elements does.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from clary.domain.errors import Invalid

DEPTH_MAX = 32
OR = "$or"
WILDCARDS_MAX = 16
"""Of one wildcard pattern: each is looked for once along the value."""
_COMPARE = {
    "=": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_MISSING = object()


def parse(text: str) -> Mapping[str, Any]:
    """The pattern; Invalid, which says what is wrong with it."""
    try:
        pattern = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"Event pattern is not valid. Reason: it is not JSON: {error}") from None
    if not isinstance(pattern, dict):
        raise _wrong("it must be an object")
    _check_object(pattern, 0)
    return pattern


@functools.lru_cache(maxsize=1024)
def parsed(text: str) -> Mapping[str, Any]:
    """As `parse`, remembered; not to be changed."""
    return parse(text)


def matches(pattern: Mapping[str, Any], event: Any) -> bool:
    """Whether an event is wanted."""
    for name, wanted in pattern.items():
        if name == OR and isinstance(wanted, list) and all(isinstance(one, dict) for one in wanted):
            if not any(matches(one, event) for one in wanted):
                return False
            continue
        value = event.get(name, _MISSING) if isinstance(event, Mapping) else _MISSING
        if isinstance(wanted, dict):
            inner = value if isinstance(value, list) else [value]
            if not any(matches(wanted, one if isinstance(one, Mapping) else {}) for one in inner):
                return False
        elif not _any(wanted, value):
            return False
    return True


def _any(wanted: Sequence[Any], value: Any) -> bool:
    """Whether one of the wanted values is met by a field."""
    values = value if isinstance(value, list) else [value]
    return any(_meets(one, values) for one in wanted)


def _meets(wanted: Any, values: list[Any]) -> bool:
    if not isinstance(wanted, dict):
        return any(_equal(wanted, one) for one in values)
    ((operator, operand),) = wanted.items()
    if operator == "exists":
        there = [one for one in values if one is not _MISSING and not isinstance(one, Mapping)]
        return bool(bool(there) == operand)
    if operator == "anything-but":
        there = [one for one in values if one is not _MISSING]
        return any(not _is_but(operand, one) for one in there)
    return any(_operate(operator, operand, one) for one in values if one is not _MISSING)


def _is_but(operand: Any, value: Any) -> bool:
    """Whether a value is what anything-but leaves out."""
    if isinstance(operand, dict):
        ((operator, given),) = operand.items()
        return any(_operate(operator, one, value) for one in (given if isinstance(given, list) else [given]))
    return any(_equal(one, value) for one in (operand if isinstance(operand, list) else [operand]))


def _operate(operator: str, operand: Any, value: Any) -> bool:
    if operator == "numeric":
        number = _number(value)
        pairs = zip(operand[::2], operand[1::2])
        return number is not None and all(_COMPARE[sign](number, bound) for sign, bound in pairs)
    if not isinstance(value, str):
        return False
    if isinstance(operand, dict):  # {"prefix": {"equals-ignore-case": "x"}}
        operand, value = operand["equals-ignore-case"].lower(), value.lower()
    if operator == "prefix":
        return bool(value.startswith(operand))
    if operator == "suffix":
        return bool(value.endswith(operand))
    if operator == "equals-ignore-case":
        return bool(value.lower() == operand.lower())
    if operator == "wildcard":
        return _wild(operand, value)
    try:
        return ipaddress.ip_address(value) in ipaddress.ip_network(operand, strict=False)
    except ValueError:
        return False


def _equal(wanted: Any, value: Any) -> bool:
    if isinstance(wanted, bool) or isinstance(value, bool) or wanted is None or value is None:
        return wanted is value
    if isinstance(wanted, (int, float)):
        return bool(_number(value) == wanted)
    return bool(wanted == value)


def _number(value: Any) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _wild(pattern: str, value: str) -> bool:
    """`*` stands for any characters, `\\*` and `\\\\` for themselves. Each part is looked for once, left to right."""
    parts = _parts(pattern)
    if len(parts) == 1:
        return value == parts[0]
    first, last = parts[0], parts[-1]
    if len(value) < len(first) + len(last) or not value.startswith(first) or not value.endswith(last):
        return False
    at, end = len(first), len(value) - len(last)
    for part in parts[1:-1]:
        at = value.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def _parts(pattern: str) -> list[str]:
    parts, index = [""], 0
    while index < len(pattern):
        character = pattern[index]
        if character == "\\" and pattern[index + 1 : index + 2] in ("*", "\\"):
            index += 1
            parts[-1] += pattern[index]
        elif character == "*":
            parts.append("")
        else:
            parts[-1] += character
        index += 1
    return parts


# -- checks ------------------------------------------------------------------------------------------------------------


def _wrong(why: str) -> Invalid:
    return Invalid(f"Event pattern is not valid. Reason: {why}")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _check_object(pattern: Mapping[str, Any], depth: int) -> None:
    if depth > DEPTH_MAX:
        raise _wrong(f"it is nested deeper than {DEPTH_MAX} levels")
    if not pattern:
        raise _wrong("Empty objects are not allowed")
    for name, wanted in pattern.items():
        if name == OR and isinstance(wanted, list) and wanted and all(isinstance(one, dict) for one in wanted):
            for one in wanted:
                _check_object(one, depth + 1)
        elif isinstance(wanted, dict):
            _check_object(wanted, depth + 1)
        elif isinstance(wanted, list):
            if not wanted:
                raise _wrong("Empty arrays are not allowed")
            for one in wanted:
                _check_value(name, one)
        else:
            raise _wrong(f'"{name}" must be an object or an array')


def _check_value(name: str, wanted: Any) -> None:
    if isinstance(wanted, list):
        raise _wrong(f'"{name}": arrays within arrays are not allowed')
    if not isinstance(wanted, dict):
        return
    if len(wanted) != 1:
        raise _wrong(f'"{name}": only one key allowed in match expression')
    ((operator, operand),) = wanted.items()
    if operator == "anything-but":
        _check_but(name, operand)
    else:
        _check_operand(name, operator, operand, insensitive=operator in ("prefix", "suffix"))


def _check_but(name: str, operand: Any) -> None:
    if isinstance(operand, dict):
        if len(operand) != 1 or next(iter(operand)) not in ("prefix", "suffix", "equals-ignore-case", "wildcard"):
            raise _wrong(f'"{name}": anything-but takes prefix, suffix, equals-ignore-case or wildcard')
        ((operator, given),) = operand.items()
        for one in given if isinstance(given, list) and given else [given]:
            _check_operand(name, operator, one, insensitive=False)
        return
    values = operand if isinstance(operand, list) else [operand]
    kinds = {str if isinstance(one, str) else float if _number(one) is not None else None for one in values}
    if not values or None in kinds or len(kinds) != 1:
        raise _wrong(f'"{name}": anything-but takes texts or numbers, and a list of either')


def _check_operand(name: str, operator: str, operand: Any, *, insensitive: bool) -> None:
    if operator == "exists":
        right = isinstance(operand, bool)
    elif operator == "numeric":
        right = _is_range(operand)
    elif operator == "cidr":
        right = isinstance(operand, str) and _is_network(operand)
    elif operator in ("prefix", "suffix", "equals-ignore-case", "wildcard"):
        if insensitive and isinstance(operand, dict) and list(operand) == ["equals-ignore-case"]:
            operand = operand["equals-ignore-case"]
        right = isinstance(operand, str)
        if right and operator == "wildcard" and not _is_wildcard(operand):
            raise _wrong(f'"{name}": a wildcard has at most {WILDCARDS_MAX} *, never two in a row')
    else:
        raise _wrong(f"Unrecognized match type {operator}")
    if not right:
        raise _wrong(f'"{name}": the value of {operator} is not what it takes')


def _is_range(operand: Any) -> bool:
    if not isinstance(operand, list) or len(operand) not in (2, 4):
        return False
    signs, bounds = operand[::2], operand[1::2]
    if not all(isinstance(s, str) and s in _COMPARE for s in signs) or any(_number(b) is None for b in bounds):
        return False
    return len(signs) == 1 or (signs[0][0] == ">" and signs[1][0] == "<" and math.isfinite(bounds[0]))


def _is_wildcard(pattern: str) -> bool:
    parts = _parts(pattern)
    return len(parts) - 1 <= WILDCARDS_MAX and all(parts[1:-1])


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
