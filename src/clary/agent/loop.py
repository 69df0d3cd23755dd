"""The agent's loop: signals, peers, exits, time; start, readiness, the ordered stop."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from clary.agent import handover, home, journal, processes
from clary.agent.door import Connection, Door, Message
from clary.agent.options import NOT_USABLE, AgentOptions
from clary.agent.plan import Phase, wake_s
from clary.agent.processes import Exit
from clary.agent.readiness import answers_ok
from clary.agent.slot import Slot
from clary.agent.supervisor import Supervisor, SupervisorOptions
from clary.agent.table import ProcessSpec, read_table

STAGES = ("router", "runner", "worker", "zygote", "control")
"""The order of a stop: clients first, control last, so that it sees what happens."""
BOOT_FAILURES_MAX = 3
"""Control that died so often before the server was ever ready will not get better by itself."""
_WAKE_S = 1.0
_SOON_S = 0.05
_HEALTH_RETRY_S = 0.05


class Agent:
    """One server on one HOME. `run` returns its exit status."""

    def __init__(self, options: AgentOptions) -> None:
        self._options = options
        self._home = Path(options.home)
        self._table = self._home / "run" / "processes.json"
        self._lock = home.open_home(self._home, Path(options.runtime_dir))
        self._journal = journal.Journal(self._home / "logs" / "agent.log")
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._former = handover.read_handover(self._home / "run" / "agent.json")
        self._listener: socket.socket | None = None
        self._listen_until_s = 0.0
        self._door = Door(Path(options.runtime_dir) / "agent.sock", self._selector, self._message, self._lost)
        self._supervisor = Supervisor(
            SupervisorOptions(
                Path(options.runtime_dir) / "agent.sock",
                self._home / "logs",
                self._home / "run" / "agent.json",
                options.steady_s,
                options.adopt_s,
            ),
            self._selector,
            self._journal,
            self._substitutions,
            self._tell,
        )
        self._specs: dict[str, ProcessSpec] = {}
        self._table_stamp: tuple[int, int] = (0, 0)
        self._stage = -1
        """Index into STAGES while stopping; -1 while serving."""
        self._ready = threading.Event()
        self._stopped = threading.Event()
        self._announced = False
        self._next_memory_s = self._next_logs_s = 0.0
        self._status = 0

    # Start

    def run(self) -> int:
        """Serve until told to stop."""
        processes.become_subreaper()
        started_s = time.monotonic()
        self._catch_signals()
        self._listen(started_s)
        self._load_table()
        self._want()
        self._supervisor.inherit(self._former, started_s)
        threading.Thread(target=self._probe_health, name="health", daemon=True).start()
        late = False
        while not self._finished():
            now_s = time.monotonic()
            if self._listener is not None or self._stage >= 0:
                self._supervisor.step(now_s)
            else:
                self._await_listener(now_s)
            self._look_after(now_s)
            if self._listener is not None:  # until then the former agent's word is the better one
                self._supervisor.remember()
            self._wait(now_s)
            if not (late or self._ready.is_set()) and now_s - started_s > self._options.ready_s:
                late = True
                _say(f"Clary is not ready after {self._options.ready_s:.0f} s; see {self._home / 'logs'}.")
        self._close()
        return self._status

    def _catch_signals(self) -> None:
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        writer.setblocking(False)
        self._wake_reader, self._wake_writer = reader, writer
        self._selector.register(reader, selectors.EVENT_READ, None)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup means it
                signal.signal(number, lambda caught, _frame: self._signals.append(caught))
        signal.signal(signal.SIGCHLD, lambda _caught, _frame: None)  # the wake-up is all that is wanted

    def _listen(self, now_s: float) -> None:
        """Open the port, or wait for a router of the former agent that brings it along."""
        options = self._options
        try:
            self._set_listener(home.listen(options.host, options.port, options.backlog))
        except home.PortTakenError:
            # An agent that was killed may have left a router that it had no time to write down.
            if self._former.stopped or self._former.port != options.port:
                raise
            self._listen_until_s = now_s + options.adopt_s

    def _await_listener(self, now_s: float) -> None:
        """The former routers have their time to hand the port over, or to end; then they are killed."""
        if now_s >= self._listen_until_s:
            for slot in self._supervisor.running():
                if slot.kind == "router" and slot.reason != "hung":
                    self._supervisor.kill(slot, "hung", now_s)
        try:
            self._set_listener(home.listen(self._options.host, self._options.port, self._options.backlog))
        except home.PortTakenError as error:
            if now_s > self._listen_until_s + self._options.adopt_s:
                self._give_up(str(error), NOT_USABLE)

    def _set_listener(self, listener: socket.socket) -> None:
        self._listener = listener
        self._supervisor.port = listener.getsockname()[1]
        self._supervisor.inherited_fds = (listener.fileno(),)

    def _substitutions(self) -> Mapping[str, str]:
        assert self._listener is not None, "nothing starts before the port is open"
        return {
            "listen_fd": str(self._listener.fileno()),
            "port": str(self._supervisor.port),
            "agent_socket": str(Path(self._options.runtime_dir) / "agent.sock"),
        }

    # What should run

    def _load_table(self) -> str:
        """Read the process table; what is wrong with it, or nothing. A bad table changes nothing."""
        try:
            stat = self._table.stat()
            self._table_stamp = (stat.st_mtime_ns, stat.st_ino)
        except FileNotFoundError:
            self._table_stamp = (0, 0)
        try:
            self._specs = {spec.uid: spec for spec in read_table(self._table)}
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._journal.write("The process table cannot be read.", "error", path=str(self._table), error=str(error))
            return str(error)
        return ""

    def _want(self) -> None:
        """Everything of the kinds that the stop has not reached."""
        options = self._options
        # What makes a running control or router another one: a new Clary, another address to listen on.
        env = {**options.env, "CLARY_VERSION": options.version, "CLARY_LISTEN": f"{options.host}:{options.port}"}
        own = [ProcessSpec("control", "control", options.control, env, stop_grace_s=options.stop_grace_s)]
        for number, argv in enumerate(options.routers):
            own.append(ProcessSpec(f"router-{number}", "router", argv, env, stop_grace_s=options.stop_grace_s))
        every = {spec.uid: spec for spec in own} | self._specs
        gone = STAGES[: self._stage + 1]
        self._supervisor.want = {uid: spec for uid, spec in every.items() if spec.kind not in gone}

    def _reload_if_changed(self) -> None:
        """Placement tells us of a new table; this finds the one whose message was lost."""
        try:
            stat = self._table.stat()
        except FileNotFoundError:
            return
        if (stat.st_mtime_ns, stat.st_ino) != self._table_stamp:
            self._load_table()
            self._want()

    # One turn

    def _wait(self, now_s: float) -> None:
        seen = {uid: slot.seen() for uid, slot in self._supervisor.slots.items()}
        pending = any(slot.gone_s for slot in self._supervisor.slots.values())
        soon = pending or self._listener is None
        for key, events in self._selector.select(wake_s(seen, now_s, _SOON_S if soon else _WAKE_S)):
            if isinstance(key.data, Connection):
                self._door.serve(key.data, events)
            elif isinstance(key.data, Slot):
                self._supervisor.pidfd_readable(key.data, time.monotonic())
            elif isinstance(key.data, Door):
                self._door.accept()
            else:
                self._drain_wakeups()
        self._door.sweep()

    def _drain_wakeups(self) -> None:
        try:
            while self._wake_reader.recv(4096):
                pass
        except BlockingIOError:
            pass
        self._supervisor.reap()
        while self._signals:
            self._asked_to_stop(self._signals.pop(0))

    def _look_after(self, now_s: float) -> None:
        if self._ready.is_set() and not self._announced and self._stage < 0:
            self._announced = True
            self._journal.write("The server is ready.", port=self._supervisor.port)
            if self._options.banner:
                _say(self._options.banner.replace("{port}", str(self._supervisor.port)))
        if now_s >= self._next_memory_s:
            self._next_memory_s = now_s + self._options.memory_check_s
            self._check_memory(now_s)
            self._reload_if_changed()
        if now_s >= self._next_logs_s:
            self._next_logs_s = now_s + self._options.log_check_s
            self._cut_logs()
        if not self._ready.is_set() and self._stage < 0:
            self._check_boot()

    def _check_boot(self) -> None:
        """Stop, and say why, where control or a router cannot start at all."""
        for slot in self._supervisor.slots.values():
            if slot.kind in ("control", "router") and slot.failures >= BOOT_FAILURES_MAX and slot.last_exit:
                log = self._home / "logs" / f"{slot.spec.uid}.log"
                tail = "\n".join("  " + line for line in journal.last_lines(log, 10))
                self._give_up(
                    f"{slot.spec.uid} {slot.last_exit.text()} {slot.failures} times before the server was ready;"
                    f" the end of {log}:\n{tail}"
                )
                return

    def _check_memory(self, now_s: float) -> None:
        limited = [slot for slot in self._supervisor.running() if slot.spec.memory_bytes_max and not slot.reason]
        sessions = processes.sessions() if limited else {}
        for slot in limited:
            most = slot.spec.memory_bytes_max
            if slot.process is not None:
                used = processes.session_memory_bytes(sessions.get(slot.process.pid, ()), most)
                if used > most:
                    self._journal.write(
                        "A process used more memory than its limit.", "error", uid=slot.spec.uid, used=used, limit=most
                    )
                    self._supervisor.kill(slot, "oom", now_s)

    def _cut_logs(self) -> None:
        logs = {Path(slot.spec.log) for slot in self._supervisor.slots.values() if slot.spec.log}
        for log in logs | set((self._home / "logs").glob("*.log")):
            if journal.cut(log, self._options.log_bytes_max):
                self._journal.write("A log was cut.", path=str(log))

    # Peers

    def _tell(self, event: Message) -> None:
        self._door.broadcast(event)

    def _lost(self, connection: Connection) -> None:
        self._supervisor.lost(connection)

    def _message(self, connection: Connection, message: Message) -> None:
        """A peer's message; one that lacks what it needs ends that connection and nothing else."""
        try:
            self._take(connection, message)
        except (KeyError, TypeError, ValueError) as error:
            self._journal.write("A peer's message makes no sense.", "error", message=message, error=repr(error))
            connection.close()

    def _take(self, connection: Connection, message: Message) -> None:
        op = message["op"]
        if op == "announce":
            self._announce(connection, message)
        elif op == "reload":
            wrong = self._load_table()
            self._want()
            connection.send({"op": "refused", "message": wrong} if wrong else {"op": "reloaded"})
        elif op == "watch":
            connection.send({"event": "hello", "pid": os.getpid(), "version": self._options.version})
            for slot in self._supervisor.running():
                connection.send(
                    {"event": "running", **slot.facts(), **({"verdict": slot.verdict} if slot.verdict else {})}
                )
            connection.send({"event": "synced"})
            connection.watches = True
        elif connection.uid:
            self._zygote_message(connection, message)
        else:
            connection.send({"op": "refused", "message": f"the agent does not know the operation {op!r}"})

    def _zygote_message(self, connection: Connection, message: Message) -> None:
        op = message["op"]
        if op == "ready":
            self._supervisor.zygote_says(connection.uid, message)
        elif op == "forked":
            self._supervisor.forked(message["uid"], message["nonce"], message["pid"])
        elif op == "exited":
            end = Exit(message["status"], message["signal"], message["maxrss_bytes"], message["cpu_s"])
            self._supervisor.reported(message["uid"], message["pid"], message["nonce"], end)

    def _announce(self, connection: Connection, message: Message) -> None:
        fd = connection.take_fd() if message.get("listener") else -1
        known = self._supervisor.announced(connection, message, time.monotonic())
        if fd >= 0:
            listener = socket.socket(fileno=fd)
            # Even from a router that nobody wrote down: it will drain and exit, its port is ours.
            if self._listener is None and listener.getsockname()[1] == self._options.port:
                self._set_listener(listener)
            else:
                listener.close()
        connection.send({"op": "welcome" if known else "unknown", "agent": os.getpid()})

    # Readiness

    def _probe_health(self) -> None:
        """On its own thread: until the public port answers 200 at /clary/health."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._options.host, self._options.host)  # noqa: S104
        while not self._stopped.wait(_HEALTH_RETRY_S):
            if self._supervisor.port and answers_ok(host, self._supervisor.port):
                self._ready.set()
                self._wake_writer.send(b"\0")
                return

    # Stop

    def _asked_to_stop(self, number: int) -> None:
        if self._stage >= 0:
            _say("Stopping at once.")
            self._kill_all()
            self._status = 130 if number == signal.SIGINT else 143
            return
        count = len(self._supervisor.running())
        _say(f"Stopping: requests finish first, then {count} processes end. Press Ctrl-C again to stop at once.")
        self._journal.write("The server stops.", signal=signal.Signals(number).name)
        self._stop()

    def _give_up(self, message: str, status: int = 1) -> None:
        _say(f"clary: {message}")
        self._status = status
        self._stop()

    def _stop(self) -> None:
        self._stopped.set()
        if self._listener is not None:
            self._listener.close()
        self._advance()

    def _advance(self) -> None:
        """Go to the next stage while nothing of this one is left."""
        while self._stage < len(STAGES):
            gone = STAGES[: self._stage + 1]
            left = any(s.kind in gone and s.phase is not Phase.IDLE for s in self._supervisor.slots.values())
            if left:
                return
            self._stage += 1
            self._want()
            self._supervisor.step(time.monotonic())

    def _kill_all(self) -> None:
        now_s = time.monotonic()
        self._stage = len(STAGES) - 1
        self._want()
        for slot in self._supervisor.running():
            self._supervisor.kill(slot, "stop", now_s)

    def _finished(self) -> bool:
        if self._stage < 0:
            return False
        self._advance()
        return not any(slot.phase is not Phase.IDLE for slot in self._supervisor.slots.values())

    def _close(self) -> None:
        self._stopped.set()
        signal.set_wakeup_fd(-1)
        self._door.close()
        self._supervisor.remember(stopped=True)
        self._journal.write("The server stopped.")
        self._journal.close()
        self._selector.close()
        self._wake_reader.close()
        home.remove_sockets(Path(self._options.runtime_dir))
        self._lock.close()
        if self._status == 0:
            _say("Stopped.")


def _say(text: str) -> None:
    """To the user's terminal; one that is gone is no reason to stop."""
    try:
        print(text, flush=True)
    except OSError:
        sys.stdout = None
