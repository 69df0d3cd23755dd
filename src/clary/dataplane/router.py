"""The router process: `python -m clary.dataplane.router --name router-0 --listen-fd 3 --runtime-dir ... --routes ...`.

Started by the agent, which owns the listener. Imports little: a killed router must be back within a second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import random
import signal
import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from clary.dataplane.batch import Replica, VariantQueue, Wire
from clary.dataplane.handoff import HandoffSender
from clary.dataplane.head import Head
from clary.dataplane.http import Connection
from clary.dataplane.ids import RequestIds
from clary.dataplane.invoke import HotPath
from clary.dataplane.limits import Limits
from clary.dataplane.live import Fleet
from clary.dataplane.log import Log
from clary.dataplane.random_queue import RandomQueue
from clary.dataplane.routes import RANDOM, Snapshot
from clary.dataplane.snapshot_file import EMPTY, SnapshotFile
from clary.kit.clock import Clock, SystemClock
from clary.kit.lifeline import Lifeline, identity_of
from clary.kit.tasks import Tasks
from clary.replica.client import ReplicaLink
from clary.telemetry.invocations import InvocationWriter
from clary.telemetry.recorder import Recorder

SWEEP_S = 0.1
"""How coarse timeouts are, in seconds."""
POLL_S = 1.0
"""How often the snapshot's file is looked at, told or not, in seconds."""
BACKLOG = 4096
RELOAD_PATH = "/clary/router/reload"
STATUS_PATH = "/clary/router/status"


@dataclass(frozen=True)
class RouterOptions:
    """What one router is started with."""

    name: str
    """`router-0`; names its socket, its spool folder and its log."""
    listen_fd: int
    """Descriptor of the public listener, inherited from the agent."""
    runtime_dir: Path
    """Holds handoff.sock and gets NAME.sock."""
    routes: Path
    """The snapshot."""
    spool_dir: Path
    """This router's own folder for metric deltas."""
    log: Path | None = None
    """None: standard error."""
    limits: Limits = field(default_factory=Limits)


class Router:
    """One router, from its first snapshot to its last answer."""

    def __init__(self, options: RouterOptions, clock: Clock, environ: Mapping[str, str]) -> None:
        self._options = options
        self._clock = clock
        self._identity = identity_of(environ)
        self._boot = os.urandom(8).hex()
        self._log = Log(options.log, clock)
        self._file = SnapshotFile(
            options.routes, lambda cause: self._log.write("error", "snapshot unusable, the last one stays", cause=cause)
        )
        self._recorder = Recorder(options.name, self._boot, options.spool_dir, clock)
        self._invocations = InvocationWriter(
            options.spool_dir,
            clock,
            lambda count: self._log.write("warning", "trails are not told of some invocations", invocations=count),
        )
        self._handoff = HandoffSender(options.runtime_dir / "handoff.sock", options.limits.handoffs_max)
        self._stop = asyncio.Event()
        self._tasks = Tasks()
        self._fleet = Fleet(self._recorder, self._make_queue, self._connect)
        table, _ = self._fleet.swap(EMPTY)
        self._hot = HotPath(
            options.limits,
            clock,
            table,
            request_id=RequestIds(os.urandom),
            draw=random.random,
            hand_over=self._handoff,
            private=self._private,
            complain=self._complain,
            span_id=lambda: random.randbytes(8),
            keep_span=self._recorder.span,
            keep_invocation=self._invocations.keep,
            ask=self._handoff.notify,
        )

    async def run(self) -> None:
        """Serve until SIGTERM, SIGINT or orphaned; then finish what is in flight."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._unexpected)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        listener = socket.socket(fileno=self._options.listen_fd)
        lifeline = self._adoptable(loop, listener)
        private_path = self._options.runtime_dir / f"{self._options.name}.sock"
        private_path.unlink(missing_ok=True)
        hot = self._hot
        private = await loop.create_unix_server(lambda: Connection(hot, private=True), str(private_path))
        private_path.chmod(0o600)
        async with self._tasks:
            self._reload()
            self._tasks.forever("sweep", self._sweep())
            self._tasks.forever("poll", self._poll())
            self._tasks.forever("metrics", self._recorder.run())
            self._tasks.forever("invocations", self._invocations.run())
            public = await loop.create_server(lambda: Connection(hot), sock=listener, backlog=BACKLOG)
            self._log.write("info", "router serves", name=self._options.name, pid=os.getpid())
            await self._until_stopped()
            if lifeline is not None:
                lifeline.stop()
            public.close()
            await self._drain()
            private.close()
            self._handoff.close()
        self._log.write("info", "router stopped", name=self._options.name)

    # -- snapshot ------------------------------------------------------------------------------------------------------

    def _reload(self) -> None:
        snapshot = self._file.poll()
        if snapshot is None:
            return
        table, homeless = self._fleet.swap(snapshot)
        self._hot.use(table)
        self._hot.homeless(homeless)
        self._log.write("info", "snapshot in use", revision=snapshot.revision, endpoints=len(snapshot.endpoints))

    async def _poll(self) -> None:
        while True:
            await self._clock.sleep(POLL_S)
            self._reload()

    def _private(self, head: Head) -> tuple[int, bytes]:
        """Answers on the router's own socket."""
        if head.method == "POST" and head.path == RELOAD_PATH:
            self._reload()
        elif head.method != "GET" or head.path != STATUS_PATH:
            return 404, msgspec.json.encode({"message": f"A router answers POST {RELOAD_PATH} and GET {STATUS_PATH}."})
        return 200, msgspec.json.encode(self._status())

    def _status(self) -> dict[str, str | int]:
        snapshot: Snapshot = self._hot.table.snapshot
        return {
            "name": self._options.name,
            "pid": os.getpid(),
            "boot": self._boot,
            "revision": snapshot.revision,
            "connections": len(self._hot.connections),
            "inflight": self._hot.inflight,
            "live_replicas": sum(r.live for queue in self._fleet.queues() for r in queue.replicas),
        }

    # -- replicas ------------------------------------------------------------------------------------------------------

    def _make_queue(self, routing: str) -> VariantQueue:
        call_soon = asyncio.get_running_loop().call_soon
        limits, clock, hot = self._options.limits, self._clock, self._hot
        if routing == RANDOM:
            return RandomQueue(limits, clock, hot, call_soon, self._note, random.random)
        return VariantQueue(limits, clock, hot, call_soon, self._note)

    def _note(self, event: str, uid: str, cause: str) -> None:
        self._log.write("info", event, replica=uid, cause=cause)

    def _connect(self, address: str, replica: Replica) -> Wire:
        link = ReplicaLink(address, replica, self._clock, name=self._options.name, nonce=self._boot)
        self._tasks.once(f"link {replica.uid}", link.run())
        return link

    # -- life ----------------------------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        """Every deadline of the process: a tenth of a second is exact enough, and costs nothing per request."""
        ticks = 0
        while True:
            await self._clock.sleep(SWEEP_S)
            now_s = self._clock.monotonic_s()
            self._hot.sweep(now_s)
            self._recorder.sample()
            for queue in self._fleet.queues():
                queue.sweep(now_s)
            stranded = self._fleet.stranded()
            if stranded:
                self._hot.homeless(stranded)
            ticks += 1
            if ticks % 5 == 0:
                for connection in list(self._hot.connections):
                    connection.sweep(now_s)

    def _adoptable(self, loop: asyncio.AbstractEventLoop, listener: socket.socket) -> Lifeline | None:
        """Hold the lifeline to the agent; it keeps its own copy of the listener, for the agent that adopts us."""
        if self._identity is None:
            return None
        who = self._identity

        def orphaned() -> None:
            loop.call_soon_threadsafe(self._stop.set)

        lifeline = Lifeline(
            Path(who.agent_socket),
            who.uid,
            who.kind,
            who.nonce,
            orphaned,
            listener_fd=os.dup(listener.fileno()),
        )
        lifeline.start()
        return lifeline

    async def _until_stopped(self) -> None:
        """Until asked to stop, or a task of ours fails."""
        stop = asyncio.create_task(self._stop.wait())
        failed = asyncio.create_task(self._tasks.wait_failed())
        try:
            await asyncio.wait((stop, failed), return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                failed.result()
        finally:
            stop.cancel()
            failed.cancel()
            await asyncio.gather(stop, failed, return_exceptions=True)

    async def _drain(self) -> None:
        """Finish what is in flight, as long as the limit allows."""
        hot = self._hot
        hot.stopping = True
        now_s = self._clock.monotonic_s()
        until_s, farewell_s = now_s + self._options.limits.stop_s, now_s + self._options.limits.farewell_s
        while hot.connections and self._clock.monotonic_s() < farewell_s:
            await self._clock.sleep(0.02)
        for connection in list(hot.connections):
            connection.stop()
        while hot.connections and self._clock.monotonic_s() < until_s:
            await self._clock.sleep(0.02)
            if not hot.inflight:
                for connection in list(hot.connections):
                    connection.stop()
                until_s = min(until_s, self._clock.monotonic_s() + self._options.limits.linger_s)
        self._log.write("info", "drained", connections_left=len(hot.connections), inflight_left=hot.inflight)

    def _complain(self, error: Exception) -> None:
        where = "".join(traceback.format_exception(error))
        self._log.write("error", "unexpected error in a request", cause=repr(error), traceback=where)

    def _unexpected(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:  # noqa: ARG002
        error = context.get("exception")
        self._log.write("error", "unexpected error in a callback", cause=f"{context.get('message')}: {error!r}")


def parse_options(argv: Sequence[str]) -> RouterOptions:
    """The options of a command line."""
    parser = argparse.ArgumentParser(prog="python -m clary.dataplane.router", description="One router process.")
    parser.add_argument("--name", required=True)
    parser.add_argument("--listen-fd", type=int, required=True)
    parser.add_argument("--runtime-dir", type=Path, required=True)
    parser.add_argument("--routes", type=Path, required=True)
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--log", type=Path)
    given = parser.parse_args(argv)
    return RouterOptions(given.name, given.listen_fd, given.runtime_dir, given.routes, given.spool, given.log)


def main(argv: Sequence[str]) -> int:
    """Run one router; the exit status."""
    options = parse_options(argv)

    async def run() -> None:
        await Router(options, SystemClock(), os.environ).run()

    # What is imported lives as long as the process; requests leave no cycles behind.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(run())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
