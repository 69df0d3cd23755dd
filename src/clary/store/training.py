"""Rows of training jobs: what control wants, what reconcile saw, and the status that follows from both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, case, select, update

from clary.domain.names import arn_of
from clary.domain.principal import Scope
from clary.domain.training import ENDED, JobStatus, Phase, TrainingRecord, TrainingSpec, status_of, step
from clary.domain.tuning import Trial, TuningSpec
from clary.store.documents import pack, unpack
from clary.store.named import observed
from clary.store.tables import training_jobs

NOUN = "training-job"


@dataclass(frozen=True)
class TrainingJob:
    """One training job as stored. Instants in UTC microseconds."""

    uid: str
    scope: Scope
    name: str
    created_us: int
    modified_us: int
    """The later of the last wish and the last observation."""
    spec: TrainingSpec
    stop_requested_us: int | None
    phase: Phase
    record: TrainingRecord
    tuning_uid: str

    @property
    def arn(self) -> str:
        return arn_of(NOUN, self.scope, self.name)

    @property
    def stopping(self) -> bool:
        """Asked to stop, and not ended."""
        return self.stop_requested_us is not None and self.phase not in ENDED

    @property
    def status(self) -> JobStatus:
        """What DescribeTrainingJob says."""
        return status_of(self.phase, self.stop_requested_us is not None)


# status_of again, as SQL, for filters and sorts; a test holds the two together.
_status = case(
    (training_jobs.c.observed == Phase.COMPLETED.value, JobStatus.COMPLETED.value),
    (training_jobs.c.observed == Phase.FAILED.value, JobStatus.FAILED.value),
    (training_jobs.c.observed.in_([Phase.STOPPED.value, Phase.MAX_RUNTIME_EXCEEDED.value]), JobStatus.STOPPED.value),
    (training_jobs.c.stop_requested_us.is_not(None), JobStatus.STOPPING.value),
    else_=JobStatus.IN_PROGRESS.value,
)
COLUMNS = observed(training_jobs, _status)


def training_job(row: Row[Any]) -> TrainingJob:
    """A row as a value."""
    return TrainingJob(
        uid=row.uid,
        scope=Scope(row.account, row.region),
        name=row.name,
        created_us=row.created_us,
        modified_us=max(row.modified_us, row.observed_us or 0),
        spec=unpack(row.spec, TrainingSpec),
        stop_requested_us=row.stop_requested_us,
        phase=Phase(row.observed) if row.observed else Phase.STARTING,
        record=unpack(row.record, TrainingRecord) if row.record else TrainingRecord(),
        tuning_uid=row.tuning_uid or "",
    )


def unfinished(connection: Connection) -> Sequence[TrainingJob]:
    """Every job that has not ended, the oldest first."""
    query = select(training_jobs).where(training_jobs.c.ended_us.is_(None)).order_by(training_jobs.c.uid)
    return [training_job(row) for row in connection.execute(query)]


def of_tuning(connection: Connection, tuning_uid: str) -> Sequence[TrainingJob]:
    """Every training of a tuning job, the oldest first."""
    query = select(training_jobs).where(training_jobs.c.tuning_uid == tuning_uid).order_by(training_jobs.c.uid)
    return [training_job(row) for row in connection.execute(query)]


def note(connection: Connection, job: TrainingJob, phase: Phase, record: TrainingRecord, at_us: int) -> None:
    """Note where a job stands; written by reconcile alone."""
    step(job.phase, phase)
    connection.execute(
        update(training_jobs)
        .where(training_jobs.c.uid == job.uid)
        .values(
            observed=phase.value,
            observed_us=at_us,
            ended_us=at_us if phase in ENDED else None,
            record=pack(record),
        )
    )


def trial_of(spec: TuningSpec, job: TrainingJob) -> Trial:
    """A training as the search sees it."""
    value = next((metric.value for metric in job.record.metrics if metric.name == spec.metric), None)
    ended = job.phase in ENDED
    return Trial(job.spec.tuned, ended, value if ended and job.status is not JobStatus.FAILED else None)
