"""What processes take of the machine: their own share, that of what they started, and nothing of what is gone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from clary.telemetry.utilization import ENDPOINTS, Meter, Subject, Usage

DIMENSIONS = (("EndpointName", "e"), ("VariantName", "A"))


def subject(pid: int) -> Subject:
    return Subject(pid, "01R", "1", "r", ENDPOINTS, (DIMENSIONS,), "u")


def values(usage: list[Usage]) -> dict[str, float]:
    samples = [sample for one in usage for sample in one.samples()]
    for sample in samples:
        assert (sample.key.namespace, sample.key.unit, sample.key.dimensions) == (ENDPOINTS, "Percent", DIMENSIONS)
        assert sample.cell.count == 1
    return {sample.key.metric: sample.cell.sum for sample in samples}


def burn(cpu_s: float) -> None:
    began = time.process_time()
    while time.process_time() - began < cpu_s:
        sum(range(1000))


def test_processor_time_is_over_the_time_between_two_looks(tmp_path: Path) -> None:
    meter, me = Meter(tmp_path), subject(os.getpid())
    first = values(meter.measure([me], 10, 100.0))
    assert set(first) == {"MemoryUtilization", "DiskUtilization"}
    before = sum(psutil.Process().cpu_times()[:4])
    burn(0.1)
    (usage,) = meter.measure([me], 20, 100.5)
    used = sum(psutil.Process().cpu_times()[:4]) - before
    assert {sample.at_s for sample in usage.samples()} == {20}
    # 100 is one core for the whole half second.
    assert values([usage])["CPUUtilization"] == pytest.approx(100 * used / 0.5, abs=20)
    assert values([usage])["CPUUtilization"] >= 15


def test_what_a_process_started_counts_for_it(tmp_path: Path) -> None:
    code = (
        "import time\nx = bytearray(64 << 20)\nwhile time.process_time() < 0.3: pass\n"
        "print('used', flush=True)\ninput()\n"
    )
    own = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {code!r}]).returncode)"
    meter = Meter(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", own], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        meter.measure([subject(parent.pid)], 0, 0.0)
        assert parent.stdout is not None
        assert parent.stdout.readline() == "used\n"
        found = values(meter.measure([subject(parent.pid)], 10, 1.0))
        parent.communicate("\n")
    assert found["CPUUtilization"] >= 20
    assert found["MemoryUtilization"] >= 100 * (64 << 20) / psutil.virtual_memory().total


def test_a_process_that_is_gone_has_no_samples(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert Meter(tmp_path).measure([subject(ended.pid)], 0, 0.0) == []


def test_another_process_with_the_same_pid_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meter, me = Meter(tmp_path), subject(os.getpid())
    meter.measure([me], 0, 0.0)
    later = psutil.Process().create_time() + 5
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: later)
    assert "CPUUtilization" not in values(meter.measure([me], 10, 10.0))
