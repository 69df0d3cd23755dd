"""The loop of training jobs: looks at every job that has not ended, plans, and acts, each job one step at a time.

A runner's report is a file, so that there is nothing to be told: while jobs run, their folders are looked at a few
times a second; otherwise the loop sleeps until something is written to the store.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import assert_never

import structlog
from sqlalchemy import Connection

from clary.domain.training import MESSAGES, STOPPING_MESSAGE, Metric, Phase, TrainingRecord, moved
from clary.kit.backoff import Backoff
from clary.kit.clock import Clock
from clary.kit.tasks import Tasks
from clary.kit.threads import Threads
from clary.placement.runner import Runners, RunnerSpec
from clary.reconcile import training_files as files
from clary.reconcile.training import Action, Deliver, End, Enter, Have, Launch, Stage, TellStop, plan
from clary.store.base import Store
from clary.store.training import TrainingJob, note, unfinished
from clary.store.training_events import tell
from clary.worker import trainer_options as trainer

_log = structlog.get_logger(__name__)
_BUSY = (Phase.DOWNLOADING, Phase.TRAINING, Phase.UPLOADING)
ROLE = "trainer"


@dataclass(frozen=True)
class TrainingWorld:
    """Everything that acting touches."""

    store: Store
    clock: Clock
    objects: files.Objects
    runners: Runners
    threads: Threads
    """For downloads and uploads."""
    ground: files.Ground


@dataclass(frozen=True)
class TrainingOptions:
    """How the loop runs."""

    jobs_max: int = 1
    """Jobs that use this machine at once; more wait in Starting. Its cores, unless said otherwise."""
    poll_s: float = 0.2
    """Seconds between looks at the folders of running jobs."""
    backoff: Backoff = field(default_factory=Backoff)
    failures_max: int = 8
    """Unexpected errors in a row after which a job fails."""


@dataclass
class _Turn:
    failures: int = 0
    error: str = ""
    """The last of them."""
    not_before_s: float = 0.0


class TrainingLoop:
    """Runs as one task: `await TrainingLoop(world).run()`; it never returns."""

    def __init__(self, world: TrainingWorld, options: TrainingOptions = TrainingOptions()) -> None:
        self._world = world
        self._options = options
        self._tasks = Tasks()
        self._turns: dict[str, _Turn] = {}
        self._acting: set[str] = set()
        self._wish: dict[str, RunnerSpec] = {}
        self._told: set[str] = set()

    async def run(self) -> None:
        """Take over what runs, then go on forever. Cancel to stop: trainings stay."""
        async with self._tasks as tasks:
            await self._load()
            tasks.forever("training-jobs", self._watch())
            await tasks.wait_failed()

    async def _load(self) -> None:
        world = self._world
        jobs = await world.store.read(unfinished)
        uids = {job.uid for job in jobs}
        await world.threads.run(lambda: files.sweep(world.ground, uids))
        for job in jobs:
            if await world.threads.run(partial(self._staged, job.uid)):
                self._wish[job.uid] = self._runner(job.uid)
        await self._apply()

    async def _watch(self) -> None:
        world = self._world
        while True:
            seen = world.store.signal.version
            # Rows of a job that is acted for may be older than what the act writes: it waits for the next look.
            acting = frozenset(self._acting)
            jobs = await world.store.read(unfinished)
            using = sum(job.phase in _BUSY or job.uid in acting for job in jobs)
            for job in jobs:
                turn = self._turns.setdefault(job.uid, _Turn())
                if job.uid in acting or world.clock.monotonic_s() < turn.not_before_s:
                    continue
                have = await world.threads.run(partial(self._look, job))
                action = plan(have, free=using < self._options.jobs_max)
                if action is not None:
                    using += isinstance(action, Enter) and action.phase is Phase.DOWNLOADING
                    self._acting.add(job.uid)
                    self._tasks.once(f"training-{job.uid}", self._act(job, turn, action))
            if jobs:
                await world.store.signal.wait_past_or(seen, world.clock, self._options.poll_s)
            else:
                await world.store.signal.wait_past(seen)

    def _look(self, job: TrainingJob) -> Have:
        """What is to be seen of a job; blocking."""
        folder = files.folder_of(self._world.ground, job.uid)
        result = trainer.read_result(folder) if job.phase in (Phase.TRAINING, Phase.UPLOADING) else None
        return Have(
            phase=job.phase,
            stop_requested=job.stop_requested_us is not None,
            staged=self._staged(job.uid),
            launched=job.uid in self._wish,
            told_to_stop=job.uid in self._told,
            outcome=result.outcome if result else "",
        )

    def _staged(self, uid: str) -> bool:
        return (files.folder_of(self._world.ground, uid) / trainer.JOB).exists()

    # Acting

    async def _act(self, job: TrainingJob, turn: _Turn, action: Action) -> None:
        try:
            if turn.failures >= self._options.failures_max:
                what = f"InternalServerError: An unexpected error came back {turn.failures} times: {turn.error}"
                await self._end(job, Phase.FAILED, reason=what)
            else:
                await self._try(job, action)
            turn.failures = 0
        except Exception as error:
            turn.failures, turn.error = turn.failures + 1, repr(error)
            wait_s = self._options.backoff.wait_s(turn.failures)
            turn.not_before_s = self._world.clock.monotonic_s() + wait_s
            _log.exception("a step of a training job failed", job=job.name, error=str(error), retry_s=wait_s)
        finally:
            self._acting.discard(job.uid)

    async def _try(self, job: TrainingJob, action: Action) -> None:
        try:
            await self._apply_action(job, action)
        except files.InputError as error:
            await self._end(job, Phase.FAILED, reason=str(error))

    async def _apply_action(self, job: TrainingJob, action: Action) -> None:
        world = self._world
        match action:
            case Enter(phase=phase):
                await self._enter(job, phase)
            case Stage():
                await world.threads.run(lambda: files.stage(world.objects, world.ground, job))
            case Launch():
                self._wish[job.uid] = self._runner(job.uid)
                await self._apply()
            case TellStop():
                await world.threads.run(lambda: files.tell_stop(world.ground, job.uid))
                self._told.add(job.uid)
                now_us = world.clock.now_us()
                transitions = moved(job.record, "Stopping", STOPPING_MESSAGE, now_us)
                await self._note(job, job.phase, replace(job.record, transitions=transitions), now_us)
            case Deliver(phase=phase):
                await self._deliver(job, phase)
            case End(phase=phase):
                await self._end(job, phase)
            case _:
                assert_never(action)

    async def _enter(self, job: TrainingJob, phase: Phase) -> None:
        now_us = self._world.clock.now_us()
        record = job.record
        if not record.transitions:
            start = moved(record, Phase.STARTING.value, MESSAGES[Phase.STARTING], job.created_us)
            record = replace(record, transitions=start)
        if phase is Phase.DOWNLOADING:
            record = replace(record, training_started_us=now_us)
        record = replace(record, transitions=moved(record, phase.value, MESSAGES[phase], now_us))
        await self._note(job, phase, record, now_us)

    async def _deliver(self, job: TrainingJob, phase: Phase) -> None:
        world = self._world
        result = await world.threads.run(lambda: trainer.read_result(files.folder_of(world.ground, job.uid)))
        assert result is not None, "the plan delivers only what a runner reported"
        url = await world.threads.run(lambda: files.deliver(world.objects, world.ground, job, result))
        metrics = tuple(Metric(name, value, at_us) for name, (value, at_us) in result.metrics.items())
        job = replace(job, record=replace(job.record, artifacts=url, metrics=metrics))
        await self._end(job, phase, reason=result.reason)

    async def _end(self, job: TrainingJob, phase: Phase, reason: str = "") -> None:
        """Note the end, then take away what is left of it."""
        now_us = self._world.clock.now_us()
        record = job.record
        if not record.transitions:
            start = moved(record, Phase.STARTING.value, MESSAGES[Phase.STARTING], job.created_us)
            record = replace(record, transitions=start)
        message = f"Training job failed: {reason.splitlines()[0]}"[:1000] if reason else MESSAGES[phase]
        record = replace(
            record,
            transitions=moved(record, phase.value, message, now_us, ends=True),
            training_ended_us=now_us if record.training_started_us is not None else None,
            failure_reason=reason[:1024],
        )
        await self._note(job, phase, record, now_us)
        _log.info("a training job ended", job=job.name, phase=phase.value, reason=reason)
        if self._wish.pop(job.uid, None) is not None:
            await self._apply()
        self._told.discard(job.uid)
        self._turns.pop(job.uid, None)
        await self._world.threads.run(lambda: files.clear(self._world.ground, job.uid))

    async def _note(self, job: TrainingJob, phase: Phase, record: TrainingRecord, at_us: int) -> None:
        def work(connection: Connection) -> None:
            note(connection, job, phase, record, at_us)
            tell(connection, replace(job, phase=phase, record=record), at_us)

        await self._world.store.write(work)

    async def _apply(self) -> None:
        await self._world.runners.apply_runners(tuple(self._wish[uid] for uid in sorted(self._wish)))

    def _runner(self, uid: str) -> RunnerSpec:
        ground = self._world.ground
        return RunnerSpec(uid, ROLE, files.folder_of(ground, uid), files.log_of(ground, uid))
