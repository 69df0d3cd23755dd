"""Replicas as processes of this machine: writes the process table, tells the agent, watches what becomes of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog

import clary
from clary.agent.table import ProcessSpec, read_table, write_table
from clary.kit.backoff import Backoff
from clary.kit.clock import Clock
from clary.kit.tasks import Tasks
from clary.kit.threads import Threads
from clary.placement import forks
from clary.placement.base import ReplicaSpec, ReplicaState
from clary.placement.bundle import make_bundle, sweep_bundles
from clary.placement.observer import AgentEvent, Observed
from clary.placement.runner import RUNNER, RunnerSpec, runner_of
from clary.placement.specs import Ground, bundles_of, socket_of, told_of, unused, worker_of, zygote_of
from clary.replica import frames
from clary.replica.client import ReplicaLink
from clary.replica.frames import Kind, Tag

Result = TypeVar("Result")

RECONNECT = Backoff(first_s=0.01, factor=1.5, max_s=0.1)
"""A replica listens a few milliseconds after it was started, and answers on the same link once it is loaded."""
_AGENT_RETRY = Backoff(first_s=0.05, factor=2.0, max_s=1.0)
_AGENT_REPLY_S = 5.0
_CHECK_S = 1.0
_LINE_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True)
class LocalOptions:
    """Options of LocalPlacement."""

    home: Path
    runtime_dir: Path
    python: str = sys.executable
    """Interpreter of replicas that name none."""
    package: Path = Path(clary.__file__).parent
    """Where the bundle is copied from."""
    path: str = "/usr/local/bin:/usr/bin:/bin"
    """PATH of workers and zygotes; nothing else is inherited."""
    untrusted: bool = False
    """Workers run no code of models': `clary serve --untrusted`."""


class LocalPlacement:
    """Placement (placement/base.py) on one machine. `run` must run as long as it is used."""

    def __init__(self, options: LocalOptions, clock: Clock, threads: Threads) -> None:
        """Reads the table: what runs is known, as starting, before the first `apply`."""
        self._options = options
        self._clock = clock
        self._threads = threads
        self._log = structlog.get_logger("placement")
        self._path = options.home / "run" / "processes.json"
        self._forks = options.home / "run" / "forks.json"
        self._bundles = options.home / "bundles"
        self._agent_socket = options.runtime_dir / "agent.sock"
        self._applying = asyncio.Lock()
        self._bundling = asyncio.Lock()
        self._bundle: Path | None = None
        self._environments: dict[str, str] = {}
        self._asked: dict[str, tuple[str, str, str]] = {}
        """Zygote uid -> (environment, runtime, python): what its verdict is about."""
        self._wish: tuple[ReplicaSpec, ...] | None = None
        """The last `apply`."""
        self._guests: dict[str, ReplicaSpec] = {}
        self._version = 0
        self._moved = asyncio.Event()
        self._tasks: Tasks | None = None
        self._observed: dict[str, Observed] = {}
        self._pids: dict[str, int] = {}
        """Of replicas, runners and zygotes, as the agent tells."""
        self._leaving: set[str] = set()
        """Replicas off the table whose process the agent has not told the end of."""
        self._running: set[str] = set()
        """What the agent lists while a watch begins."""
        self._links: dict[str, tuple[ReplicaLink, asyncio.Task[None]]] = {}
        self._table = {spec.uid: spec for spec in read_table(self._path)}
        for spec in self._table.values():
            if spec.kind == "worker":
                self._observe(spec)

    # The interface

    async def apply(self, replicas: Sequence[ReplicaSpec]) -> None:
        """Make exactly these run; returns once the table is on disk. A replica in it already is left as it is."""
        async with self._applying:
            self._wish = tuple(replicas)
            await self._replace(await self._wished((*self._wish, *self._guests.values())))

    @contextlib.asynccontextmanager
    async def guest(self, spec: ReplicaSpec) -> AsyncIterator[str]:
        """Run one more replica as long as the context lasts; its address. Nobody routes to it and, after a restart of
        control, the first `apply` ends it."""
        self._guests[spec.uid] = spec
        try:
            await self._reapply()
            yield f"unix:{socket_of(self._options.runtime_dir, spec.uid)}"
        finally:
            del self._guests[spec.uid]
            await self._reapply()

    async def _reapply(self) -> None:
        async with self._applying:
            assert self._wish is not None, "guests come after the first wish"
            await self._replace(await self._wished((*self._wish, *self._guests.values())))

    async def apply_runners(self, runners: Sequence[RunnerSpec]) -> None:
        """Make exactly these runners run, beside the replicas; returns once the table is on disk."""
        async with self._applying:
            table = {uid: spec for uid, spec in self._table.items() if spec.kind != RUNNER}
            for runner in runners:
                row = self._table.get(runner.uid)
                table[runner.uid] = row or runner_of(runner, self._options.python, await self._ground())
            await self._replace(table)

    async def _replace(self, table: dict[str, ProcessSpec]) -> None:
        """Write a changed table and have it read; under `_applying`."""
        if table != self._table:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            await self._threads.run(lambda: write_table(self._path, table.values()))
            self._table = table
            self._watch_replicas()
            self._changed()
            await self._tell_agent()

    def observed(self) -> Mapping[str, ReplicaState]:
        """The state of every replica in the table, and of those off it until their process has ended."""
        return {uid: seen.state for uid, seen in self._observed.items()}

    def processes(self) -> Mapping[str, int]:
        """pid of every process that runs, by uid: of replicas, runners and zygotes."""
        return dict(self._pids)

    async def changes(self) -> AsyncIterator[None]:
        """Yields at once, then after every change (several may share one)."""
        seen = -1
        while True:
            moved = self._moved
            if seen == self._version:
                await moved.wait()
            seen = self._version
            yield

    async def drain(self, uid: str) -> None:
        """Tell the replica; it tells every router to send no more, and goes on with what it has."""
        if uid in self._links:
            nonce = self._observed[uid].nonce.encode()
            self._links[uid][0].send(frames.encode(Kind.DRAIN, 0, {Tag.NONCE: nonce}))

    async def run(self) -> None:
        """Watch the agent and the replicas; ends by cancellation, or with the error of a task."""
        async with Tasks() as tasks:
            self._tasks = tasks
            try:
                self._watch_replicas()
                tasks.forever("agent watch", self._watch_agent())
                tasks.forever("load timeouts", self._check_times())
                tasks.once("bundle", self._prepare())
                await tasks.wait_failed()
            finally:
                self._tasks = None
                self._links.clear()

    # The table

    async def _wished(self, replicas: Sequence[ReplicaSpec]) -> dict[str, ProcessSpec]:
        """The table for a wish. Rows that stand stay: a uid's spec never changes."""
        table: dict[str, ProcessSpec] = {u: s for u, s in self._table.items() if s.kind in ("zygote", RUNNER)}
        kept: set[str] = set()
        for replica in replicas:
            if replica.resting:
                _, zygote = await self._new_rows(replica)
                if zygote is not None:
                    kept.add(zygote.uid)
                    table.setdefault(zygote.uid, zygote)
                continue
            standing = self._table.get(replica.uid)
            if standing is None:
                standing, zygote = await self._new_rows(replica)
                if zygote is not None:
                    table.setdefault(zygote.uid, zygote)
            table[standing.uid] = standing
        for uid in unused(list(table.values())) - kept:
            del table[uid]
        return table

    async def _new_rows(self, replica: ReplicaSpec) -> tuple[ProcessSpec, ProcessSpec | None]:
        """The rows of a new replica: its own and, unless forking is known to be unsafe, its zygote's."""
        python = replica.python or self._options.python
        ground = await self._ground()
        zygote = None
        if replica.server is not None:  # nothing to import that a fork would save
            return worker_of(replica, python, "", ground), None
        try:
            environment = await self._environment(python)
        except Exception as error:  # the interpreter cannot be run: the spawn will tell, in the replica's log
            self._log.warning("An interpreter could not be asked for its libraries.", python=python, error=str(error))
        else:
            verdicts = await self._threads.run(lambda: forks.read_verdicts(self._forks))
            verdict = verdicts.get(forks.key_of(environment, replica.runtime))
            if verdict is None or verdict.fork == "safe":
                known = "safe" if verdict is not None else ""
                zygote = zygote_of(replica.runtime, python, environment, known, ground)
                self._asked[zygote.uid] = (environment, replica.runtime, python)
        return worker_of(replica, python, zygote.uid if zygote else "", ground), zygote

    async def _ground(self) -> Ground:
        options = self._options
        return Ground(
            options.runtime_dir, options.home / "logs", await self._current_bundle(), options.path,
            options.untrusted,
        )  # fmt: skip

    async def _environment(self, python: str) -> str:
        if python == sys.executable or python not in self._environments:
            self._environments[python] = await self._threads.run(lambda: forks.environment_of(python))
        return self._environments[python]

    async def _current_bundle(self) -> Path:
        async with self._bundling:
            if self._bundle is None:
                self._bundle = await self._threads.run(lambda: make_bundle(self._options.package, self._bundles))
        return self._bundle

    async def _prepare(self) -> None:
        """Make the bundle before it is needed, and remove what nothing uses any more."""
        bundle = await self._current_bundle()
        keep = bundles_of(self._table) | {bundle.name}
        sockets = {socket_of(self._options.runtime_dir, uid) for uid in self._table}
        stale = [path for path in self._options.runtime_dir.glob("w-*.sock") if path not in sockets]

        def sweep() -> None:
            sweep_bundles(self._bundles, keep)
            for path in stale:
                path.unlink(missing_ok=True)

        await self._threads.run(sweep)

    # The agent

    async def _tell_agent(self) -> None:
        """Have the table read now; an agent that cannot be told finds the change within a second."""
        try:
            async with asyncio.timeout(_AGENT_REPLY_S):
                reader, writer = await asyncio.open_unix_connection(str(self._agent_socket))
                with contextlib.closing(writer):
                    writer.write(b'{"op": "reload"}\n')
                    answer = json.loads(await reader.readline() or b"{}")
        except (OSError, TimeoutError, ValueError) as error:
            self._log.warning("The agent could not be told of a new process table.", error=str(error))
            return
        if answer.get("op") != "reloaded":
            self._log.error("The agent refused the process table.", answer=answer)

    async def _watch_agent(self) -> None:
        """Follow the agent's events, of one agent after the other."""
        failures = 0
        while True:
            await self._clock.sleep(_AGENT_RETRY.wait_s(failures))
            failures += 1
            try:
                reader, writer = await asyncio.open_unix_connection(str(self._agent_socket), limit=_LINE_BYTES_MAX)
            except OSError:
                continue
            failures = 0
            with contextlib.closing(writer):
                writer.write(b'{"op": "watch"}\n')
                try:
                    while line := await reader.readline():
                        await self._event(json.loads(line))
                except (OSError, ValueError) as error:
                    self._log.warning("The agent's events broke off.", error=str(error))

    async def _event(self, message: Mapping[str, Any]) -> None:
        uid = str(message.get("uid", ""))
        self._follow_pids(uid, message)
        self._follow_ends(uid, str(message["event"]))
        seen = self._observed.get(uid)
        if seen is not None and message["event"] in ("started", "running", "adopted", "exited"):
            seen.process_event(AgentEvent.of(message))
        elif message["event"] == "verdict":
            await self._verdict(uid, message)
        elif message["event"] == "running" and "verdict" in message:
            await self._verdict(uid, message["verdict"])

    def _follow_pids(self, uid: str, message: Mapping[str, Any]) -> None:
        event = message["event"]
        if event == "hello":
            self._pids.clear()
        elif event == "exited":
            self._pids.pop(uid, None)
        elif message.get("pid"):
            self._pids[uid] = int(message["pid"])

    def _follow_ends(self, uid: str, event: str) -> None:
        """Forget replicas off the table as they end; a watch that begins tells of ends between it and the last one."""
        if event == "hello":
            self._running.clear()
        elif event == "running":
            self._running.add(uid)
        ended = {uid} if event == "exited" else self._leaving - self._running if event == "synced" else set()
        for gone in ended & self._leaving:
            self._leaving.remove(gone)
            del self._observed[gone]
            # One that was killed, or was still loading, could not remove it itself.
            socket_of(self._options.runtime_dir, gone).unlink(missing_ok=True)
            self._changed()

    async def _verdict(self, zygote: str, said: Mapping[str, Any]) -> None:
        """Keep what a zygote's probe found, for the next one of the same environment."""
        if zygote not in self._asked:
            return
        environment, runtime, python = self._asked.pop(zygote)
        key = forks.key_of(environment, runtime)
        libraries = {str(name): str(version) for name, version in dict(said.get("libraries") or {}).items()}
        verdict = forks.ForkVerdict(runtime, python, str(said["fork"]), str(said.get("detail", "")), libraries)

        def keep() -> None:
            known = forks.read_verdicts(self._forks)
            if key not in known:
                forks.write_verdicts(self._forks, {**known, key: verdict})

        await self._threads.run(keep)

    # The replicas

    def _observe(self, spec: ProcessSpec) -> None:
        told = told_of(spec)
        self._observed[spec.uid] = Observed(
            spec.uid,
            f"unix:{told.socket}",
            told.load_timeout_s,
            spec.memory_bytes_max,
            self._clock.monotonic_s,
            self._changed,
        )

    def _watch_replicas(self) -> None:
        """One link for each replica of the table, none for others."""
        wanted = {uid: spec for uid, spec in self._table.items() if spec.kind == "worker"}
        for uid in [uid for uid in self._observed if uid not in wanted and uid not in self._leaving]:
            if uid in self._links:
                self._links.pop(uid)[1].cancel()
            if self._observed[uid].state.pid:
                self._leaving.add(uid)
            else:  # it never ran, as far as is known: the agent will tell of no end
                del self._observed[uid]
        for uid, spec in wanted.items():
            if uid not in self._observed:
                self._observe(spec)
            if uid not in self._links and self._tasks is not None:
                seen = self._observed[uid]
                link = ReplicaLink(
                    seen.state.address, seen, self._clock, name="placement", nonce=secrets.token_hex(8),
                    reconnect=RECONNECT,
                )  # fmt: skip
                self._links[uid] = (link, self._tasks.forever(f"link to {uid}", link.run()))

    async def _check_times(self) -> None:
        while True:
            await self._clock.sleep(_CHECK_S)
            for uid, seen in list(self._observed.items()):
                if uid not in self._leaving:
                    seen.check_time()

    def _changed(self) -> None:
        self._version += 1
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
