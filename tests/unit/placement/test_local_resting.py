"""What a variant without replicas keeps: the fork server that its next one comes from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from clary.agent.table import read_table
from clary.kit.clock import SystemClock
from clary.kit.threads import Threads
from clary.placement.base import ReplicaSpec
from clary.placement.local import LocalOptions, LocalPlacement


def kinds(home: Path) -> list[str]:
    return sorted(spec.kind for spec in read_table(home / "run" / "processes.json"))


async def test_a_resting_replica_keeps_its_fork_server_and_no_process(tmp_path: Path) -> None:
    threads = Threads("test", 2)
    placement = LocalPlacement(LocalOptions(tmp_path, tmp_path), SystemClock(), threads)
    runs = ReplicaSpec("a", "e", "A", "e1", "tiny", "1", tmp_path, "digest")
    rests = replace(runs, uid="rest-e1-A", resting=True)
    await placement.apply([runs])
    assert kinds(tmp_path) == ["worker", "zygote"]
    await placement.apply([rests])
    assert kinds(tmp_path) == ["zygote"]
    await placement.apply([rests, replace(runs, uid="b")])
    assert kinds(tmp_path) == ["worker", "zygote"]
    await placement.apply([])
    assert kinds(tmp_path) == []
    threads.close()
