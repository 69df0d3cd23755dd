"""Where replicas run: the interface that reconcile acts through."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from clary.domain.model import ServerSpec
from clary.domain.signature import ModelSignature


@dataclass(frozen=True)
class ReplicaSpec:
    """One replica that should run. Equal specs are the same replica; a changed one gets a new uid."""

    uid: str
    endpoint: str
    """For logs and process titles, as are the next two."""
    variant: str
    endpoint_uid: str
    runtime: str
    """`xgboost`, ...; see runtimes/."""
    image_tag: str
    model_dir: Path
    """The pinned, unpacked artifact."""
    artifact_digest: str
    env: Mapping[str, str] = field(default_factory=dict)
    python: str = ""
    """Interpreter of the model's environment; empty for Clary's own."""
    threads: int = 1
    memory_bytes_max: int = 0
    server: ServerSpec | None = None
    """The command that serves in the model's place."""
    load_timeout_s: float = 480.0
    """ContainerStartupHealthCheckTimeoutInSeconds; 8 minutes where unset."""
    resting: bool = False
    """It does not run, but one like it may be wanted any moment: what makes it start quickly is kept."""


class ReplicaPhase(enum.Enum):
    """What a replica is seen to be."""

    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    """It said so itself (bad artifact, contract check), or it crashed again and again before it was ever ready."""
    GONE = "gone"


@dataclass(frozen=True)
class ReplicaState:
    """What was observed of one replica."""

    uid: str
    phase: ReplicaPhase
    address: str
    """`unix:...` or `tcp:...`; set from STARTING on."""
    cause: str = ""
    """Why it failed, one sentence."""
    remedy: str = ""
    restarts: int = 0
    pid: int = 0
    libraries: Mapping[str, str] = field(default_factory=dict)
    width: int | None = None
    signature: ModelSignature = field(default_factory=ModelSignature)
    """What the model takes and gives, once ready."""


class Placement(Protocol):
    """Starts and stops replicas by argv, never by import."""

    async def apply(self, replicas: Sequence[ReplicaSpec]) -> None:
        """Make exactly these run, and return once that wish is durable. Idempotent."""
        ...

    def observed(self) -> Mapping[str, ReplicaState]:
        """The state of every replica that runs or should, by uid."""
        ...

    def changes(self) -> AsyncIterator[None]:
        """Yields whenever `observed` may have changed; never ends."""
        ...

    async def drain(self, uid: str) -> None:
        """Ask a replica to finish what it has and take no more; it stays until it leaves the wish."""
        ...
