"""A timeline as a picture: traffic, latency and replicas over time, events as lines. Needs matplotlib."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from clary.simulation.timeline import Timeline

_WIDTH_IN, _HEIGHT_IN, _DPI = 10, 7, 120
_LOG_FROM = 20
"""Latencies that differ by more than this factor are drawn on a logarithmic scale."""
_EVENTS_MAX = 40
"""More lines than these would hide what they stand beside."""


def draw(timeline: Timeline, path: Path, title: str) -> None:
    """Write a PNG. Raises ImportError where matplotlib is not installed, OSError where the file cannot be written."""
    import_module("matplotlib").use("Agg")
    pyplot: Any = import_module("matplotlib.pyplot")
    rows = timeline.rows
    minutes = [row.at_s / 60 for row in rows]
    figure, (traffic, latency, fleet) = pyplot.subplots(3, 1, sharex=True, figsize=(_WIDTH_IN, _HEIGHT_IN))
    traffic.set_title(title)
    traffic.plot(minutes, [row.requests_per_s for row in rows], color="tab:blue")
    traffic.set_ylabel("requests/s")
    latency.plot(minutes, [row.latency_ms_p99 or float("nan") for row in rows], color="tab:orange")
    latency.set_ylabel("p99, ms")
    known = [row.latency_ms_p99 for row in rows if row.latency_ms_p99]
    if known and max(known) > _LOG_FROM * min(known):
        latency.set_yscale("log")
    failed = latency.twinx()
    failed.fill_between(minutes, [100 * row.error_share for row in rows], color="tab:red", alpha=0.3, step="pre")
    failed.set_ylabel("failed, %")
    failed.set_ylim(bottom=0)
    for name in rows[0].replicas if rows else ():
        fleet.step(minutes, [row.replicas[name] for row in rows], where="pre", label=name)
    if any(row.share for row in rows):
        share = fleet.twinx()
        share.plot(minutes, [100 * row.share for row in rows], color="tab:green", linestyle="--")
        share.set_ylabel("new fleet's traffic, %")
        share.set_ylim(0, 105)
    fleet.set_ylabel("replicas")
    fleet.set_ylim(bottom=0)
    fleet.set_xlabel("minutes")
    fleet.legend(loc="upper left", fontsize="small")
    for event in timeline.events[:_EVENTS_MAX]:
        for axes in (traffic, latency, fleet):
            axes.axvline(event.at_s / 60, color="0.7", linewidth=0.6, linestyle=":")
    figure.tight_layout()
    figure.savefig(path, format="png", dpi=_DPI)
    pyplot.close(figure)
