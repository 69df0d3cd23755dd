"""Each way in which a replica fails has a reason, a remedy and a log of its own: real processes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from clary.placement.base import ReplicaPhase
from tests.support.processes import Ground, Peer, echo_package, ground, phase, until

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return echo_package(tmp_path_factory.mktemp("package"))


@pytest.fixture
def base(tmp_path: Path, package: Path) -> Iterator[Ground]:
    with ground(tmp_path, package) as it:
        yield it


@dataclass(frozen=True)
class Case:
    """A fault and what is said of it."""

    env: dict[str, str]
    cause: str
    remedy: str
    logged: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict)


CASES = {
    "bad artifact": Case({"CAUSE": "It is no model."}, "It is no model.", "Do better.", ("The model cannot serve.",)),
    "import error": Case(
        {"MISSING": "1"},
        "The library 'nowhere' that this model needs cannot be imported",
        "code/requirements.txt",
        ("The model cannot serve.", "ModuleNotFoundError"),
    ),
    "crash": Case(
        {"CRASH": "1"},
        "killed by signal 11 (SIGSEGV) while loading, 3 times",
        "clary logs",
        ("Fatal Python error: Segmentation fault", "The worker was killed by signal 11"),
    ),
    "out of memory": Case(
        {"EAT": "200"},
        "used more memory than its limit of 100 MiB while loading",
        "larger instance type",
        ("used more memory than its limit of 100 MiB",),
        {"memory_bytes_max": 100 * MIB},
    ),
    "hang": Case(
        {"SLEEP": "60"},
        "did not load within 0.2 s",
        "ContainerStartupHealthCheckTimeoutInSeconds",
        ("The model cannot serve.", "did not load within"),
        {"load_timeout_s": 0.2},
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_a_fault_has_its_own_reason_and_log(name: str, base: Ground, tmp_path: Path) -> None:
    case = CASES[name]
    base.start()
    async with base.placement() as placement:
        spec = base.spec(tmp_path, env=case.env, **case.facts)
        await placement.apply([spec])
        state = await phase(placement, spec.uid, ReplicaPhase.FAILED)
        assert case.cause in state.cause
        assert case.remedy in state.remedy
        log = base.home / "logs/endpoints/EU/v" / f"{spec.uid}.log"
        until(lambda: all(words in log.read_text() for words in case.logged), f"{case.logged} in {log}")
    others = [other.cause for other in CASES.values() if other is not case]
    assert not any(cause in state.cause for cause in others)


async def test_a_worker_that_grows_while_it_serves_is_ended_and_its_log_says_why(base: Ground, tmp_path: Path) -> None:
    base.start()
    async with base.placement() as placement:
        spec = base.spec(tmp_path, memory_bytes_max=100 * MIB)
        await placement.apply([spec])
        state = await phase(placement, spec.uid, ReplicaPhase.READY)
        with Peer(state.address) as peer:
            peer.ask(b"eat 200")
        await phase(placement, spec.uid, ReplicaPhase.STARTING)
        await phase(placement, spec.uid, ReplicaPhase.READY)
        lines = (base.home / "logs/endpoints/EU/v" / f"{spec.uid}.log").read_text().splitlines()
        (said,) = [line for line in lines if "memory" in line]
        told = json.loads(said)
        assert told["event"] == "The worker used more memory than its limit of 100 MiB; it was ended."
        assert (told["level"], told["replica"]) == ("error", spec.uid)
        assert told["maxrss_bytes"] > 100 * MIB


async def test_a_worker_that_is_killed_while_it_serves_comes_back_and_its_log_says_so(
    base: Ground, tmp_path: Path
) -> None:
    base.start()
    async with base.placement() as placement:
        spec = base.spec(tmp_path)
        await placement.apply([spec])
        state = await phase(placement, spec.uid, ReplicaPhase.READY)
        os.kill(state.pid, signal.SIGKILL)
        await phase(placement, spec.uid, ReplicaPhase.STARTING)
        await phase(placement, spec.uid, ReplicaPhase.READY)
        log = (base.home / "logs/endpoints/EU/v" / f"{spec.uid}.log").read_text()
        assert "The worker was killed by signal 9 (SIGKILL)." in log
