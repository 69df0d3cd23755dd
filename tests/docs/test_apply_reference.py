"""The page of descriptions names every field, in the schema's own words; its examples keep to the schema."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from clary.description.schema import SCHEMA
from clary.description.source import read
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "reference" / "apply.md"


def rows(schema: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """A line of a table for each field, those of an object behind it."""
    for name, one in schema.get("properties", {}).items():
        need = " Required." if name in schema.get("required", ()) else ""
        yield f"| `{at}{name}` | {one['type']} | {one['description']}{need} |"
        yield from rows(one, f"{at}{name}.")
        below = one.get("additionalProperties")
        if isinstance(below, dict) and below.get("properties"):
            yield from rows(below, f"{at}{name}.NAME.")


def test_every_field_is_on_the_page() -> None:
    page = PAGE.read_text()
    repeated = tuple(f"| `endpoints.NAME.variants.NAME.{name}" for name in ("model", "image", "entry", "env", "role",
                                                                          "inst", "scaling"))  # fmt: skip
    missing = [row for row in rows(SCHEMA) if row not in page and not row.startswith(repeated)]
    assert not missing, "\n".join(missing)


def test_its_examples_keep_to_the_schema() -> None:
    for kind, text in re.findall(r"^```(toml|yaml)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        assert read(f"example.{kind}", text).document
