"""Runners: processes that do one thing to its end, such as a training job, beside the replicas that serve.

A runner that dies is started again by the agent until it leaves the table; it finds in its folder how far it came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from clary.agent.table import ProcessSpec
from clary.placement.bundle import ENTRY
from clary.placement.specs import Ground

RUNNER = "runner"
"""Its kind in the process table."""
STOP_GRACE_S = 12.0
"""For the order to end: a job that is stopped gets its own time before."""


@dataclass(frozen=True)
class RunnerSpec:
    """One runner. Its row in the table is made once: a uid's argv never changes."""

    uid: str
    role: str
    """Of the bundle's entry: `trainer`."""
    folder: Path
    """Where its orders are and its report goes."""
    log: Path


class Runners(Protocol):
    """Where runners run."""

    async def apply_runners(self, runners: Sequence[RunnerSpec]) -> None:
        """Make exactly these run, and return once that wish is durable. Idempotent."""
        ...


def runner_of(spec: RunnerSpec, python: str, ground: Ground) -> ProcessSpec:
    """The row of a runner. Its environment is built from nothing."""
    return ProcessSpec(
        uid=spec.uid,
        kind=RUNNER,
        argv=(python, "-I", "-B", str(ground.bundle / ENTRY), spec.role, str(spec.folder)),
        env={"PATH": ground.path, "LANG": "C.UTF-8"},
        log=str(spec.log),
        stop_grace_s=STOP_GRACE_S,
    )
