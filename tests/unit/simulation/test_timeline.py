"""How a simulation reads as a table."""

from __future__ import annotations

from clary.simulation.timeline import Row, Timeline, table


def test_what_is_large_is_written_out() -> None:
    rows = [
        Row(600 * n, rate, p99, 0.0, {"old": 1}, 1) for n, (rate, p99) in enumerate([(20, 81.4801), (12_345, 60_020.4)])
    ]
    _, cells = table(Timeline(rows))
    assert [row[1:3] for row in cells] == [["20", "81.48"], ["12345", "60020"]]
