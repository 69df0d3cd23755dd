"""What a replica is seen to be, from its own word and from its exits."""

from __future__ import annotations

from typing import Any

import pytest

from clary.placement.base import ReplicaPhase
from clary.placement.observer import LATE_S, AgentEvent, Observed

READY = {"state": "ready", "libraries": {"xgboost": "3.2.0"}, "width": 24, "pid": 7}


class Seen:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.changes = 0
        self.it = Observed("w", "unix:/w", 60.0, 2**30, lambda: self.now_s, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def event(self, name: str, **facts: Any) -> None:
        self.it.process_event(AgentEvent.of({"event": name, "pid": 7, "nonce": "n", "restarts": 0, **facts}))

    def exit(self, **facts: Any) -> None:
        self.event("exited", **{"status": None, "signal": 11, "reason": "", **facts})

    @property
    def phase(self) -> ReplicaPhase:
        return self.it.state.phase


@pytest.fixture
def seen() -> Seen:
    return Seen()


def test_ready_by_its_own_word(seen: Seen) -> None:
    seen.event("started")
    seen.it.link_up(READY, 256)
    state = seen.it.state
    assert (state.phase, state.pid, state.width, state.libraries) == (ReplicaPhase.READY, 7, 24, {"xgboost": "3.2.0"})
    before = seen.changes
    seen.it.link_up(READY, 256)
    assert seen.changes == before


def test_failed_by_its_own_word(seen: Seen) -> None:
    seen.it.link_up({"state": "failed", "cause": "It is torn.", "remedy": "Save it."}, 1)
    assert (seen.phase, seen.it.state.cause, seen.it.state.remedy) == (ReplicaPhase.FAILED, "It is torn.", "Save it.")
    seen.it.link_down("closed")
    assert seen.phase is ReplicaPhase.FAILED


def test_three_crashes_before_it_was_ever_ready_are_failure(seen: Seen) -> None:
    for number in range(3):
        assert seen.phase is ReplicaPhase.STARTING
        seen.exit(restarts=number + 1)
    assert seen.phase is ReplicaPhase.FAILED
    assert seen.it.state.cause == "The worker was killed by signal 11 (SIGSEGV) while loading, 3 times."
    seen.it.link_up(READY, 256)
    assert seen.phase is ReplicaPhase.FAILED


def test_a_replica_that_was_ready_is_given_every_chance(seen: Seen) -> None:
    seen.it.link_up(READY, 256)
    for number in range(9):
        seen.exit(restarts=number + 1)
        seen.it.link_down("closed")
        assert seen.phase is ReplicaPhase.STARTING
    seen.it.link_up(READY, 256)
    assert (seen.phase, seen.it.state.restarts) == (ReplicaPhase.READY, 9)


def test_too_much_memory_while_loading_is_failure_at_once(seen: Seen) -> None:
    seen.exit(signal=9, reason="oom")
    assert seen.phase is ReplicaPhase.FAILED
    assert "limit of 1024 MiB while loading" in seen.it.state.cause


def test_a_stop_is_no_crash(seen: Seen) -> None:
    for _ in range(5):
        seen.exit(signal=15, reason="stop")
    assert seen.phase is ReplicaPhase.STARTING


def test_one_that_stays_silent_has_failed(seen: Seen) -> None:
    seen.event("started")
    seen.now_s = 60.0 + LATE_S
    seen.it.check_time()
    assert seen.phase is ReplicaPhase.STARTING
    seen.now_s += 0.1
    seen.it.check_time()
    assert seen.phase is ReplicaPhase.FAILED
    assert "did not load within 60 s" in seen.it.state.cause


def test_a_restart_begins_the_time_anew(seen: Seen) -> None:
    seen.event("started")
    seen.now_s = 70.0
    seen.event("started", nonce="other")
    seen.now_s = 80.0
    seen.it.check_time()
    assert seen.phase is ReplicaPhase.STARTING
