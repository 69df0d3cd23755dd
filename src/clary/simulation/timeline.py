"""What a simulation tells: rows at even intervals, and what happened between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from clary.simulation.service import Second


@dataclass(frozen=True)
class Row:
    """What one interval looked like."""

    at_s: int
    """Its end, in seconds from the start."""
    requests_per_s: float
    latency_ms_p99: float | None
    """None where nothing came."""
    error_share: float
    """Of the requests: failed by the model, or lost."""
    replicas: Mapping[str, int]
    """In service, by fleet."""
    wanted: int
    share: float = 0.0
    """Of the traffic, what the new fleet has; 0 without a rollout."""


def row_of(
    at_s: int, span_s: int, seconds: Sequence[Second], replicas: Mapping[str, int], wanted: int, share: float = 0.0
) -> Row:
    """The interval of `span_s` seconds that ends at `at_s`, from the seconds of all fleets within it."""
    busy = [second for second in seconds if second.arrived]
    arrived = sum(second.arrived for second in busy)
    return Row(
        at_s,
        arrived / span_s,
        1000 * max(second.latency_s(0.99) for second in busy) if busy else None,
        sum(second.errors for second in seconds) / arrived if arrived else 0.0,
        replicas,
        wanted,
        share,
    )


@dataclass(frozen=True)
class Event:
    """Something that happened."""

    at_s: int
    what: str


@dataclass
class Timeline:
    """A whole simulation."""

    rows: list[Row] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    """Facts about the whole, by name."""

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "summary": self.summary,
            "events": [asdict(event) for event in self.events],
            "rows": [asdict(row) for row in self.rows],
        }


def clock(at_s: int) -> str:
    """`0:10:00`: hours, minutes, seconds from the start."""
    return f"{at_s // 3600}:{at_s // 60 % 60:02}:{at_s % 60:02}"


def table(timeline: Timeline) -> tuple[Sequence[str], list[list[Any]]]:
    """Column names, and rows and events together in the order of time."""
    rollout = any(row.share for row in timeline.rows)
    columns = ["TIME", "REQUESTS/S", "P99 MS", "ERRORS", "REPLICAS", *(["NEW SHARE"] if rollout else []), "WHAT"]
    entries: list[tuple[int, int, list[Any]]] = []
    for row in timeline.rows:
        replicas = "+".join(str(count) for count in row.replicas.values()) + f" of {row.wanted}"
        p99 = "" if row.latency_ms_p99 is None else _short(row.latency_ms_p99)
        cells = [clock(row.at_s), _short(row.requests_per_s), p99, f"{row.error_share:.2%}", replicas]
        entries.append((row.at_s, 0, [*cells, *([f"{row.share:.0%}"] if rollout else []), ""]))
    blank = [""] * (len(columns) - 2)
    entries += [(event.at_s, 1, [clock(event.at_s), *blank, event.what]) for event in timeline.events]
    return columns, [cells for _, _, cells in sorted(entries, key=lambda entry: entry[:2])]


def _short(value: float) -> str:
    """Four digits, or as many as it has before the point."""
    return f"{value:.4g}" if abs(value) < 1_000 else f"{value:.0f}"
