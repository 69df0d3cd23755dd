"""Filter patterns of lines of fields between blanks: `[ip, user, ..., status = 4*, bytes > 1000]`.

What stands in brackets or in quotation marks in a line is one field. `...` stands for any number of fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from clary.telemetry.log_pattern_tests import BadPattern, Extract, Matches, Test, read_tests

FIELDS_MAX = 100
_ELLIPSIS = ("...", "\u2026")
_NAME = re.compile(r"[A-Za-z_][\w-]*|")
_FIELD = re.compile(r'\[([^\]]*)\](?=\s|$)|"((?:[^"\\]|\\.)*)"(?=\s|$)|(\S+)')
_SPLIT = re.compile(r'"(?:[^"\\]|\\.)*"|%[^%]*%|[^,"%]+|.', re.DOTALL)


def field_pattern(text: str) -> tuple[Matches, Extract, Callable[[str], dict[str, str]]]:
    """What tells whether a line fits, and finds fields in it; BadPattern."""
    specs = _split(text)
    if len(specs) > FIELDS_MAX:
        raise BadPattern(f"A pattern has at most {FIELDS_MAX} fields.")
    if sum(spec in _ELLIPSIS for spec in specs) > 1:
        raise BadPattern("A pattern has at most one '...'.")
    names: list[str] = []
    tests: list[tuple[int, Test]] = []
    for number, spec in enumerate(specs):
        name, test = ("...", None) if spec in _ELLIPSIS else _field(spec)
        names.append(name)
        if test is not None:
            tests.append((number, test))

    def placed(message: str) -> list[tuple[str, str]] | None:
        return _placed(names, _fields_of(message))

    def matches(message: str) -> bool:
        found = placed(message)
        if found is None:
            return False
        by_name: dict[str, str] = {name: value for name, value in found if name}
        return all(test(by_name) for _, test in tests)

    def fields(message: str) -> dict[str, str]:
        found = placed(message) or []
        return {f"${name or number}": value for number, (name, value) in enumerate(found, 1)}

    def extract(message: str, selector: str) -> str | None:
        return fields(message).get(selector)

    return matches, extract, fields


def _split(text: str) -> list[str]:
    """The fields of a pattern: what stands between commas, outside of quotation marks and regular expressions."""
    specs = [""]
    for part in _SPLIT.findall(text):
        if part == ",":
            specs.append("")
        else:
            specs[-1] += part
    return [spec.strip() for spec in specs]


def _field(spec: str) -> tuple[str, Test | None]:
    """Name and condition of one field; the condition may be on its own name alone."""
    if _NAME.fullmatch(spec):
        return spec, None
    test, names = read_tests(spec, "word", _value)
    if len(set(names)) != 1 or not _NAME.fullmatch(names[0]):
        raise BadPattern(f"{spec[:32]!r} is no field: name it, and compare that name alone.")
    return names[0], test


def _value(by_name: Any, name: str) -> list[Any]:
    return [by_name[name]] if name in by_name else []


def _fields_of(message: str) -> list[str]:
    return ["".join(found) for found in _FIELD.findall(message)]


def _placed(names: Sequence[str], fields: Sequence[str]) -> list[tuple[str, str]] | None:
    """Each field with its name; None where there are too few or too many. `...` takes fields without a name."""
    if "..." not in names:
        return list(zip(names, fields, strict=True)) if len(names) == len(fields) else None
    at = names.index("...")
    after = len(names) - at - 1
    if len(fields) < at + after:
        return None
    middle = len(fields) - at - after
    return list(zip([*names[:at], *[""] * middle, *names[at + 1 :]], fields, strict=True))
