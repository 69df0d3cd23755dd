"""What the agent does next: pure, from what should run and what is seen."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from clary.agent.table import ProcessSpec

KILL_WAIT_S = 5.0
"""A killed process that has not ended after so long is killed again (it may hang in the kernel)."""


class Phase(enum.Enum):
    """Where one process stands. `Seen.until_s` means what each says."""

    IDLE = "idle"
    """Nothing runs; it may be started from `until_s` on."""
    ORPHAN = "orphan"
    """It ran under a former agent and may announce itself until `until_s`."""
    FORKING = "forking"
    """Its zygote was asked and must have answered by `until_s`."""
    RUNNING = "running"
    STOPPING = "stopping"
    """It was asked to stop; it is killed at `until_s`."""


class Fork(enum.Enum):
    """What a zygote is good for."""

    COMING = "coming"
    """It imports or probes; workers wait for it."""
    SAFE = "safe"
    UNSAFE = "unsafe"
    """Its probe failed, or it could not be started: workers are fresh processes."""


@dataclass(frozen=True)
class Seen:
    """One process as the agent sees it."""

    spec: ProcessSpec
    """What it was started from."""
    phase: Phase
    until_s: float = 0.0
    """Monotonic seconds."""


@dataclass(frozen=True)
class Start:
    """Start it: from its zygote, or as a fresh process."""

    spec: ProcessSpec
    fork: bool


@dataclass(frozen=True)
class Terminate:
    """Ask it to drain and exit."""

    uid: str


@dataclass(frozen=True)
class Kill:
    """It had its time."""

    uid: str


@dataclass(frozen=True)
class Forget:
    """It is gone and not wanted any more."""

    uid: str


Action = Start | Terminate | Kill | Forget


def plan(
    want: Mapping[str, ProcessSpec], have: Mapping[str, Seen], zygotes: Mapping[str, Fork], now_s: float
) -> list[Action]:
    """Steps towards `want`; empty once all of it runs or waits for its time."""
    actions: list[Action] = []
    for uid, seen in have.items():
        actions += _step(uid, want.get(uid), seen, zygotes, now_s)
    for uid, spec in want.items():
        if uid not in have:
            actions += _start(spec, zygotes)
    return actions


def _step(uid: str, wanted: ProcessSpec | None, seen: Seen, zygotes: Mapping[str, Fork], now_s: float) -> list[Action]:
    due = now_s >= seen.until_s
    if seen.phase is Phase.IDLE:
        if wanted is None:
            return [Forget(uid)]
        return _start(wanted, zygotes) if due else []
    if seen.phase is Phase.STOPPING:
        return [Kill(uid)] if due else []
    if seen.phase is Phase.FORKING:
        # A zygote that does not answer is of no use to anybody; its end makes the worker IDLE again.
        return [Kill(seen.spec.zygote)] if due else []
    if wanted != seen.spec:
        return [Terminate(uid)]
    if seen.phase is Phase.ORPHAN and due:
        return [Kill(uid)]
    return []


def _start(spec: ProcessSpec, zygotes: Mapping[str, Fork]) -> list[Action]:
    fork = zygotes.get(spec.zygote, Fork.UNSAFE) if spec.zygote else Fork.UNSAFE
    if fork is Fork.COMING:
        return []
    return [Start(spec, fork=fork is Fork.SAFE)]


def wake_s(have: Mapping[str, Seen], now_s: float, most_s: float) -> float:
    """Seconds until something falls due by time alone, at most `most_s`."""
    timed = [seen.until_s for seen in have.values() if seen.phase is not Phase.RUNNING]
    return max(0.0, min([most_s, *(until_s - now_s for until_s in timed if until_s > now_s)]))
