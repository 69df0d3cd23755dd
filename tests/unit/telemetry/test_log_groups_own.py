"""Groups that users made: what is put comes back, after kills too, and limits hold."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from clary.telemetry import log_groups_own
from clary.telemetry.log_groups_own import Full, OwnGroup, OwnGroups, PutEvent, read_events
from clary.telemetry.log_reader import read_lines


def test_groups_are_of_an_account_and_region_and_survive_a_restart(tmp_path: Path) -> None:
    long = "/" + "x" * 511
    OwnGroups(tmp_path).change("1", "eu", long, 5, lambda own: own.streams.update(s=6))
    groups = OwnGroups(tmp_path)
    groups.change("1", "eu", long, 9, lambda own: setattr(own, "retention_days", 7))
    assert groups.find("1", "eu", long) == groups.all("1", "eu")[0] == OwnGroup(long, 5, 7, {"s": 6})
    assert groups.find("2", "eu", long) is groups.find("1", "us", long) is None
    groups.remove("1", "eu", long)
    assert groups.all("1", "eu") == []


def _keep(own: OwnGroup, days: int) -> None:
    own.retention_days = days


def test_what_is_remembered_of_a_group_is_what_its_file_says(tmp_path: Path) -> None:
    groups = OwnGroups(tmp_path)
    folder = groups.folder_of("1", "eu", "g")
    assert groups.known(folder) is None
    for days in range(1, 20):
        # Two changes between two looks: a file system may give the second file the inode of the first.
        groups.change("1", "eu", "g", 1, lambda own: setattr(own, "retention_days", 0))
        groups.change("1", "eu", "g", 1, functools.partial(_keep, days=days))
        known = groups.known(folder)
        assert known is not None
        assert known.retention_days == days
    groups.remove("1", "eu", "g")
    assert groups.known(folder) is None


def test_events_come_back_and_one_that_a_kill_cut_short_harms_no_other(tmp_path: Path) -> None:
    groups, path = OwnGroups(tmp_path), tmp_path / "s.events"
    groups.put(path, [PutEvent(1, 2, "a\nb"), PutEvent(2, 2, "ü")])
    path.write_bytes(path.read_bytes() + b'{"at_ms": 3, "inges')
    groups.put(path, [PutEvent(4, 4, "c")])
    assert [event for _, event in read_events(path)] == [
        PutEvent(1, 2, "a\nb"),
        PutEvent(2, 2, "ü"),
        PutEvent(4, 4, "c"),
    ]
    offsets = [offset for offset, _ in read_events(path)]
    assert [path.read_bytes()[offset : offset + 1] for offset in offsets] == [b"{"] * 3
    assert read_events(tmp_path / "none") == []


def test_limits_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = OwnGroups(tmp_path)
    for name, most in (("GROUPS_MAX", 1), ("STREAMS_MAX", 1), ("STREAM_BYTES_MAX", 60)):
        monkeypatch.setattr(log_groups_own, name, most)
    groups.change("1", "eu", "a", 0, lambda own: own.streams.update(s=0))
    with pytest.raises(Full, match="at most 1 log groups"):
        groups.change("1", "eu", "b", 0, lambda own: None)
    with pytest.raises(Full, match="at most 1 streams"):
        groups.change("1", "eu", "a", 0, lambda own: own.streams.update(t=0))
    assert groups.find("1", "eu", "a") == OwnGroup("a", 0, streams={"s": 0})
    path = groups.path_of("1", "eu", "a", "s")
    groups.put(path, [PutEvent(1, 1, "x")])
    with pytest.raises(Full, match="at most 60 bytes"):
        groups.put(path, [PutEvent(1, 1, "y" * 40)])
    assert len(read_events(path)) == 1
    monkeypatch.setattr(log_groups_own, "STREAM_BYTES_MAX", 10_000)
    monkeypatch.setattr(log_groups_own, "BYTES_MAX", 200)
    with pytest.raises(Full, match="all log groups together"):
        groups.put(path, [PutEvent(1, 1, "y" * 200)])
    groups.remove_events(path)
    groups.put(path, [PutEvent(1, 1, "y" * 100)])


def test_what_is_too_old_is_cut_off_and_the_rest_keeps_its_offsets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups, path = OwnGroups(tmp_path), tmp_path / "s.events"
    groups.put(path, [PutEvent(at, at, f"event {at}") for at in (1, 2, 5, 3, 6)])
    before = read_events(path)
    assert groups.trim(path, 5) == 0  # too little to write the file anew for
    monkeypatch.setattr(log_groups_own, "TRIM_BYTES_MIN", 1)
    assert groups.trim(path, 5) == before[2][0]
    assert read_events(path) == before[2:]
    groups.put(path, [PutEvent(7, 7, "later")])
    assert [event.at_ms for _, event in read_events(path)] == [5, 3, 6, 7]
    piece = read_lines(path, before[3][0], 1 << 20)
    assert len(piece.lines) == 3
    assert groups.trim(path, 6) == before[4][0] - before[2][0]
    assert groups.trim(path, 100) > 0
    assert read_events(path) == []
    assert groups.trim(path, 100) == groups.trim(tmp_path / "none", 100) == 0
    # What was read before stays read.
    assert read_lines(path, piece.position, 1 << 20).lines == []
    groups.put(path, [PutEvent(8, 8, "last")])
    assert len(read_lines(path, piece.position, 1 << 20).lines) == 1
