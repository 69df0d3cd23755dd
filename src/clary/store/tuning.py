"""Rows of tuning jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, case, select, update

from clary.domain.names import arn_of
from clary.domain.principal import Scope
from clary.domain.tuning import ENDED, TuningRecord, TuningSpec, TuningStatus
from clary.store.documents import pack, unpack
from clary.store.named import observed
from clary.store.tables import tuning_jobs

NOUN = "hyper-parameter-tuning-job"


@dataclass(frozen=True)
class TuningJob:
    """One tuning job as stored. Instants in UTC microseconds."""

    uid: str
    scope: Scope
    name: str
    created_us: int
    modified_us: int
    spec: TuningSpec
    stop_requested_us: int | None
    observed: TuningStatus
    record: TuningRecord
    ended_us: int | None

    @property
    def arn(self) -> str:
        return arn_of(NOUN, self.scope, self.name)

    @property
    def status(self) -> TuningStatus:
        """What DescribeHyperParameterTuningJob says."""
        if self.observed in ENDED or self.stop_requested_us is None:
            return self.observed
        return TuningStatus.STOPPING


# TuningJob.status again, as SQL, for filters and sorts.
_status = case(
    (tuning_jobs.c.ended_us.is_not(None), tuning_jobs.c.observed),
    (tuning_jobs.c.stop_requested_us.is_not(None), TuningStatus.STOPPING.value),
    else_=TuningStatus.IN_PROGRESS.value,
)
COLUMNS = observed(tuning_jobs, _status)


def tuning_job(row: Row[Any]) -> TuningJob:
    """A row as a value."""
    return TuningJob(
        uid=row.uid,
        scope=Scope(row.account, row.region),
        name=row.name,
        created_us=row.created_us,
        modified_us=max(row.modified_us, row.observed_us or 0),
        spec=unpack(row.spec, TuningSpec),
        stop_requested_us=row.stop_requested_us,
        observed=TuningStatus(row.observed) if row.observed else TuningStatus.IN_PROGRESS,
        record=unpack(row.record, TuningRecord) if row.record else TuningRecord(),
        ended_us=row.ended_us,
    )


def unfinished(connection: Connection) -> Sequence[TuningJob]:
    """Every tuning job that has not ended, the oldest first."""
    query = select(tuning_jobs).where(tuning_jobs.c.ended_us.is_(None)).order_by(tuning_jobs.c.uid)
    return [tuning_job(row) for row in connection.execute(query)]


def note_end(connection: Connection, uid: str, status: TuningStatus, record: TuningRecord, at_us: int) -> None:
    """Note how a tuning job ended; written by reconcile alone."""
    connection.execute(
        update(tuning_jobs)
        .where(tuning_jobs.c.uid == uid)
        .values(observed=status.value, observed_us=at_us, ended_us=at_us, record=pack(record))
    )
