"""What a forked child must undo before it is a process of its own."""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

_CLEARED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


def detach(log: str, env: Mapping[str, str]) -> None:
    """Own session, own log, default signals, own randomness, `env` as the whole environment, no inherited fds."""
    signal.set_wakeup_fd(-1)
    for number in _CLEARED:
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    if log:
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(fd, 1)
        os.dup2(fd, 2)
    close_from(3)
    os.environ.clear()
    os.environ.update(env)
    reseed()


def close_from(first: int) -> None:
    """Close every descriptor from `first` on: nothing of the zygote's is for a model to read."""
    for entry in list(Path("/proc/self/fd").iterdir()):
        if int(entry.name) >= first:
            with contextlib.suppress(OSError):
                os.close(int(entry.name))


def reseed() -> None:
    """Siblings must not draw the same numbers."""
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def show_prints() -> None:
    """Lines that a model prints reach the log as they end, not when a buffer is full or the process ends."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")


def share_threads(threads: int) -> None:
    """Bound the pools of BLAS and OpenMP, where threadpoolctl is installed in the model's environment."""
    try:
        import threadpoolctl
    except ImportError:
        return
    threadpoolctl.threadpool_limits(limits=threads)


def title(text: str) -> None:
    """What `ps` shows, where setproctitle is installed in the model's environment."""
    try:
        import setproctitle
    except ImportError:
        return
    setproctitle.setproctitle(text)
