"""When lines came: windows between looks, over growth, truncation and kills."""

from __future__ import annotations

from pathlib import Path

from clary.telemetry import log_times
from clary.telemetry.log_times import LogTimes, Window, first_window


def test_windows_lie_between_looks_and_end_at_lines(tmp_path: Path) -> None:
    log, times = tmp_path / "r.log", LogTimes()
    times.look([log], 1)
    assert times.windows(log) == []
    log.write_bytes(b"one\ntwo\nhal")
    times.look([log], 10)
    times.look([log], 20)
    with log.open("ab") as out:
        out.write(b"f\n")
    times.look([log], 30)
    assert times.windows(log) == [Window(0, 8, 0, 10), Window(8, 13, 10, 30)]
    assert LogTimes().windows(log) == times.windows(log)
    assert [first_window(times.windows(log), at) for at in (0, 10, 11, 31)] == [0, 0, 1, 2]


def test_a_file_that_shrank_begins_anew_and_a_clock_set_back_changes_no_order(tmp_path: Path) -> None:
    log, times = tmp_path / "r.log", LogTimes()
    log.write_bytes(b"a long first line\n")
    times.look([log], 10)
    log.write_bytes(b"new\n")
    times.look([log], 20)
    assert times.windows(log) == [Window(0, 4, 0, 20)]
    with log.open("ab") as out:
        out.write(b"more\n")
    times.look([log], 15)
    assert times.windows(log)[-1] == Window(4, 9, 20, 20)


def test_a_line_without_end_waits_until_it_is_too_long(tmp_path: Path) -> None:
    log, times = tmp_path / "r.log", LogTimes()
    log.write_bytes(b"x" * (log_times.LINE_BYTES_MAX - 1))
    times.look([log], 10)
    assert times.windows(log) == []
    log.write_bytes(b"x" * log_times.LINE_BYTES_MAX)
    times.look([log], 20)
    assert times.windows(log) == [Window(0, log_times.LINE_BYTES_MAX, 0, 20)]


def test_what_a_kill_cut_short_is_noted_again_and_old_marks_thin_out(tmp_path: Path, monkeypatch: object) -> None:
    log = tmp_path / "r.log"
    for number in range(10):
        with log.open("ab") as out:
            out.write(b"line\n")
        LogTimes().look([log], number + 1)
    sidecar = tmp_path / "r.times"
    sidecar.write_bytes(sidecar.read_bytes()[:-3])
    LogTimes().look([log], 20)
    assert [window.until_us for window in LogTimes().windows(log)] == [*range(1, 10), 20]
    monkeypatch.setattr(log_times, "MARKS_MAX", 10)  # type: ignore[attr-defined]
    with log.open("ab") as out:
        out.write(b"line\n")
    LogTimes().look([log], 30)
    assert [(w.start, w.end, w.until_us) for w in LogTimes().windows(log)] == [
        (0, 10, 2), (10, 20, 4), (20, 30, 6), (30, 40, 8), (40, 50, 20), (50, 55, 30),
    ]  # fmt: skip
