"""Hyperparameter tuning jobs: create, describe, list, stop. What is wanted is written here; reconcile makes it so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, insert, update

from clary.control.desk import Caller, Deed, Desk, Kind, audit, head, not_found, put_tags, require_free
from clary.domain.errors import Invalid
from clary.domain.tuning import ENDED, TuningSpec, check_tuning
from clary.store.documents import pack
from clary.store.named import After, ListQuery, find, list_page
from clary.store.tables import tuning_jobs
from clary.store.training import TrainingJob, of_tuning
from clary.store.tuning import COLUMNS, NOUN, TuningJob, tuning_job

KIND = Kind(tuning_jobs, NOUN, "HyperParameterTuningJob")


@dataclass(frozen=True)
class Tuning:
    """A tuning job and its trainings, the oldest first."""

    job: TuningJob
    trainings: Sequence[TrainingJob]


async def create(desk: Desk, caller: Caller, name: str, spec: TuningSpec, tags: dict[str, str]) -> str:
    """Want a tuning; its ARN. Raises Invalid, NotServed, AlreadyExists, LimitExceeded."""
    check_tuning(spec)
    now_us = desk.clock.now_us()
    uid = desk.ids.ulid(now_us)

    def work(connection: Connection) -> str:
        arn = require_free(connection, KIND, caller, name)
        connection.execute(insert(tuning_jobs).values(**head(caller, name, uid, now_us), spec=pack(spec)))
        put_tags(connection, uid, {}, tags)
        audit(connection, caller, KIND, Deed("Create", uid, arn, now_us))
        return arn

    return await desk.store.write(work)


async def describe(desk: Desk, caller: Caller, name: str, hold_s: float = 0.0) -> Tuning:
    """The job; NotFound. While it has not ended the answer is held until it has, at most `hold_s` seconds."""
    deadline_s = desk.clock.monotonic_s() + hold_s

    def read(connection: Connection) -> Tuning:
        row = find(connection, tuning_jobs, caller.scope, name)
        if row is None:
            raise not_found(KIND, caller, name)
        return Tuning(tuning_job(row), of_tuning(connection, row.uid))

    while True:
        seen = desk.store.signal.version
        found = await desk.store.read(read)
        left_s = deadline_s - desk.clock.monotonic_s()
        if found.job.observed in ENDED or left_s <= 0:
            return found
        await desk.store.signal.wait_past_or(seen, desk.clock, left_s)


async def list_jobs(desk: Desk, caller: Caller, query: ListQuery) -> tuple[list[Tuning], After | None]:
    """One page of tuning jobs, each with its trainings."""

    def read(connection: Connection) -> tuple[list[Tuning], After | None]:
        rows, more = list_page(connection, COLUMNS, caller.scope, query)
        return [Tuning(tuning_job(row), of_tuning(connection, row.uid)) for row in rows], more

    return await desk.store.read(read)


async def stop(desk: Desk, caller: Caller, name: str) -> None:
    """Want the job to stop. Raises NotFound, and Invalid for one that has ended."""
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> None:
        row = find(connection, tuning_jobs, caller.scope, name)
        if row is None:
            raise not_found(KIND, caller, name)
        job = tuning_job(row)
        if job.observed in ENDED:
            raise Invalid(
                f"The request was rejected because the hyperparameter tuning job is in status {job.observed.value}."
            )
        if job.stop_requested_us is None:
            connection.execute(
                update(tuning_jobs)
                .where(tuning_jobs.c.uid == row.uid)
                .values(stop_requested_us=now_us, modified_us=now_us)
            )
        audit(connection, caller, KIND, Deed("Stop", row.uid, job.arn, now_us))

    await desk.store.write(work)
