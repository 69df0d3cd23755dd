"""What is seen of one replica: its own word over its socket, and what the agent tells of its process. No I/O here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from clary.agent.processes import Exit
from clary.domain.signature import signature_of
from clary.placement.base import ReplicaPhase, ReplicaState
from clary.replica.client import Report
from clary.replica.frames import Frame, Kind

CRASHES_MAX = 3
"""A replica that died so often before it was ever ready has failed."""
LATE_S = 15.0
"""Beyond its load timeout a worker reports the timeout itself; one that is silent so much longer hangs."""
_MIB = 1024 * 1024


@dataclass(frozen=True)
class AgentEvent:
    """A line of the agent's watch stream about one process."""

    event: str
    pid: int
    nonce: str
    restarts: int
    reason: str
    """Why the agent ended it; see agent/supervisor.py."""
    end: Exit

    @staticmethod
    def of(message: Mapping[str, Any]) -> AgentEvent:
        """Lines of other Clary versions may lack facts."""
        end = Exit(message.get("status"), message.get("signal", 0), message.get("maxrss_bytes", 0))
        return AgentEvent(
            message["event"], message.get("pid", 0), message.get("nonce", ""), message.get("restarts", 0),
            message.get("reason", ""), end,
        )  # fmt: skip


class Observed:
    """One replica. It is the user of its own link (replica/client.py)."""

    def __init__(
        self,
        uid: str,
        address: str,
        load_timeout_s: float,
        memory_bytes_max: int,
        monotonic_s: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        self.state = ReplicaState(uid, ReplicaPhase.STARTING, address)
        self.nonce = ""
        self._load_timeout_s = load_timeout_s
        self._memory_bytes_max = memory_bytes_max
        self._monotonic_s = monotonic_s
        self._changed = changed
        self._crashes = 0
        self._was_ready = False
        self._given_up = False
        """It failed for good: what it says later does not count."""
        self._started_s = monotonic_s()

    # Its own word

    def link_up(self, report: Report, credits: int) -> None:  # noqa: ARG002 - the router's business
        if self._given_up:
            return
        if report.get("state") == "ready":
            self._was_ready, self._crashes = True, 0
            libraries = {str(k): str(v) for k, v in dict(report.get("libraries") or {}).items()}
            self._set(
                phase=ReplicaPhase.READY, cause="", remedy="", libraries=libraries, width=report.get("width"),
                pid=int(report.get("pid") or self.state.pid), signature=signature_of(report.get("signature")),
            )  # fmt: skip
        else:
            cause, remedy = str(report.get("cause", "")), str(report.get("remedy", ""))
            self._set(phase=ReplicaPhase.FAILED, cause=cause, remedy=remedy)

    def link_answer(self, frame_id: int, head: bytes, body: bytes) -> None:
        """Nobody asked."""

    def link_frame(self, frame: Frame) -> None:
        """A replica that drains says so on every link; routers act on it."""
        assert frame.kind is not Kind.HELLO, "the link checks that"

    def link_read(self) -> None:
        """Nothing to send."""

    def link_down(self, cause: str) -> None:  # noqa: ARG002 - the agent tells more of it
        if self.state.phase is ReplicaPhase.READY:
            self._started_s = self._monotonic_s()
            self._set(phase=ReplicaPhase.STARTING)

    # What the agent tells

    def process_event(self, event: AgentEvent) -> None:
        """Started, adopted, running or exited."""
        if event.event == "exited":
            self._exited(event)
        else:
            if event.nonce != self.nonce:
                self._started_s = self._monotonic_s()
            self.nonce = event.nonce
            self._set(pid=event.pid, restarts=event.restarts)

    def _exited(self, event: AgentEvent) -> None:
        self._set(pid=0, restarts=event.restarts)
        if event.reason == "stop" or self._given_up:
            return
        if not self._was_ready:
            self._crashes += 1
        if event.reason == "oom" and not self._was_ready:
            self._give_up(
                f"The worker used more memory than its limit of {self._memory_bytes_max // _MIB} MiB while loading.",
                "Choose a larger instance type or a smaller model.",
            )
        elif self._crashes >= CRASHES_MAX:
            self._give_up(f"The worker {event.end.text()} while loading, {self._crashes} times.", _remedy(event.end))
        elif self.state.phase is not ReplicaPhase.STARTING:
            self._set(phase=ReplicaPhase.STARTING)

    def check_time(self) -> None:
        """A worker that has said nothing long after its load timeout hangs in a way that it cannot tell of."""
        silent_s = self._monotonic_s() - self._started_s
        if self.state.phase is ReplicaPhase.STARTING and self.state.pid and silent_s > self._load_timeout_s + LATE_S:
            self._give_up(
                f"The model did not load within {self._load_timeout_s:g} s, and its worker does not answer.",
                "Raise ContainerStartupHealthCheckTimeoutInSeconds, or use a smaller model.",
            )

    def _give_up(self, cause: str, remedy: str) -> None:
        self._given_up = True
        self._set(phase=ReplicaPhase.FAILED, cause=cause, remedy=remedy)

    def _set(self, **facts: Any) -> None:
        new = replace(self.state, **facts)
        if new != self.state:
            self.state = new
            self._changed()


def _remedy(end: Exit) -> str:
    if end.signal == 9:
        return "Something killed it, perhaps the machine ran out of memory: choose a smaller model or a larger machine."
    if end.status == 127:
        return "Its interpreter could not be started; see the replica's log (clary logs)."
    return "The library may be broken or the artifact may not fit it; see the replica's log (clary logs)."
