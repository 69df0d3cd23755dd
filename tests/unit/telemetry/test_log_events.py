"""Events: their times, their order, and that a reader misses none."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from clary.telemetry.log_events import Position, Stream, backward, forward, position_of
from clary.telemetry.log_times import LogTimes

ALL = (0, 1 << 46, None)


def at(ms: int) -> str:
    """A line of Clary's own."""
    return json.dumps({"ts": f"1970-01-01T00:00:{ms // 1000:02d}.{ms % 1000:03d}Z", "event": f"at {ms}"})


def grown(path: Path, *looks: tuple[int, list[str]]) -> tuple[LogTimes, Stream]:
    """A file that had these lines more at each moment (milliseconds)."""
    times = LogTimes()
    for ms, lines in looks:
        with path.open("a") as out:
            out.writelines(line + "\n" for line in lines)
        times.look([path], ms * 1000)
    return times, Stream("v/r", path, 0)


def test_lines_keep_their_own_time_and_others_take_that_of_the_line_before(tmp_path: Path) -> None:
    looks = ((1000, [at(700), "Traceback", at(900)]), (2000, ["loose", at(1500)]), (3000, [at(100), at(9000)]))
    times, stream = grown(tmp_path / "r.log", *looks)
    assert [(event.position.ms, event.ingested_ms) for event in forward(times, stream, *ALL)] == [
        (700, 1000), (700, 1000), (900, 1000), (2000, 2000), (2000, 2000), (2000, 3000), (3000, 3000),
    ]  # fmt: skip


def test_positions_are_ids_and_back() -> None:
    position = Position(1_795_170_921_840, (1 << 72) - 1, 12_345)
    assert (len(position.id), position_of(position.id)) == (56, position)
    assert [position_of(text) for text in ("", "x" * 56, "1" * 55, "é" * 56)] == [None] * 4


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.none() | st.integers(0, 9_999), max_size=6), min_size=1, max_size=6),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_paging_both_ways_and_following_give_every_line_once_in_order(
    tmp_path_factory: object, batches: list[list[int | None]], page: int, random: object
) -> None:
    folder = tmp_path_factory.mktemp("log")  # type: ignore[attr-defined]
    path, times = folder / "r.log", LogTimes()
    stream, number, followed, seen, newest = Stream("v/r", path, 0), 0, [], set(), 0
    for look, batch in enumerate(batches, 1):
        with path.open("a") as out:
            for ms in batch:
                out.write((f"raw {number}" if ms is None else at(ms)[:-1] + f', "n": {number}}}') + "\n")
                number += 1
        times.look([path], look * 1_000_000)
        for event in forward(times, stream, newest, 1 << 46, None):  # as `aws logs tail --follow` does
            if event.position.id not in seen:
                seen.add(event.position.id)
                followed.append(event)
                newest = max(newest, event.position.ms)
    every = list(forward(times, stream, *ALL))
    assert len(every) == number
    assert [event.position for event in every] == sorted(event.position for event in every)
    assert [event.position.offset for event in followed] == [event.position.offset for event in every]
    assert list(backward(times, stream, *ALL)) == every[::-1]
    paged, last = [], None
    while batch := list(forward(times, stream, 0, 1 << 46, last))[:page]:
        paged += batch
        last = batch[-1].position
    assert paged == every
    between = [event for event in every if 2_000 <= event.position.ms < 4_000]
    assert list(forward(times, stream, 2_000, 4_000, None)) == between
    assert list(backward(times, stream, 2_000, 4_000, None)) == between[::-1]
