"""Makes the processes that run the ones that should: applies plan.py, takes exits, adopts, tells watchers."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from clary.agent import handover, processes
from clary.agent.door import Connection, Message
from clary.agent.journal import Journal, append
from clary.agent.plan import KILL_WAIT_S, Action, Forget, Fork, Phase, Start, Terminate, plan
from clary.agent.processes import UNKNOWN_EXIT, Exit, Process
from clary.agent.slot import Slot
from clary.agent.table import ProcessSpec
from clary.kit.backoff import Backoff
from clary.kit.lifeline import PROVEN, Identity

FORK_S = 5.0
"""A zygote forks in milliseconds; one that has not answered after so long hangs."""
ZYGOTE_S = 60.0
"""Importing a model library takes seconds; workers of a zygote that is not ready after so long are spawned."""
ZYGOTE_FAILURES_MAX = 2
"""A zygote that died so often in a row does not hold its workers up any more."""
REPORT_S = 0.25
"""A zygote reports the end of a child at once; after so long without a report it is taken as unknown."""
WAITS = Backoff(first_s=0.1, factor=2.0, max_s=10.0)
GONE_SPEC = ProcessSpec(uid="", kind="", argv=())
"""Equal to no wanted spec: an orphan that was started from something else."""


@dataclass(frozen=True)
class SupervisorOptions:
    """What a supervisor is told."""

    agent_socket: Path
    logs: Path
    """Folder that gets the logs of processes whose spec names none."""
    handover: Path
    steady_s: float
    adopt_s: float


class Supervisor:
    """Owns every slot. Single-threaded: called by the agent's loop only."""

    def __init__(
        self,
        options: SupervisorOptions,
        selector: selectors.BaseSelector,
        journal: Journal,
        substitutions: Callable[[], Mapping[str, str]],
        tell: Callable[[Message], None],
    ) -> None:
        self._options = options
        self._selector = selector
        self._journal = journal
        self._substitutions = substitutions
        self._tell = tell
        self.want: dict[str, ProcessSpec] = {}
        """Set by the loop; `step` works towards it."""
        self.slots: dict[str, Slot] = {}
        self.port = 0
        self._moved = True
        self._forgetful = False
        """What runs could not be written down the last time."""
        self.inherited_fds: tuple[int, ...] = ()
        """Handed to every router."""

    # Steps

    def step(self, now_s: float) -> None:
        """Plan and apply until nothing more follows at once."""
        self._expire(now_s)
        for _ in range(4):
            actions = plan(self.want, {u: s.seen() for u, s in self.slots.items()}, self._zygotes(), now_s)
            if not actions:
                return
            for action in actions:
                self._apply(action, now_s)

    def _zygotes(self) -> dict[str, Fork]:
        found = {}
        for uid, spec in self.want.items():
            if spec.kind == "zygote":
                slot = self.slots.get(uid)
                found[uid] = slot.fork if slot else Fork.COMING
                if slot and slot.fork is Fork.COMING and slot.failures >= ZYGOTE_FAILURES_MAX:
                    found[uid] = Fork.UNSAFE
        return found

    def _expire(self, now_s: float) -> None:
        """What ends by time: a zygote that never gets ready, a zygote's report that never comes."""
        for slot in list(self.slots.values()):
            if slot.gone_s and now_s - slot.gone_s > REPORT_S:
                self._ended(slot, UNKNOWN_EXIT)
            coming = slot.kind == "zygote" and slot.fork is Fork.COMING and slot.process is not None
            if coming and now_s - slot.started_s > ZYGOTE_S:
                slot.fork = Fork.UNSAFE

    def _apply(self, action: Action, now_s: float) -> None:
        if isinstance(action, Start):
            self._start(action.spec, action.fork, now_s)
        elif isinstance(action, Forget):
            self._forget(self.slots.pop(action.uid))
        elif isinstance(action, Terminate):
            slot = self.slots[action.uid]
            slot.phase, slot.reason = Phase.STOPPING, "stop"
            slot.until_s = now_s + slot.spec.stop_grace_s
            self._signal(slot, signal.SIGTERM)
        else:
            self.kill(self.slots[action.uid], "hung", now_s)

    def kill(self, slot: Slot, reason: str, now_s: float) -> None:
        """End it at once; its exit is reported with `reason`."""
        slot.reason = slot.reason or reason
        slot.phase, slot.until_s = Phase.STOPPING, now_s + KILL_WAIT_S
        self._signal(slot, signal.SIGKILL)

    def _signal(self, slot: Slot, number: int) -> None:
        if slot.process is not None:
            processes.send(slot.process, number)

    def _forget(self, slot: Slot) -> None:
        self._tell({"event": "forgotten", **slot.facts()})

    # Starting

    def _start(self, spec: ProcessSpec, fork: bool, now_s: float) -> None:
        slot = self.slots.get(spec.uid)
        if slot is None:
            slot = self.slots[spec.uid] = Slot(spec)
        slot.proven = slot.proven and slot.spec == spec
        slot.spec, slot.reason, slot.verdict, slot.gone_s = spec, "", {}, 0.0
        slot.nonce, slot.started_s, slot.forked = os.urandom(8).hex(), now_s, fork
        slot.fork = Fork.COMING
        if fork:
            self._fork(slot, now_s)
        else:
            self._spawn(slot)

    def _identity(self, slot: Slot) -> dict[str, str]:
        return Identity(str(self._options.agent_socket), slot.spec.uid, slot.kind, slot.nonce).to_environ()

    def _log(self, slot: Slot) -> Path:
        return Path(slot.spec.log) if slot.spec.log else self._options.logs / f"{slot.spec.uid}.log"

    def _spawn(self, slot: Slot) -> None:
        argv = slot.spec.argv
        fds = self.inherited_fds if slot.kind == "router" else ()
        env = {**slot.spec.env, **self._identity(slot)}
        if slot.proven:
            env[PROVEN] = "1"
        if slot.kind in ("control", "router"):
            env = {**os.environ, **env}
            known = {**self._substitutions(), "uid": slot.spec.uid, "nonce": slot.nonce}
            argv = tuple(_substitute(word, known) for word in argv)
        try:
            process = processes.spawn(argv, env, self._log(slot), fds=fds, worker=slot.kind == "worker")
        except (OSError, ValueError) as error:
            self._not_started(slot, argv[0], error)
            return
        self._runs(slot, process)

    def _not_started(self, slot: Slot, program: str, error: Exception) -> None:
        self._journal.write("A process could not be started.", "error", uid=slot.spec.uid, error=str(error))
        with contextlib.suppress(OSError), self._log(slot).open("a") as log:
            log.write(f"{program} could not be started: {error}\n")
        self._ended(slot, Exit(status=127, signal=0))

    def _fork(self, slot: Slot, now_s: float) -> None:
        zygote = self.slots[slot.spec.zygote]
        assert zygote.connection is not None, "only a zygote that announced itself is SAFE"
        log = self._log(slot)
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._not_started(slot, slot.spec.argv[0], error)
            return
        slot.phase, slot.until_s = Phase.FORKING, now_s + FORK_S
        env = {**slot.spec.env, **self._identity(slot)}
        argv = list(slot.spec.argv)
        zygote.connection.send(
            {"op": "fork", "uid": slot.spec.uid, "nonce": slot.nonce, "argv": argv, "env": env, "log": str(log)}
        )

    def _runs(self, slot: Slot, process: Process) -> None:
        slot.process, slot.phase, slot.until_s = process, Phase.RUNNING, 0.0
        self._selector.register(process.pidfd, selectors.EVENT_READ, slot)
        self._journal.write("A process started.", uid=slot.spec.uid, kind=slot.kind, pid=process.pid)
        self._tell({"event": "started", **slot.facts()})
        self._moved = True

    def forked(self, uid: str, nonce: str, pid: int) -> None:
        """A zygote answered: the child runs, or 0 where fork failed."""
        slot = self.slots.get(uid)
        if slot is None or slot.nonce != nonce or slot.process is not None:
            return
        try:
            process = processes.recognise(pid) if pid else None
        except ProcessLookupError:
            process = None  # it is dead already; its zygote's report says how
        if process is None:
            if not pid:
                self._ended(slot, UNKNOWN_EXIT)
            return
        processes.settle(pid, worker=True)
        self._runs(slot, process)

    # Ends

    def reap(self) -> None:
        """Take every child of ours that ended; what it left in its process group ends too."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            processes.kill_group(ended.si_pid)
            pid, status, usage = os.wait4(ended.si_pid, 0)
            for slot in list(self.slots.values()):
                if slot.process is not None and slot.process.pid == pid:
                    self._ended(slot, processes.exit_of(status, usage))

    def pidfd_readable(self, slot: Slot, now_s: float) -> None:
        """A process ended that may be somebody else's child: a zygote's, or one of a former agent."""
        self.reap()
        if slot.process is None or slot.gone_s:
            return
        processes.kill_rest(slot.process)
        self._selector.unregister(slot.process.pidfd)
        if slot.forked and slot.spec.zygote in self.slots and self.slots[slot.spec.zygote].connection:
            slot.gone_s = now_s
        else:
            self._ended(slot, UNKNOWN_EXIT)

    def reported(self, uid: str, pid: int, nonce: str, end: Exit) -> None:
        """A zygote told how its child ended."""
        slot = self.slots.get(uid)
        if slot is None or slot.nonce != nonce:
            return
        if slot.process is None or slot.process.pid == pid:
            self._ended(slot, end)

    def _ended(self, slot: Slot, end: Exit) -> None:
        now_s = time.monotonic()
        up_s = now_s - slot.started_s
        if slot.process is not None:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(slot.process.pidfd)
            os.close(slot.process.pidfd)
        facts = slot.facts()
        slot.process, slot.gone_s, slot.last_exit, slot.connection = None, 0.0, end, None
        slot.failures = 1 if up_s >= self._options.steady_s else slot.failures + 1
        slot.restarts += 1
        wait_s = 0.0 if slot.reason == "stop" else WAITS.wait_s(slot.failures - 1)
        slot.phase, slot.until_s = Phase.IDLE, now_s + wait_s
        event = {"reason": slot.reason, "up_s": round(up_s, 3), **asdict(end)}
        self._journal.write(
            f"A process {end.text()}.", "info" if slot.reason == "stop" else "warning", **facts, **event
        )
        self._tell({"event": "exited", **facts, "failures": slot.failures, "restarts": slot.restarts, **event})
        if slot.kind == "zygote":
            self._zygote_ended(slot, now_s)
        elif slot.kind == "worker" and slot.reason != "stop":
            self._write_obituary(slot, end)
        self._moved = True

    def _write_obituary(self, slot: Slot, end: Exit) -> None:
        """Why a worker ended, into its own log, where its owner looks."""
        event = f"The worker {end.text()}."
        if slot.reason == "oom":
            event = (
                f"The worker used more memory than its limit of {slot.spec.memory_bytes_max >> 20} MiB; it was ended."
            )
        elif slot.reason == "hung":
            event = "The worker did not end when it was asked to; it was killed."
        append(self._log(slot), event, replica=slot.spec.uid, maxrss_bytes=end.maxrss_bytes)

    def _zygote_ended(self, zygote: Slot, now_s: float) -> None:
        zygote.fork = Fork.COMING
        for slot in self.slots.values():
            if slot.phase is Phase.FORKING and slot.spec.zygote == zygote.spec.uid:
                slot.phase, slot.until_s = Phase.IDLE, now_s

    # Lifelines

    def announced(self, connection: Connection, message: Message, now_s: float) -> bool:
        """A process says who it is. False: nobody we know; it will drain and exit."""
        slot = self.slots.get(str(message.get("uid")))
        if slot is None or slot.nonce != message.get("nonce"):
            return False
        if slot.phase is Phase.FORKING:
            self.forked(slot.spec.uid, slot.nonce, connection.pid)
        if slot.process is None or slot.process.pid != connection.pid:
            return False
        if slot.phase is Phase.ORPHAN:
            slot.phase, slot.started_s, slot.until_s = Phase.RUNNING, now_s, 0.0
            self._journal.write("A process was adopted.", uid=slot.spec.uid, kind=slot.kind, pid=slot.process.pid)
            self._tell({"event": "adopted", **slot.facts()})
        slot.connection = connection
        connection.uid = slot.spec.uid
        return True

    def zygote_says(self, uid: str, message: Message) -> None:
        """A zygote imported its libraries and knows whether it may fork."""
        slot = self.slots[uid]
        slot.fork = Fork.SAFE if message.get("fork") == "safe" else Fork.UNSAFE
        slot.proven = slot.fork is Fork.SAFE
        slot.verdict = {k: v for k, v in message.items() if k != "op"}
        self._journal.write("A zygote is ready.", uid=uid, **slot.verdict)
        self._tell({"event": "verdict", **slot.facts(), **slot.verdict})

    def lost(self, connection: Connection) -> None:
        """A lifeline ended; the process itself may live on (its pidfd tells)."""
        slot = self.slots.get(connection.uid)
        if slot is not None and slot.connection is connection:
            slot.connection = None
            if slot.kind == "zygote":
                slot.fork = Fork.COMING

    # The next agent, and the former one

    def remember(self, *, stopped: bool = False) -> None:
        """Leave the next agent what runs, if that changed since the last time: once a turn, not once a process.

        Where it cannot be written (a full disk, HOME taken away) every turn tries again.
        """
        if not (self._moved or stopped):
            return
        self._moved = False
        rows = []
        for slot in self.running():
            assert slot.process is not None, "running() says so"
            digest = handover.digest_of(slot.spec)
            pid, start = slot.process.pid, slot.process.start
            rows.append(handover.Remembered(slot.spec.uid, slot.kind, pid, start, slot.nonce, digest, slot.restarts))
        what = handover.Handover(os.getpid(), self.port, tuple(rows), stopped)
        try:
            handover.write_handover(self._options.handover, what)
        except OSError as error:
            if not self._forgetful:
                self._journal.write("What runs cannot be written down.", "error", error=str(error))
            self._moved = self._forgetful = True
        else:
            self._forgetful = False

    def inherit(self, former: handover.Handover, now_s: float) -> None:
        """Wait for the processes of a former agent that still run; those started from something else are stopped."""
        for row in former.processes:
            try:
                process = processes.recognise(row.pid, row.start)
            except (ProcessLookupError, OSError):
                continue
            spec = self.want.get(row.uid, GONE_SPEC)
            if handover.digest_of(spec) != row.digest:
                spec = replace(GONE_SPEC, uid=row.uid)
            slot = self.slots[row.uid] = Slot(spec, Phase.ORPHAN)
            slot.kind, slot.nonce, slot.restarts, slot.process = row.kind, row.nonce, row.restarts, process
            slot.until_s, slot.forked = now_s + self._options.adopt_s, bool(spec.zygote)
            self._selector.register(process.pidfd, selectors.EVENT_READ, slot)

    def running(self) -> list[Slot]:
        """Slots whose process runs or is being stopped."""
        return [slot for slot in self.slots.values() if slot.process is not None]


def _substitute(word: str, known: Mapping[str, str]) -> str:
    for name, value in known.items():
        word = word.replace("{" + name + "}", value)
    return word
