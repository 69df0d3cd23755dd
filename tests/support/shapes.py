"""Inputs and outputs generated from botocore's shapes: whatever a served operation may get or give."""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape
from hypothesis import Phase, find, settings
from hypothesis import strategies as st

from clary.edge.aws.operation import Field, Operation
from clary.edge.aws.patterns import compiled
from clary.edge.aws.registry import treatment

ITEMS_MAX = 3
TEXT = st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=["Cs", "Cc", "Cn", "Co"])
HEADER_TEXT = st.characters(min_codepoint=32, max_codepoint=126)
TIMES = st.datetimes(datetime(1971, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)).map(
    lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)
)


def inputs_of(operation: Operation, shape: Shape | None) -> st.SearchStrategy[dict[str, Any]]:
    """Valid members of an operation's input, without the fields that it refuses."""
    if not isinstance(shape, StructureShape):
        return st.just({})
    return _structure(shape, lambda path: treatment(operation, path) is not Field.REFUSED, "", ())


def outputs_of(shape: Shape | None) -> st.SearchStrategy[dict[str, Any]]:
    """Members of an output shape."""
    if not isinstance(shape, StructureShape):
        return st.just({})
    return _structure(shape, lambda _: True, "", ())


def values_of(shape: Shape, allowed: Any, path: str = "", within: tuple[str, ...] = ()) -> st.SearchStrategy[Any]:
    """Values that meet a shape's type and constraints."""
    if isinstance(shape, StructureShape):
        return _structure(shape, allowed, path + ".", within)
    least, most = shape.metadata.get("min", 0), shape.metadata.get("max")
    if isinstance(shape, ListShape):
        items = values_of(shape.member, allowed, path + "[]", within)
        return st.lists(items, min_size=least, max_size=min(most or 99, max(ITEMS_MAX, least)))
    if isinstance(shape, MapShape):
        keys = values_of(shape.key, allowed, path, within)
        values = values_of(shape.value, allowed, path + "{}", within)
        return st.dictionaries(keys, values, min_size=least, max_size=min(most or 99, max(ITEMS_MAX, least)))
    return _scalar(shape, least, most)


def _scalar(shape: Shape, least: Any, most: Any) -> st.SearchStrategy[Any]:
    kind = shape.type_name
    if kind == "string":
        return _text(shape, int(least), int(most) if most is not None else None)
    if kind in ("integer", "long"):
        return st.integers(int(least), int(most) if most is not None else 2**31 - 1)
    if kind in ("float", "double"):
        return st.floats(float(least), float(most) if most is not None else 1e9, width=32)
    if kind == "boolean":
        return st.booleans()
    if kind == "timestamp":
        return TIMES
    assert kind == "blob", f"no values for shapes of type {kind}"
    return st.binary(max_size=64)


def _text(shape: Shape, least: int, most: int | None) -> st.SearchStrategy[str]:
    if "enum" in shape.metadata:
        return st.sampled_from(shape.metadata["enum"])
    header = shape.serialization.get("location") == "header"
    alphabet = HEADER_TEXT if header else TEXT
    top = min(most if most is not None else 2**31, max(least, 24))
    if "pattern" not in shape.metadata:
        return st.text(alphabet, min_size=max(least, 1), max_size=top).filter(lambda text: text.strip() == text)
    regex = compiled(shape.metadata["pattern"]).regex
    if re.fullmatch(r"\[[^\]]*\][*+]", regex.pattern):
        # One class, of nearly all characters in some models: a strategy made from such a pattern takes a minute.
        return st.text(
            alphabet.filter(lambda one: regex.fullmatch(one) is not None), min_size=max(least, 1), max_size=top
        ).filter(lambda text: text.strip() == text)  # blanks around a header's value are not part of it
    return st.from_regex(regex, fullmatch=True, alphabet=alphabet).filter(
        lambda text: least <= len(text) and (most is None or len(text) <= most) and text.strip() == text
    )


def _structure(shape: StructureShape, allowed: Any, prefix: str, within: tuple[str, ...]) -> st.SearchStrategy[Any]:
    if shape.is_document_type:
        return st.dictionaries(st.text(TEXT, max_size=5), st.integers(0, 9), max_size=2)
    required: dict[str, Any] = {}
    optional: dict[str, Any] = {}
    for name, member in shape.members.items():
        # A structure within itself ends at the first level.
        if member.name in within or not allowed(prefix + name):
            continue
        target = required if name in shape.required_members else optional
        target[name] = values_of(member, allowed, prefix + name, (*within, shape.name))
    if shape.is_tagged_union:
        return st.one_of(*(st.fixed_dictionaries({name: values}) for name, values in (required | optional).items()))
    return st.fixed_dictionaries(required, optional=optional)


def least_with(shape: StructureShape, path: str) -> dict[str, Any]:
    """The smallest valid members of a structure that say something at a field path (`A[].B`)."""
    head, _, rest = path.partition(".")
    name = head.replace("[]", "").replace("{}", "")
    members = {required: least(shape.members[required]) for required in shape.required_members}
    return {**members, name: _least_at(shape.members[name], rest)} if name else members


def _least_at(shape: Shape, rest: str) -> Any:
    if isinstance(shape, ListShape):
        return [_least_at(shape.member, rest)] * max(1, shape.metadata.get("min", 1))
    if isinstance(shape, MapShape):
        if shape.metadata.get("min", 0) > 1:
            return least(shape)
        return {least(shape.key): _least_at(shape.value, rest)}
    if isinstance(shape, StructureShape):
        if rest or shape.required_members:
            return least_with(shape, rest)
        return least_with(shape, next(iter(shape.members)))
    return True if shape.type_name == "boolean" else least(shape)


@functools.lru_cache(maxsize=4096)
def least(shape: Shape) -> Any:
    """The smallest valid value of a shape that is not empty."""
    quick = settings(max_examples=200, database=None, phases=(Phase.generate, Phase.shrink), deadline=None)
    return find(values_of(shape, lambda _: True), lambda value: value not in ("", {}), settings=quick)
