"""Watches one predict at a time: one that runs far past its deadline ends the process, stacks in the log."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from typing import Protocol

from clary.worker.report import WorkerLog

EXIT_HUNG = 70
"""Exit status of a worker whose predict hung (EX_SOFTWARE)."""
_CHECK_S = 0.5
_FROZEN_S = 120.0
"""A library that holds the interpreter so long, beyond every deadline, is ended from outside it (with status 1)."""


class Watched(Protocol):
    """An executor."""

    overrun_ns: int
    """When what runs counts as hung; 0 while nothing runs."""


def watch(executor: Watched, log: WorkerLog, check_s: float = _CHECK_S) -> threading.Thread:
    """Start the watch; the agent starts the worker anew after it ended itself."""

    def run() -> None:
        while True:
            # Its own C thread needs no interpreter lock; each round puts it off.
            faulthandler.dump_traceback_later(_FROZEN_S, exit=True)
            time.sleep(check_s)
            overrun_ns = executor.overrun_ns
            if overrun_ns and time.monotonic_ns() > overrun_ns:
                log.write("A predict ran far past its deadline; the worker ends.", "error", status=EXIT_HUNG)
                faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
                sys.stderr.flush()
                os._exit(EXIT_HUNG)

    thread = threading.Thread(target=run, name="watchdog", daemon=True)
    thread.start()
    return thread
