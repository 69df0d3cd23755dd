"""The page of metric math names every function, served or refused, and every dynamic label."""

import re

from clary.telemetry import labels
from clary.telemetry.expressions.expression import ARRAY_MAX, WORK_MAX
from clary.telemetry.expressions.functions import FUNCTIONS, MADE_MAX, NOT_SERVED
from clary.telemetry.expressions.search import SEARCH_CHARS_MAX
from clary.telemetry.expressions.syntax import BINARY, CHARS_MAX, DEPTH_MAX
from clary.telemetry.metric_data import COMPARED_MAX, FOUND_MAX, READ_POINTS_MAX
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "reference" / "metric-math.md").read_text()


def test_every_function_is_documented() -> None:
    table = PAGE[PAGE.index("| function |") : PAGE.index("Refused by name")]
    named = set(re.findall(r"[`(]([A-Z][A-Z0-9_]*)", table))
    assert named - {"TS", "S"} >= {*FUNCTIONS, "METRICS", "SEARCH"}
    refused = PAGE[PAGE.index("Refused by name") : PAGE.index("**Searches.**")]
    assert {name for name in NOT_SERVED if f"`{name}`" in refused} == set(NOT_SERVED)


def test_operators_labels_and_limits_are_documented() -> None:
    assert all(f"`{sign}`" in PAGE for sign in BINARY)
    dynamic = (*labels._VALUES, *labels._TIMES, *labels._RANGES, "DATAPOINT_COUNT", "LABEL")
    assert all(f"`${{{name}}}`" in PAGE for name in dynamic)
    for limit in (
        CHARS_MAX,
        SEARCH_CHARS_MAX,
        DEPTH_MAX,
        FOUND_MAX,
        COMPARED_MAX,
        READ_POINTS_MAX,
        ARRAY_MAX,
        MADE_MAX,
        WORK_MAX,
    ):
        assert f"{limit:,}" in PAGE
