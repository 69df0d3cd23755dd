"""A worker from its first line to its last: listen, load, answer, drain.

The same path for a fresh process and for a zygote's child, whose environment was replaced before.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import socket
import threading
import traceback
from pathlib import Path
from typing import Union

from clary.kit.lifeline import Lifeline, identity_of
from clary.runtimes.base import Joins
from clary.runtimes.handler import Handler
from clary.worker import child, proxy, watchdog
from clary.worker.executor import Executor
from clary.worker.handling import HandlerExecutor
from clary.worker.load import Loaded, Refused, load, timed_out
from clary.worker.options import WorkerOptions, read_options
from clary.worker.report import WorkerLog
from clary.worker.server import Server, listen


def main() -> int:
    """Serve until asked to stop; the exit status."""
    options = read_options(os.environ)
    me = identity_of(os.environ)
    log = WorkerLog(options.endpoint, options.variant, options.uid)
    child.show_prints()
    faulthandler.enable()  # a crash in a library leaves its stack in the log
    listener = listen(options.socket)
    address = Path(options.socket)
    inode = address.stat().st_ino
    if me is not None:
        Lifeline(Path(me.agent_socket), me.uid, me.kind, me.nonce).start()
    child.title(f"clary: worker {options.endpoint}/{options.variant} {options.uid}")
    child.share_threads(max(1, options.threads))
    if Path(options.model_dir).is_dir():
        os.chdir(options.model_dir)
    nonce = me.nonce if me is not None else f"{os.getpid():x}"
    if options.server is not None:
        proxy.run(options, options.server, listener, nonce, log)
    else:
        Replica(options, listener, nonce, log).run()
    with contextlib.suppress(OSError):
        if address.stat().st_ino == inode:  # else a successor listens there already
            address.unlink()
    log.write("The replica stopped.")
    return 0


class Replica:
    """The load and its timeout: whoever is first decides what this replica says of itself."""

    def __init__(self, options: WorkerOptions, listener: socket.socket, nonce: str, log: WorkerLog) -> None:
        self._options = options
        self._listener = listener
        self._nonce = nonce
        self._log = log
        self._decided = threading.Lock()
        """Held by the winner, for good."""

    def run(self) -> None:
        """Load, then serve; a load that is too slow is reported by a thread, which then serves in its place."""
        late = threading.Timer(self._options.load_timeout_s, self._too_late)
        late.daemon = True
        late.start()
        outcome = load(self._options, os.getpid())
        if not self._decided.acquire(blocking=False):
            late.join()
            return
        late.cancel()
        server = self._server(outcome)
        # Until here SIGTERM ends the process at once: there was nothing to drain.
        signal.signal(signal.SIGTERM, lambda _number, _frame: server.request_stop())
        server.run()

    def _too_late(self) -> None:
        if self._decided.acquire(blocking=False):
            self._server(timed_out(self._options, os.getpid())).run()

    def _server(self, outcome: Union[Loaded, Refused]) -> Server:  # noqa: UP007 - Python 3.9
        report = outcome.report
        if isinstance(outcome, Refused):
            text = "" if outcome.error is None else "".join(_lines(outcome.error))
            self._log.write(
                "The model cannot serve.", "error", cause=report.cause, remedy=report.remedy, traceback=text
            )
            return Server(self._listener, self._options, self._nonce, report.to_json(), None, credits=1)
        for note in (*outcome.model.notes, *outcome.notes):
            self._log.write(note, "warning")
        self._log.write("The model is ready.", load_ms=report.load_ms, libraries=dict(report.libraries))
        executor = self._executor(outcome)
        watchdog.watch(executor, self._log)
        credits = 1 if outcome.joins is Joins.NEVER else self._options.credits
        return Server(self._listener, self._options, self._nonce, report.to_json(), executor, credits=credits)

    def _executor(self, loaded: Loaded) -> Executor | HandlerExecutor:
        overrun_ns = int(self._options.predict_overrun_s * 1e9)
        if isinstance(loaded.model, Handler):
            return HandlerExecutor(
                loaded.model, self._log, predict_overrun_ns=overrun_ns, columns=loaded.signature.columns
            )
        return Executor(
            loaded.model,
            loaded.joins,
            self._log,
            rows_max=self._options.rows_max,
            predict_overrun_ns=overrun_ns,
            columns=loaded.signature.columns,
        )


def _lines(error: BaseException) -> list[str]:
    return traceback.format_exception(type(error), error, error.__traceback__)
