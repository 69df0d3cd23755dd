"""A process is known by pid and start time, and its end by its own facts."""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path

import pytest

from clary.agent import handover, journal, processes
from clary.agent.processes import Exit
from clary.agent.table import ProcessSpec
from tests.support.processes import until


def test_a_process_is_recognised_by_its_start_time(tmp_path: Path) -> None:
    argv = (sys.executable, "-c", "import time; time.sleep(60)")
    process = processes.spawn(argv, {}, tmp_path / "logs" / "x.log", fds=(), worker=True)
    try:
        again = processes.recognise(process.pid, process.start)
        assert (again.pid, again.start) == (process.pid, process.start)
        os.close(again.pidfd)
        with pytest.raises(ProcessLookupError):
            processes.recognise(process.pid, process.start + 1)
        assert os.getsid(process.pid) == process.pid
        assert "Max core file size        0" in Path(f"/proc/{process.pid}/limits").read_text()
        until(lambda: processes.memory_bytes(process.pid, 0) > 1_000_000)
    finally:
        processes.send(process, signal.SIGKILL)
        _, status, usage = os.wait4(process.pid, 0)
        os.close(process.pidfd)
    end = processes.exit_of(status, usage)
    assert (end.status, end.signal) == (None, signal.SIGKILL)
    assert end.maxrss_bytes > 1_000_000
    assert processes.memory_bytes(process.pid, 0) == 0


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (Exit(70, 0), "exited with status 70"),
        (Exit(None, 11), "was killed by signal 11 (SIGSEGV)"),
        (Exit(None, 0), "ended"),
    ],
)
def test_an_end_in_words(end: Exit, text: str) -> None:
    assert end.text() == text


def test_a_router_may_open_many_files(tmp_path: Path) -> None:
    process = processes.spawn(("/bin/sleep", "60"), {}, tmp_path / "x.log", fds=(), worker=False)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (min(hard, 65536), hard)
    finally:
        processes.send(process, signal.SIGKILL)
        os.waitpid(process.pid, 0)
        os.close(process.pidfd)


def test_a_handover_is_for_the_same_boot_only(tmp_path: Path) -> None:
    path = tmp_path / "agent.json"
    row = handover.Remembered("w", "worker", 7, 8, "n", "d", 3)
    written = handover.Handover(1, 8430, (row,))
    handover.write_handover(path, written)
    assert handover.read_handover(path) == written
    path.write_text(path.read_text().replace('"boot": "', '"boot": "x'))
    assert handover.read_handover(path) == handover.Handover(0, 0, ())
    path.write_text("{")
    assert handover.read_handover(path) == handover.Handover(0, 0, ())


def test_a_spec_that_differs_in_anything_has_another_digest() -> None:
    spec = ProcessSpec("w", "worker", ("a",), {"A": "1"})
    assert handover.digest_of(spec) == handover.digest_of(ProcessSpec("w", "worker", ("a",), {"A": "1"}))
    assert handover.digest_of(spec) != handover.digest_of(ProcessSpec("w", "worker", ("a",), {"A": "2"}))


def test_a_log_is_cut_in_place(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    with log.open("ab", buffering=0) as out:
        out.write(b"x" * 100)
        assert not journal.cut(log, 100)
        out.write(b"y\nlast\n")
        assert journal.cut(log, 100)
        out.write(b"after")
    assert log.read_bytes() == b"after"
    assert (tmp_path / "a.log.1").read_bytes() == b"x" * 100 + b"y\nlast\n"
    assert journal.last_lines(tmp_path / "a.log.1", 1) == ["last"]
    assert journal.last_lines(tmp_path / "none", 1) == []
    assert not journal.cut(tmp_path / "none", 1)


def test_what_a_worker_starts_counts_to_its_memory(tmp_path: Path) -> None:
    child = "import time; kept = bytearray(b'x' * (64 << 20)); time.sleep(60)"
    argv = (sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])")
    process = processes.spawn(argv, {}, tmp_path / "x.log", fds=(), worker=True)
    try:
        until(lambda: processes.session_memory_bytes(processes.sessions()[process.pid], 0) > 64 << 20)
        assert processes.memory_bytes(process.pid, 0) < 64 << 20
        assert len(processes.sessions()[process.pid]) == 2
        assert processes.session_memory_bytes((), 1) == 0
    finally:
        processes.send(process, signal.SIGKILL)
        os.wait4(process.pid, 0)
        os.close(process.pidfd)
