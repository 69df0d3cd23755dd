"""Draw a widget: JSON on standard input, a PNG on standard output. A process of its own: matplotlib is slow and large.

    {"width": 600, "height": 400, "title": "", "view": "timeSeries", "stacked": false, "legend": "bottom",
     "dark": false, "start_s": 0, "end_s": 3600, "offset_s": 0,
     "left": {"label": "", "least": null, "most": null}, "right": {...},
     "lines": [{"label": "p99", "points": [[0, 1.5]], "colour": "#1f77b4", "right": false, "period_s": 60}],
     "horizontal": [{"values": [5], "label": "", "colour": null, "fill": "none", "right": false}], "vertical": [...]}

Instants are UTC seconds, and shown `offset_s` seconds later; `values` of vertical marks too.
"""

from __future__ import annotations

import io
import json
import math
import sys
import warnings
from datetime import datetime, timedelta, timezone
from importlib import import_module
from typing import Any

DPI = 100
PALETTE = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf")
MARK = "#d62728"


def draw(spec: dict[str, Any]) -> bytes:
    """The image; ImportError where matplotlib is not there."""
    import_module("matplotlib").use("Agg")
    pyplot = import_module("matplotlib.pyplot")
    with pyplot.style.context("dark_background" if spec["dark"] else "default"):
        figure = pyplot.figure(figsize=(spec["width"] / DPI, spec["height"] / DPI), dpi=DPI)
        if spec["title"]:
            figure.suptitle(spec["title"], fontsize=10, parse_math=False)
        if spec["view"] == "singleValue":
            _single(figure, spec)
        else:
            _graph(figure, spec)
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=DPI)
    return out.getvalue()


def _colours(spec: dict[str, Any]) -> list[str]:
    return [line["colour"] or PALETTE[at % len(PALETTE)] for at, line in enumerate(spec["lines"])]


def _single(figure: Any, spec: dict[str, Any]) -> None:
    """The newest value of each line, side by side."""
    lines = list(zip(spec["lines"], _colours(spec), strict=True))
    for at, (line, colour) in enumerate(lines):
        x = (at + 0.5) / len(lines)
        value = f"{line['points'][-1][1]:.6g}" if line["points"] else "--"
        figure.text(x, 0.52, value, ha="center", va="center", fontsize=20, color=colour)
        figure.text(x, 0.3, line["label"], ha="center", va="center", fontsize=8, parse_math=False)


def _graph(figure: Any, spec: dict[str, Any]) -> None:
    dates = import_module("matplotlib.dates")
    axes = {False: figure.add_subplot()}
    if any(line["right"] for line in spec["lines"]) or any(mark["right"] for mark in spec["horizontal"]):
        axes[True] = axes[False].twinx()
    handles = (_bars if spec["view"] == "bar" else _stack if spec["stacked"] else _lines)(axes, spec)
    for mark in spec["horizontal"]:
        for value in mark["values"]:
            axes[mark["right"]].axhline(value, color=mark["colour"] or MARK, linewidth=1)
    for right, axis in axes.items():  # after the levels: a threshold is seen, however far the values are from it
        limits = spec["right" if right else "left"]
        axis.set_ylim(limits["least"], limits["most"])
    for mark in spec["horizontal"]:
        _level(axes[mark["right"]], mark)
    if spec["view"] != "bar":
        for mark in spec["vertical"]:
            _moment(axes[False], mark, spec)
        axes[False].set_xlim(_at(spec["start_s"], spec), _at(spec["end_s"], spec))
        locator = dates.AutoDateLocator()
        axes[False].xaxis.set_major_locator(locator)
        axes[False].xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    for right, axis in axes.items():
        axis.set_ylabel(spec["right" if right else "left"]["label"], fontsize=8, parse_math=False)
        axis.tick_params(labelsize=7)
        if not right:
            axis.grid(alpha=0.3)
    if spec["legend"] != "hidden" and handles:
        right = spec["legend"] == "right"
        where = {"loc": "center left", "bbox_to_anchor": (1.12 if True in axes else 1.01, 0.5)} if right else {
            "loc": "upper center", "bbox_to_anchor": (0.5, -0.1), "ncols": 3,
        }  # fmt: skip
        for text in axes[False].legend(handles=handles, fontsize=7, frameon=False, **where).get_texts():
            text.set_parse_math(False)
    # A very small figure cannot hold its axes: it then stays as it is, and says so.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Tight layout not applied")
        figure.tight_layout()


def _lines(axes: dict[bool, Any], spec: dict[str, Any]) -> list[Any]:
    handles = []
    for line, colour in zip(spec["lines"], _colours(spec), strict=True):
        # A missing period is a gap, not a line over it; a point between two gaps is a dot.
        xs: list[datetime] = []
        ys: list[float] = []
        for (at, value), before in zip(line["points"], [None, *line["points"]], strict=False):
            if before is not None and at - before[0] > line["period_s"]:
                xs.append(_at(at - 1, spec))
                ys.append(float("nan"))
            xs.append(_at(at, spec))
            ys.append(value)
        drawn = [False, *(not math.isnan(value) for value in ys), False]
        dots = [at for at in range(len(ys)) if drawn[at : at + 3] == [False, True, False]]
        handles += axes[line["right"]].plot(
            xs, ys, color=colour, label=line["label"], linewidth=1.2, marker="o", markevery=dots
        )
    return handles


def _stack(axes: dict[bool, Any], spec: dict[str, Any]) -> list[Any]:
    handles = []
    for right, axis in axes.items():
        chosen = [(line, c) for line, c in zip(spec["lines"], _colours(spec), strict=True) if line["right"] == right]
        times = sorted({at for line, _ in chosen for at, _ in line["points"]})
        if not times:
            continue
        rows = [[dict(line["points"]).get(at, 0.0) for at in times] for line, _ in chosen]
        labels = [line["label"] for line, _ in chosen]
        xs = [_at(at, spec) for at in times]
        handles += axis.stackplot(xs, rows, labels=labels, colors=[colour for _, colour in chosen])
    return handles


def _bars(axes: dict[bool, Any], spec: dict[str, Any]) -> list[Any]:
    """A bar for the newest value of each line."""
    handles = []
    for at, (line, colour) in enumerate(zip(spec["lines"], _colours(spec), strict=True)):
        value = line["points"][-1][1] if line["points"] else 0.0
        handles.append(axes[line["right"]].bar([at], [value], color=colour, label=line["label"]))
    axes[False].set_xticks([])
    return handles


def _level(axis: Any, mark: dict[str, Any]) -> None:
    """What a level fills, and its label, within limits that are set."""
    colour = mark["colour"] or MARK
    low, high = axis.get_ylim()
    if len(mark["values"]) == 2:
        axis.axhspan(*mark["values"], color=colour, alpha=0.15)
    elif mark["fill"] != "none":
        axis.axhspan(mark["values"][0], high if mark["fill"] == "above" else low, color=colour, alpha=0.15)
    axis.set_ylim(low, high)
    if mark["label"]:
        axis.annotate(
            mark["label"], (0, mark["values"][0]), xycoords=("axes fraction", "data"), fontsize=7, color=colour,
            xytext=(3, 2), textcoords="offset points", parse_math=False, annotation_clip=True,
        )  # fmt: skip


def _moment(axis: Any, mark: dict[str, Any], spec: dict[str, Any]) -> None:
    colour = mark["colour"] or MARK
    times = [_at(value, spec) for value in mark["values"]]
    for at in times:
        axis.axvline(at, color=colour, linewidth=1)
    if len(times) == 2:
        axis.axvspan(*times, color=colour, alpha=0.15)
    elif mark["fill"] == "before":
        axis.axvspan(_at(spec["start_s"], spec), times[0], color=colour, alpha=0.15)
    elif mark["fill"] == "after":
        axis.axvspan(times[0], _at(spec["end_s"], spec), color=colour, alpha=0.15)
    if mark["label"]:
        axis.annotate(
            mark["label"], (times[0], 0.98), xycoords=("data", "axes fraction"), fontsize=7, color=colour,
            xytext=(3, -8), textcoords="offset points", parse_math=False, annotation_clip=True,
        )  # fmt: skip


def _at(seconds: float, spec: dict[str, Any]) -> datetime:
    # The axis shows a zone's own time: matplotlib takes what it is given for UTC.
    return datetime.fromtimestamp(seconds, timezone.utc) + timedelta(seconds=spec["offset_s"])  # noqa: UP017


def main() -> None:
    """Standard input to standard output."""
    sys.stdout.buffer.write(draw(json.load(sys.stdin)))


if __name__ == "__main__":
    main()
