"""A placement that does what the test says: replicas start when wished, and change when told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace

from clary.placement.base import ReplicaPhase, ReplicaSpec, ReplicaState


class ScriptedPlacement:
    """Implements placement.base.Placement in memory."""

    def __init__(self, become: Callable[[ReplicaSpec], ReplicaState] | None = None) -> None:
        self.become = become or ready
        self.specs: dict[str, ReplicaSpec] = {}
        self.states: dict[str, ReplicaState] = {}
        self.drained: list[str] = []
        self.history: list[str] = []
        self.hold_stops = False
        self.resting: list[str] = []
        self._changed = asyncio.Event()

    async def apply(self, replicas: Sequence[ReplicaSpec]) -> None:
        self.resting = [spec.variant for spec in replicas if spec.resting]
        wished = {spec.uid: spec for spec in replicas if not spec.resting}
        for uid, spec in wished.items():
            assert self.specs.get(uid, spec) == spec, "a changed specification is another replica"
            if uid not in self.specs:
                self.history.append(f"start {spec.variant}")
                self.states[uid] = self.become(spec)
        for uid in self.specs.keys() - wished.keys():
            self.history.append(f"stop {self.specs[uid].variant}")
            if not self.hold_stops:
                del self.states[uid]
        self.specs = wished
        self._changed.set()

    def observed(self) -> Mapping[str, ReplicaState]:
        return dict(self.states)

    async def changes(self) -> AsyncIterator[None]:
        while True:
            self._changed.clear()
            yield
            await self._changed.wait()

    async def drain(self, uid: str) -> None:
        self.drained.append(uid)
        self.history.append(f"drain {self.specs[uid].variant}")

    def turn(self, uid: str, phase: ReplicaPhase, cause: str = "", remedy: str = "") -> None:
        """Let a replica become something else."""
        self.states[uid] = replace(self.states[uid], phase=phase, cause=cause, remedy=remedy)
        self._changed.set()

    def turn_all_ready(self) -> None:
        """Let every replica be ready."""
        for uid in list(self.states):
            self.turn(uid, ReplicaPhase.READY)

    def end(self, uid: str) -> None:
        """Let the process of a stopped replica be gone."""
        del self.states[uid]
        self._changed.set()


def ready(spec: ReplicaSpec) -> ReplicaState:
    return ReplicaState(spec.uid, ReplicaPhase.READY, f"unix:/w-{spec.uid}.sock")


def starting(spec: ReplicaSpec) -> ReplicaState:
    return ReplicaState(spec.uid, ReplicaPhase.STARTING, f"unix:/w-{spec.uid}.sock")


def failed(cause: str, remedy: str) -> Callable[[ReplicaSpec], ReplicaState]:
    return lambda spec: ReplicaState(
        spec.uid, ReplicaPhase.FAILED, f"unix:/w-{spec.uid}.sock", cause=cause, remedy=remedy
    )
