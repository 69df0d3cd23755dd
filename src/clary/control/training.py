"""Training jobs: create, describe, list, stop. What is wanted is written here; reconcile makes it so."""

from __future__ import annotations

from sqlalchemy import Connection, insert, update

from clary.control.desk import Caller, Deed, Desk, Kind, audit, head, not_found, put_tags, require_free
from clary.domain.errors import Invalid
from clary.domain.training import ENDED, TrainingSpec, check_training
from clary.store.documents import pack
from clary.store.named import After, ListQuery, find, list_page
from clary.store.tables import training_jobs
from clary.store.training import COLUMNS, NOUN, TrainingJob, training_job

KIND = Kind(training_jobs, NOUN, "TrainingJob")


async def create(desk: Desk, caller: Caller, name: str, spec: TrainingSpec, tags: dict[str, str]) -> str:
    """Want a training; its ARN. Raises Invalid, NotServed, AlreadyExists, LimitExceeded."""
    check_training(spec)
    now_us = desk.clock.now_us()
    uid = desk.ids.ulid(now_us)

    def work(connection: Connection) -> str:
        arn = require_free(connection, KIND, caller, name)
        connection.execute(insert(training_jobs).values(**head(caller, name, uid, now_us), spec=pack(spec)))
        put_tags(connection, uid, {}, tags)
        audit(connection, caller, KIND, Deed("Create", uid, arn, now_us))
        return arn

    return await desk.store.write(work)


async def describe(desk: Desk, caller: Caller, name: str, hold_s: float = 0.0) -> TrainingJob:
    """The job; NotFound. While it has not ended the answer is held until it has, at most `hold_s` seconds."""
    deadline_s = desk.clock.monotonic_s() + hold_s
    while True:
        seen = desk.store.signal.version
        row = await desk.store.read(lambda connection: find(connection, training_jobs, caller.scope, name))
        if row is None:
            raise not_found(KIND, caller, name)
        left_s = deadline_s - desk.clock.monotonic_s()
        job = training_job(row)
        if job.phase in ENDED or left_s <= 0:
            return job
        await desk.store.signal.wait_past_or(seen, desk.clock, left_s)


async def list_jobs(desk: Desk, caller: Caller, query: ListQuery) -> tuple[list[TrainingJob], After | None]:
    """One page of jobs."""
    rows, more = await desk.store.read(lambda connection: list_page(connection, COLUMNS, caller.scope, query))
    return [training_job(row) for row in rows], more


async def stop(desk: Desk, caller: Caller, name: str) -> None:
    """Want the job to stop. Raises NotFound, and Invalid for one that has ended."""
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> None:
        row = find(connection, training_jobs, caller.scope, name)
        if row is None:
            raise not_found(KIND, caller, name)
        job = training_job(row)
        if job.phase in ENDED:
            raise Invalid(f"The request was rejected because the training job is in status {job.status.value}.")
        if job.stop_requested_us is None:
            connection.execute(
                update(training_jobs)
                .where(training_jobs.c.uid == row.uid)
                .values(stop_requested_us=now_us, modified_us=now_us)
            )
        audit(connection, caller, KIND, Deed("Stop", row.uid, job.arn, now_us))

    await desk.store.write(work)
