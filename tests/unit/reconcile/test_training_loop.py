"""The loop of training jobs on a real store: turns, stops, errors, and control killed at every write it makes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from clary.control import training, tuning
from clary.control.desk import Desk
from clary.domain.training import ENDED, Phase, TrainingSpec
from clary.domain.tuning import TuningStatus
from clary.kit.backoff import Backoff
from clary.kit.clock import SystemClock
from clary.kit.ids import SystemIds
from clary.kit.threads import Threads
from clary.placement.runner import RunnerSpec
from clary.reconcile import training_files as files
from clary.reconcile.training_loop import TrainingLoop, TrainingOptions, TrainingWorld
from clary.reconcile.tuning_loop import TuningLoop, TuningWorld
from clary.store.training import TrainingJob
from clary.worker import trainer_options as told
from tests.support.hosting import CALLER, Host
from tests.unit.domain.test_training import SPEC
from tests.unit.domain.test_tuning import SPEC as TUNING
from tests.unit.reconcile.test_training_files import Objects

OPTIONS = TrainingOptions(jobs_max=2, poll_s=0.005, backoff=Backoff(0.001, 1.0, 0.001), failures_max=3)
WRITES_MAX = 40


class Runners:
    """Runners that finish at once, unless their job is held; what runs outlives the loop, as real ones do."""

    def __init__(self) -> None:
        self.running: dict[str, RunnerSpec] = {}
        self.started: list[str] = []
        self.held: set[str] = set()

    async def apply_runners(self, runners: Sequence[RunnerSpec]) -> None:
        for uid in {spec.uid for spec in runners} - self.running.keys():
            self.started.append(uid)
        self.running = {spec.uid: spec for spec in runners}
        for spec in runners:
            self.work(spec)

    def work(self, spec: RunnerSpec) -> None:
        if (spec.folder / told.RESULT).exists() or told.read_options(spec.folder).job in self.held:
            return
        (spec.folder / told.MODEL_ARCHIVE).write_bytes(b"model")
        stopped = (spec.folder / told.STOP).exists()
        outcome = told.STOPPED if stopped else told.COMPLETED
        told.write_result(spec.folder, told.TrainerResult(outcome, metrics={"validation:rmse": (0.5, 1)}))

    def let_go(self) -> None:
        """Held jobs finish."""
        self.held.clear()
        for spec in self.running.values():
            self.work(spec)


class World:
    """A store and what the loop acts on."""

    def __init__(self, home: Path) -> None:
        self.host = Host(home)  # for its store, made once and copied
        self.store = self.host.store
        self.desk = Desk(self.store, SystemClock(), SystemIds())
        self.objects = Objects(b={"train": b"1,2"})
        self.runners = Runners()
        self.ground = files.Ground(home / "jobs", home / "logs", "/python", 2)
        self.threads = Threads("test", 4)

    @asynccontextmanager
    async def running(self, options: TrainingOptions = OPTIONS) -> AsyncIterator[None]:
        world = TrainingWorld(self.store, SystemClock(), self.objects, self.runners, self.threads, self.ground)
        loops = [
            asyncio.create_task(TrainingLoop(world, options).run()),
            asyncio.create_task(TuningLoop(TuningWorld(self.store, SystemClock(), SystemIds(), slots=2)).run()),
        ]
        try:
            yield
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    async def create(self, name: str, spec: TrainingSpec = SPEC) -> None:
        await training.create(self.desk, CALLER, name, spec, {})

    async def job(self, name: str) -> TrainingJob:
        return await training.describe(self.desk, CALLER, name)

    async def until(self, name: str, *phases: Phase) -> TrainingJob:
        while True:
            seen = self.store.signal.version
            job = await self.job(name)
            if job.phase in phases:
                return job
            await asyncio.wait_for(self.store.signal.wait_past(seen), 10)

    def close(self) -> None:
        self.host.close()


async def eventually(holds: Callable[[], object]) -> None:
    """Wait until it holds, at most ten seconds."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - a file, not a task, is waited for
            await asyncio.sleep(0)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


async def test_a_job_from_its_wish_to_its_end(world: World) -> None:
    async with world.running():
        await world.create("j")
        job = await world.until("j", *ENDED)
        assert job.phase is Phase.COMPLETED
        assert job.record.artifacts == "s3://b/out/j/output/model.tar.gz"
        assert [metric.value for metric in job.record.metrics] == [0.5]
        assert world.objects.buckets["b"]["out/j/output/model.tar.gz"] == b"model"
        await eventually(lambda: not world.runners.running and not list(world.ground.jobs.iterdir()))


async def test_jobs_wait_for_their_turn_and_may_be_stopped_there(world: World) -> None:
    world.runners.held = {"a", "b"}
    async with world.running():
        for name in ("a", "b", "c", "d"):
            await world.create(name)
        for name in ("a", "b"):
            await world.until(name, Phase.TRAINING)
        assert [(await world.job(name)).phase for name in ("c", "d")] == [Phase.STARTING] * 2
        await training.stop(world.desk, CALLER, "d")
        ended = await world.until("d", *ENDED)
        assert ended.phase is Phase.STOPPED
        assert [t.status for t in ended.record.transitions] == ["Starting", "Stopped"]
        world.runners.let_go()
        assert (await world.until("c", *ENDED)).phase is Phase.COMPLETED


async def test_a_job_that_is_stopped_keeps_what_it_saved(world: World) -> None:
    world.runners.held = {"j"}
    async with world.running():
        await world.create("j")
        await world.until("j", Phase.TRAINING)
        await training.stop(world.desk, CALLER, "j")
        spec = next(iter(world.runners.running.values()))
        await eventually((spec.folder / told.STOP).exists)
        world.runners.let_go()
        job = await world.until("j", *ENDED)
        assert (job.phase, job.record.artifacts != "") == (Phase.STOPPED, True)


async def test_an_error_that_comes_back_ends_the_job(world: World) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by no means")

    world.objects.list = broken  # type: ignore[assignment, method-assign]
    async with world.running():
        await world.create("j")
        job = await world.until("j", *ENDED)
    assert job.phase is Phase.FAILED
    assert "came back 3 times: ZeroDivisionError('by no means')" in job.record.failure_reason


async def test_a_search_makes_its_trainings_and_ends(world: World) -> None:
    async with world.running():
        await tuning.create(world.desk, CALLER, "t", replace(TUNING, parallel=2), {})
        found = await tuning.describe(world.desk, CALLER, "t", hold_s=20)
    assert found.job.observed is TuningStatus.COMPLETED
    assert len(found.trainings) == 4
    assert len({job.spec.tuned["eta"] for job in found.trainings}) == 4
    assert [job.name[:6] for job in found.trainings] == ["t-001-", "t-002-", "t-003-", "t-004-"]


class Killer:
    """Lets some writes of the loop pass; the next one is its last, done or not."""

    def __init__(self, world: World, writes: int, *, committed: bool) -> None:
        self.left = writes
        self.committed = committed
        self.died = asyncio.Event()
        self._world = world
        self._write = world.store.write
        world.store.write = self.write  # type: ignore[method-assign]

    async def write(self, work: Callable[[Connection], Any]) -> Any:
        self.left -= 1
        if self.left < 0:
            if self.left == -1 and self.committed:
                await self._write(work)
            self.died.set()
            await asyncio.Event().wait()  # the dead do nothing more
        return await self._write(work)

    def restore(self) -> None:
        self._world.store.write = self._write  # type: ignore[method-assign]


@pytest.mark.parametrize("committed", [False, True])
async def test_control_that_is_killed_anywhere_leaves_a_job_that_ends(tmp_path: Path, committed: bool) -> None:
    for writes in range(WRITES_MAX):
        world = World(tmp_path / str(writes))
        await world.create("j")
        killer = Killer(world, writes, committed=committed)
        async with world.running():
            done, died = asyncio.ensure_future(world.until("j", *ENDED)), asyncio.ensure_future(killer.died.wait())
            await asyncio.wait({done, died}, return_when=asyncio.FIRST_COMPLETED)
            for task in (done, died):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        killer.restore()
        async with world.running():
            job = await world.until("j", *ENDED)
            assert job.phase is Phase.COMPLETED, job.record
            assert world.objects.buckets["b"]["out/j/output/model.tar.gz"] == b"model"
            assert len(set(world.runners.started)) == 1
            await eventually(lambda world=world: not world.runners.running and not list(world.ground.jobs.iterdir()))
        world.close()
        if not killer.died.is_set():
            assert writes > 3
            return
    raise AssertionError("a job takes more writes than it should")
