"""One row of the agent's own books."""

from __future__ import annotations

from clary.agent.door import Connection, Message
from clary.agent.plan import Fork, Phase, Seen
from clary.agent.processes import Exit, Process
from clary.agent.table import ProcessSpec


class Slot:
    """One uid: what it is started from, what runs, and what happened to it."""

    def __init__(self, spec: ProcessSpec, phase: Phase = Phase.IDLE) -> None:
        self.spec = spec
        self.kind = spec.kind
        self.phase = phase
        self.until_s = 0.0
        self.process: Process | None = None
        self.nonce = ""
        self.forked = False
        """Its end is reported by its zygote."""
        self.connection: Connection | None = None
        self.fork = Fork.COMING
        """Of a zygote."""
        self.verdict: Message = {}
        """What a zygote said of itself."""
        self.proven = False
        """Its probe found forking safe: the next process of the same row need not probe again."""
        self.started_s = 0.0
        self.failures = 0
        """Ends in a row without a steady time between them."""
        self.restarts = 0
        self.reason = ""
        """Why the agent ended it: `stop`, `oom`, `hung`; empty where it ended by itself."""
        self.last_exit: Exit | None = None
        self.gone_s = 0.0
        """When its pidfd told of its end, while the zygote's report has not come."""

    def seen(self) -> Seen:
        return Seen(self.spec, self.phase, self.until_s)

    def facts(self) -> dict[str, object]:
        """What watchers are told."""
        return {
            "uid": self.spec.uid,
            "kind": self.kind,
            "pid": self.process.pid if self.process else 0,
            "nonce": self.nonce,
            "restarts": self.restarts,
            "failures": self.failures,
        }
