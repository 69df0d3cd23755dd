"""docs/reference/invoke.md tells every limit, error code and header of the hot path, with its true value."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from clary.dataplane.limits import Limits
from clary.dataplane.plan import _LATER

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "invoke.md").read_text()
ROWS = dict(re.findall(r"^\| `(\w+)` \| ([\d,.]+)", PAGE, re.MULTILINE))


@pytest.mark.parametrize("limit", dataclasses.fields(Limits), ids=lambda field: field.name)
def test_every_limit_stands_there_with_its_default(limit: dataclasses.Field[object]) -> None:
    assert float(ROWS[limit.name].replace(",", "")) == getattr(Limits(), limit.name)


def test_no_limit_stands_there_that_does_not_exist() -> None:
    assert ROWS.keys() == {field.name for field in dataclasses.fields(Limits)}


def test_every_error_code_stands_there() -> None:
    sources = [path.read_text() for path in (ROOT / "src" / "clary" / "dataplane").glob("*.py")]
    codes = {code for text in sources for code in re.findall(r'\b[1-5]\d\d, "([A-Z]\w+)"', text)}
    assert {"ValidationError", "ModelError", "ServiceUnavailable", "InternalFailure"} <= codes
    assert not [code for code in codes if f"`{code}`" not in PAGE]


def test_every_refused_field_stands_there() -> None:
    assert not [suffix for suffix in _LATER if f"-{suffix.title()}`" not in PAGE]
