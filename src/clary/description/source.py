"""A description's text, TOML or YAML, and on which line each of its fields stands."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clary.description.schema import Path, faults

TEXT_CHARS_MAX = 1_000_000
FIELDS_MAX = 100_000
"""With YAML's aliases written out."""
_HEADER = re.compile(r"\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"\s*((?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'))*)\s*=")
_PART = re.compile(r"[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'")


class DescriptionError(Exception):
    """What is wrong in a description, a text each, the line in front where it is known."""

    def __init__(self, found: list[str]) -> None:
        super().__init__("\n".join(found))
        self.found = found


@dataclass(frozen=True)
class Source:
    """A description that keeps to the schema."""

    name: str
    """Of the file, for messages."""
    document: Mapping[str, Any]
    lines: Mapping[Path, int]
    """From 1."""

    def fault(self, at: Path, text: str) -> DescriptionError:
        """An error about one field."""
        return DescriptionError([_located(self.name, self.lines, at, text)])


def read(name: str, text: str) -> Source:
    """The description in `text`; TOML where the file's name ends so, else YAML. DescriptionError."""
    if len(text) > TEXT_CHARS_MAX:
        raise DescriptionError([f"{name} has {len(text)} characters; a description has at most {TEXT_CHARS_MAX}"])
    try:
        document, lines = _toml(name, text) if name.endswith(".toml") else _yaml(name, text)
    except RecursionError:
        raise DescriptionError([f"{name} is nested too deeply"]) from None
    found = [_located(name, lines, at, what) for at, what in faults(document)]
    if found:
        raise DescriptionError(found)
    return Source(name, document, lines)


def _located(name: str, lines: Mapping[Path, int], at: Path, text: str) -> str:
    """The text behind the file and the line of the field, or of the nearest one around it."""
    while at and at not in lines:
        at = at[:-1]
    return f"{name}:{lines[at]}: {text}" if at in lines else f"{name}: {text}"


def _toml(name: str, text: str) -> tuple[Any, dict[Path, int]]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DescriptionError([f"{name} is no TOML: {error}"]) from None
    lines: dict[Path, int] = {}
    table: Path = ()
    for number, line in enumerate(text.splitlines(), 1):
        header, key = _HEADER.match(line), _KEY.match(line)
        if header is not None:
            table = _parts(header[2])
        elif key is None:
            continue
        at = table if header is not None or key is None else (*table, *_parts(key[1]))
        for end in range(1, len(at) + 1):
            lines.setdefault(at[:end], number)
    return document, lines


def _parts(dotted: str) -> Path:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))


def _yaml(name: str, text: str) -> tuple[Any, dict[Path, int]]:
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text) if root is not None else {}
    except (yaml.YAMLError, ValueError) as error:
        raise DescriptionError([f"{name} is no YAML: {' '.join(str(error).split())}"]) from None
    lines: dict[Path, int] = {}
    twice: list[str] = []

    def walk(node: Any, at: Path) -> None:
        if len(lines) > FIELDS_MAX:
            raise DescriptionError([f"{name} has more than {FIELDS_MAX} fields"])
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                here = (*at, str(key.value))
                if here in lines:
                    twice.append(f"{name}:{key.start_mark.line + 1}: {key.value!r} is given a second time")
                lines[here] = key.start_mark.line + 1
                walk(value, here)
        elif isinstance(node, yaml.SequenceNode):
            for place, item in enumerate(node.value):
                lines[(*at, place)] = item.start_mark.line + 1
                walk(item, (*at, place))

    if root is not None:
        walk(root, ())
    if twice:
        raise DescriptionError(twice)
    return document, lines
