"""The loop of tuning jobs: makes trainings as training jobs of their own, and notes the end when they have ended."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, replace
from functools import partial
from typing import assert_never

import structlog
from sqlalchemy import Connection, insert, update

from clary.domain.training import TrainingSpec
from clary.domain.tuning import OBJECTIVE_PARAMETER, TuningRecord
from clary.kit.clock import Clock
from clary.kit.ids import Ids
from clary.reconcile.tuning import Action, End, Spawn, StopAll, plan
from clary.reconcile.tuning_search import answer, draw, grid, question, seed_of
from clary.store.base import Store
from clary.store.documents import pack
from clary.store.tables import training_jobs
from clary.store.training import TrainingJob, of_tuning, trial_of
from clary.store.tuning import TuningJob, note_end, unfinished

_log = structlog.get_logger(__name__)
SEARCH_S = 120.0
"""Time that the process of the Bayesian search has for one answer."""
RETRY_S = 5.0
"""Wait after an unexpected error; the training's own loop goes on."""
_NAME_CHARS_MAX = 63


@dataclass(frozen=True)
class TuningWorld:
    """Everything that acting touches."""

    store: Store
    clock: Clock
    ids: Ids
    slots: int
    """Trainings that this machine runs at once."""


class TuningLoop:
    """Runs as one task: `await TuningLoop(world).run()`; it never returns. One tuning job after the other, in turns."""

    def __init__(self, world: TuningWorld) -> None:
        self._world = world

    async def run(self) -> None:
        """Go on forever; what is to be done follows from the rows alone."""
        world = self._world
        while True:
            seen = world.store.signal.version
            jobs = await world.store.read(unfinished)
            waits = [await self._turn(job) for job in jobs]
            due = [wait_s for wait_s in waits if wait_s is not None]
            if due:
                await world.store.signal.wait_past_or(seen, world.clock, min(due))
            else:
                await world.store.signal.wait_past(seen)

    async def _turn(self, job: TuningJob) -> float | None:
        """Plan and act until nothing is left to do; seconds until the job is to be looked at, None: at a change."""
        world = self._world
        try:
            while True:
                trainings = await world.store.read(partial(of_tuning, tuning_uid=job.uid))
                action = plan(
                    job.spec,
                    trainings,
                    stop_requested=job.stop_requested_us is not None,
                    created_us=job.created_us,
                    now_us=world.clock.now_us(),
                    slots=world.slots,
                )
                if action is None:
                    return None if job.spec.runtime_max_s is None else 1.0
                await self._act(job, list(trainings), action)
                if isinstance(action, End):
                    return None
        except Exception as error:
            _log.exception("a step of a tuning job failed", job=job.name, error=str(error), retry_s=RETRY_S)
            return RETRY_S

    async def _act(self, job: TuningJob, trainings: list[TrainingJob], action: Action) -> None:
        now_us = self._world.clock.now_us()
        match action:
            case Spawn(index=index):
                tuned = await self._next(job, trainings, index)
                await self._spawn(job, index, tuned)
            case StopAll():
                await self._world.store.write(lambda connection: _stop_all(connection, job.uid, now_us))
            case End(status=status, reason=reason):
                record = TuningRecord(reason)
                await self._world.store.write(lambda connection: note_end(connection, job.uid, status, record, now_us))
                _log.info("a tuning job ended", job=job.name, status=status.value, reason=reason)
            case _:
                assert_never(action)

    async def _next(self, job: TuningJob, trainings: list[TrainingJob], index: int) -> dict[str, str]:
        spec, seed = job.spec, seed_of(job.spec, job.uid)
        trials = [trial_of(spec, training) for training in trainings]
        if spec.strategy == "Grid":
            return grid(spec, index)
        if spec.strategy == "Random":
            return draw(spec, seed, index, trials)
        return answer(spec, await _ask(question(spec, seed, index, trials)))

    async def _spawn(self, job: TuningJob, index: int, tuned: dict[str, str]) -> None:
        world = self._world
        now_us = world.clock.now_us()
        uid = world.ids.ulid(now_us)
        spec = _training(job, tuned, world.slots)
        name = f"{job.name}-{index + 1:03d}-{uid[-8:].lower()}"[:_NAME_CHARS_MAX]

        def work(connection: Connection) -> None:
            connection.execute(
                insert(training_jobs).values(
                    uid=uid,
                    account=job.scope.account,
                    region=job.scope.region,
                    name=name,
                    name_key=name.lower(),
                    created_us=now_us,
                    modified_us=now_us,
                    spec=pack(spec),
                    tuning_uid=job.uid,
                )
            )

        await world.store.write(work)


def _training(job: TuningJob, tuned: dict[str, str], slots: int) -> TrainingSpec:
    """One training of a tuning job."""
    definition = job.spec.definition
    given = {**definition.hyperparameters, OBJECTIVE_PARAMETER: job.spec.metric, **tuned}
    parallel = min(job.spec.parallel, slots)
    return replace(definition, hyperparameters=given, tuned=tuned, tuning_job=job.name, parallel=parallel)


def _stop_all(connection: Connection, tuning_uid: str, at_us: int) -> None:
    connection.execute(
        update(training_jobs)
        .where(
            training_jobs.c.tuning_uid == tuning_uid,
            training_jobs.c.ended_us.is_(None),
            training_jobs.c.stop_requested_us.is_(None),
        )
        .values(stop_requested_us=at_us, modified_us=at_us)
    )


async def _ask(asked: bytes) -> bytes:
    """The answer of the process of the Bayesian search. Raises RuntimeError with what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "clary.reconcile.tuning_bayes",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(SEARCH_S):
            out, said = await process.communicate(asked)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise RuntimeError(f"the search ended with status {process.returncode}: {said.decode(errors='replace')[-500:]}")
    return out
