"""Groups that users made: what is put comes back, after kills too, and limits hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from clary.telemetry import log_groups_own
from clary.telemetry.log_groups_own import Full, OwnGroup, OwnGroups, PutEvent, read_events


def test_groups_are_of_an_account_and_region_and_survive_a_restart(tmp_path: Path) -> None:
    long = "/" + "x" * 511
    OwnGroups(tmp_path).save("1", "eu", OwnGroup(long, 5, 7, {"s": 6}))
    groups = OwnGroups(tmp_path)
    assert groups.find("1", "eu", long) == groups.all("1", "eu")[0] == OwnGroup(long, 5, 7, {"s": 6})
    assert groups.find("2", "eu", long) is groups.find("1", "us", long) is None
    groups.remove("1", "eu", long)
    assert groups.all("1", "eu") == []


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
    groups.save("1", "eu", OwnGroup("a", 0))
    groups.save("1", "eu", OwnGroup("a", 0, streams={"s": 0}))
    with pytest.raises(Full, match="at most 1 log groups"):
        groups.save("1", "eu", OwnGroup("b", 0))
    with pytest.raises(Full, match="at most 1 streams"):
        groups.save("1", "eu", OwnGroup("a", 0, streams={"s": 0, "t": 0}))
    path = groups.path_of("1", "eu", "a", "s")
    groups.put(path, [PutEvent(1, 1, "x")])
    with pytest.raises(Full, match="at most 60 bytes"):
        groups.put(path, [PutEvent(1, 1, "y" * 40)])
    assert len(read_events(path)) == 1
