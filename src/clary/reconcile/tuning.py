"""The plan of a tuning job: pure, from its trainings to the next step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clary.domain.training import ENDED as TRAINING_ENDED
from clary.domain.training import Phase
from clary.domain.tuning import (
    ALL_FAILED,
    FAILURES_MAX,
    NONE_SUCCEEDED,
    TuningSpec,
    TuningStatus,
    reached,
)
from clary.kit.clock import MICROS
from clary.store.training import TrainingJob, trial_of


@dataclass(frozen=True)
class Spawn:
    """Make the training of that index."""

    index: int


@dataclass(frozen=True)
class StopAll:
    """Ask the trainings that run to stop."""


@dataclass(frozen=True)
class End:
    """Note the end."""

    status: TuningStatus
    reason: str = ""


Action = Spawn | StopAll | End


def plan(
    spec: TuningSpec, jobs: Sequence[TrainingJob], *, stop_requested: bool, created_us: int, now_us: int, slots: int
) -> Action | None:
    """The next step; None while there is nothing to do. `slots`: trainings that this machine runs at once."""
    trials = [trial_of(spec, job) for job in jobs]
    running = [job for job in jobs if job.phase not in TRAINING_ENDED]
    late = spec.runtime_max_s is not None and now_us >= created_us + spec.runtime_max_s * MICROS
    hopeless = _hopeless(jobs)
    if stop_requested or late or hopeless or reached(spec, trials):
        if any(job.stop_requested_us is None for job in running):
            return StopAll()
        if running:
            return None
        if hopeless:
            return End(TuningStatus.FAILED, NONE_SUCCEEDED)
        return End(TuningStatus.STOPPED if stop_requested else TuningStatus.COMPLETED)
    if len(jobs) < spec.jobs:
        return Spawn(len(jobs)) if len(running) < min(spec.parallel, slots) else None
    if running:
        return None
    if all(job.phase is Phase.FAILED for job in jobs):
        return End(TuningStatus.FAILED, (ALL_FAILED + jobs[-1].record.failure_reason)[:1024])
    return End(TuningStatus.COMPLETED)


def _hopeless(jobs: Sequence[TrainingJob]) -> bool:
    """So many failed that the rest will, too."""
    failed = sum(job.phase is Phase.FAILED for job in jobs)
    return failed >= FAILURES_MAX and not any(job.phase is Phase.COMPLETED for job in jobs)
