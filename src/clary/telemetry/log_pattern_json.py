"""Filter patterns of lines that are JSON: `{ $.level = "error" && $.users[*].id > 3 }`.

A selector names members by `.name` and elements by `[0]`; `*` stands for every one of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from clary.telemetry.log_pattern_tests import BadPattern, Extract, Matches, read_tests, text_of

WILDCARDS_MAX = 3
VALUES_MAX = 10_000
"""That one selector with wildcards looks at in one line."""
SELECTOR = re.compile(r"\$(?:\.(?:[\w-]+|\*)|\[(?:\d+|\*)\])+")
_PART = re.compile(r"\.([\w-]+|\*)|\[(\d+|\*)\]")


def json_pattern(text: str) -> tuple[Matches, Extract, Callable[[str], dict[str, str]]]:
    """What tells whether a line fits, and finds values in it; BadPattern."""
    test, names = read_tests(text, "path", values_at)
    if any(name.count("*") > WILDCARDS_MAX for name in names):
        raise BadPattern(f"A selector has at most {WILDCARDS_MAX} wildcards.")

    def matches(message: str) -> bool:
        document = _read(message)
        return document is not None and test(document)

    def extract(message: str, selector: str) -> str | None:
        found = values_at(_read(message), selector) if SELECTOR.fullmatch(selector) else []
        return None if not found or found[0] is None else text_of(found[0])

    def fields(message: str) -> dict[str, str]:
        return {name: value for name in names if (value := extract(message, name)) is not None}

    return matches, extract, fields


def values_at(document: Any, path: str) -> list[Any]:
    """The values at `$.a.b[0]`: one without wildcards, none where it is not there."""
    found = [document]
    for name, index in _PART.findall(path):
        found = [inner for value in found for inner in _inner(value, name, index)][:VALUES_MAX]
    return found


def _inner(value: Any, name: str, index: str) -> list[Any]:
    if isinstance(value, dict) and name:
        return list(value.values()) if name == "*" else [value[name]] if name in value else []
    if isinstance(value, list) and index:
        return value if index == "*" else value[int(index) : int(index) + 1]
    return []


def _read(message: str) -> Any:
    """The document that a line is; None for what is none."""
    if not message.lstrip().startswith("{"):
        return None
    try:
        return json.loads(message)
    except (ValueError, RecursionError):
        return None
