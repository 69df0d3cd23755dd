"""The row of a runner."""

from __future__ import annotations

from pathlib import Path

from clary.placement.runner import RUNNER, RunnerSpec, runner_of
from clary.placement.specs import Ground, bundles_of


def test_a_runners_row() -> None:
    ground = Ground(Path("/run"), Path("/logs"), Path("/home/bundles/abc"), "/bin")
    spec = RunnerSpec("u", "trainer", Path("/home/jobs/u"), Path("/logs/training/u/algo-1.log"))
    row = runner_of(spec, "/python", ground)
    assert (row.kind, row.zygote, row.log) == (RUNNER, "", "/logs/training/u/algo-1.log")
    assert row.argv == ("/python", "-I", "-B", "/home/bundles/abc/boot.py", "trainer", "/home/jobs/u")
    assert row.env == {"PATH": "/bin", "LANG": "C.UTF-8"}
    assert bundles_of({"u": row}) == {"abc"}
