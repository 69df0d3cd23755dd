"""One process: started, recognised again, measured, signalled. A process is pid + start time + nonce."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_OOM_SCORE_WORKER = 500
"""Of 1000: when the machine itself runs out of memory the kernel takes a worker before control or a router."""
_FILES_MAX = 65536
"""Open files of control and a router, where the hard limit allows: each client is one. The usual soft limit is 1024."""
_PAGE_BYTES = resource.getpagesize()


@dataclass(frozen=True)
class Process:
    """A process that runs, or has run."""

    pid: int
    start: int
    """Clock ticks between the machine's boot and the start of the process: with the pid it names one process."""
    pidfd: int
    """Readable once the process has ended; signals sent through it never meet a stranger."""


@dataclass(frozen=True)
class Exit:
    """How a process ended."""

    status: int | None
    """Exit status; None where a signal ended it or nobody could tell."""
    signal: int
    """0 where it exited by itself."""
    maxrss_bytes: int = 0
    """Its largest resident size; 0 where unknown."""
    cpu_s: float = 0.0
    """Processor seconds, user and system."""

    def text(self) -> str:
        """`exited with status 70`, `was killed by signal 11 (SIGSEGV)`, `ended`."""
        if self.signal:
            return f"was killed by signal {self.signal} ({signal.Signals(self.signal).name})"
        return "ended" if self.status is None else f"exited with status {self.status}"


UNKNOWN_EXIT = Exit(status=None, signal=0)


def exit_of(wait_status: int, usage: resource.struct_rusage) -> Exit:
    """What wait4 told, as facts."""
    code = os.waitstatus_to_exitcode(wait_status)
    cpu_s = usage.ru_utime + usage.ru_stime
    return Exit(code if code >= 0 else None, max(0, -code), usage.ru_maxrss * 1024, round(cpu_s, 3))


def become_subreaper() -> None:
    """Orphans among our descendants become our children, not init's (prctl(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def start_ticks(pid: int) -> int:
    """Field 22 of /proc/PID/stat (proc(5)). Raises ProcessLookupError for one that is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ProcessLookupError(pid) from error
    return int(stat.rpartition(")")[2].split()[19])


def recognise(pid: int, start: int | None = None) -> Process:
    """Take hold of a process that runs, by its pid and, where known, its start time.

    Raises ProcessLookupError where it is gone or the pid was given to another one.
    """
    pidfd = os.pidfd_open(pid)
    try:
        found = start_ticks(pid)
    except ProcessLookupError:
        os.close(pidfd)
        raise
    if start is not None and found != start:
        os.close(pidfd)
        raise ProcessLookupError(pid)
    return Process(pid, found, pidfd)


def spawn(argv: Sequence[str], env: Mapping[str, str], log: Path, *, fds: Sequence[int], worker: bool) -> Process:
    """A fresh process in its own session, without a core file. Raises OSError where it cannot be started."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        child = subprocess.Popen(
            argv,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=tuple(fds),
        )
    pid = child.pid
    child.returncode = 0  # wait4 in our own loop reaps it; this keeps Popen from trying
    settle(pid, worker=worker)
    return recognise(pid)


def settle(pid: int, *, worker: bool) -> None:
    """Limits that a parent can set from outside; a process that is gone already is left alone."""
    try:
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
        if not worker:
            _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            most = _FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, _FILES_MAX)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, hard))
        else:
            Path(f"/proc/{pid}/oom_score_adj").write_text(str(_OOM_SCORE_WORKER))
    except (ProcessLookupError, FileNotFoundError, PermissionError):
        pass  # gone, or a container that forbids it: the limits are a courtesy


def send(process: Process, number: int) -> None:
    """Signal the process and, for SIGKILL, all of its session's first group; one that is gone is left alone."""
    try:
        signal.pidfd_send_signal(process.pidfd, number)
        if number == signal.SIGKILL:
            os.killpg(process.pid, number)
    except ProcessLookupError:
        pass


def kill_group(pid: int) -> None:
    """What a process that ended leaves behind in its own group (every child leads its session) ends with it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def kill_rest(process: Process) -> None:
    """`kill_group` for a process that somebody else reaped.

    As long as its group has a member the kernel gives its number to nobody; without one the number may be a
    stranger's by now, which its start time tells.
    """
    try:
        if start_ticks(process.pid) != process.start:
            return
    except ProcessLookupError:
        pass
    kill_group(process.pid)


def sessions() -> dict[int, list[int]]:
    """Every process of this machine by the session that it is in; a session has its leader's pid."""
    found: dict[int, list[int]] = {}
    with os.scandir("/proc") as entries:
        pids = [int(entry.name) for entry in entries if entry.name.isdigit()]
    for pid in pids:
        try:
            session = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[3])
        except (OSError, IndexError, ValueError):
            continue  # gone meanwhile
        found.setdefault(session, []).append(pid)
    return found


def session_memory_bytes(pids: Collection[int], at_least: int) -> int:
    """Memory of several processes together, as `memory_bytes` counts it: a worker and all that it started."""
    resident = sum(memory_bytes(pid, sys.maxsize) for pid in pids)
    return resident if resident < at_least else sum(memory_bytes(pid, 0) for pid in pids)


def memory_bytes(pid: int, at_least: int) -> int:
    """Memory the process holds alone plus its share of shared pages (PSS); 0 once it is gone.

    The resident size is read first and is enough where it is below `at_least`: PSS walks the page tables.
    """
    try:
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
        if resident < at_least:
            return resident
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError, PermissionError, IndexError):
        return 0
    return resident
