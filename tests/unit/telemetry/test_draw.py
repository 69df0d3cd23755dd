"""Pictures of widgets: PNGs of the size asked for, of each view."""

import io
from typing import Any

import pytest
from PIL import Image

from clary.telemetry.draw import draw

AXIS = {"label": "", "least": None, "most": None}
LINE = {"label": "p99 $a$", "points": [[0, 1.0], [60, 3.0], [240, 2.0]], "colour": None, "right": False, "period_s": 60}
SPEC: dict[str, Any] = {
    "width": 300, "height": 200, "title": "a $title$", "view": "timeSeries", "stacked": False, "legend": "bottom",
    "dark": False, "start_s": 0, "end_s": 3600, "offset_s": 0, "left": AXIS, "right": AXIS,
    "lines": [LINE, {**LINE, "right": True, "colour": "#00ff00"}],
    "horizontal": [
        {"values": [2], "label": "limit", "colour": None, "fill": "above", "right": False},
        {"values": [1, 2], "label": "", "colour": "#0000ff", "fill": "none", "right": True},
    ],
    "vertical": [{"values": [600], "label": "deploy", "colour": None, "fill": "after", "right": False}],
}  # fmt: skip


def pixels(**more: Any) -> tuple[tuple[int, int], int]:
    """The size, and how many colours there are."""
    image = Image.open(io.BytesIO(draw({**SPEC, **more}))).convert("RGB")
    return image.size, len(image.getcolors(1 << 24))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"view": "bar", "legend": "right"},
        {"view": "singleValue", "legend": "hidden"},
        {"stacked": True, "dark": True},
        {"lines": []},
        {"lines": [{**LINE, "points": []}], "vertical": [], "horizontal": []},
        {"left": {"label": "ms", "least": 0, "most": 5}},
    ],
)
def test_each_view_is_drawn(more: dict[str, Any]) -> None:
    size, colours = pixels(**more)
    assert size == (300, 200)
    assert colours > 2


def painted(colour: tuple[int, int, int], **more: Any) -> int:
    """How many pixels have this very colour, beside which there is little in the image."""
    plain: dict[str, Any] = {"horizontal": [], "vertical": [], "title": "", "legend": "hidden"}
    image = Image.open(io.BytesIO(draw({**SPEC, **plain, **more}))).convert("RGB")
    return {seen: count for count, seen in image.getcolors(1 << 24)}.get(colour, 0)


def test_a_level_is_seen_however_far_the_values_are_from_it() -> None:
    mark = {"values": [1000], "label": "limit", "colour": "#ff00ff", "fill": "none", "right": False}
    assert painted((255, 0, 255), lines=[LINE], horizontal=[mark]) > 100


def test_a_point_between_gaps_is_seen() -> None:
    lonely = {**LINE, "points": [[600, 2.0], [1800, 2.0], [3000, 2.0]], "colour": "#00ff00"}
    assert painted((0, 255, 0), lines=[lonely]) > 20


def test_the_smallest_image() -> None:
    assert pixels(width=1, height=1)[0] == (1, 1)
