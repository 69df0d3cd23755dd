"""What a plan goes by: what control wants, and what reconcile noted and placement observed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from clary.dataplane.routes import EndpointRoute
from clary.domain.principal import Scope
from clary.domain.rollout import Progress
from clary.domain.states import EndpointStatus
from clary.domain.versions import Fleet, Lineage
from clary.placement.base import ReplicaPhase


@dataclass(frozen=True)
class Want:
    """What control wrote."""

    uid: str
    scope: Scope
    name: str
    deleting: bool
    target: Fleet
    """Of the newest generation."""
    base: Fleet | None = None
    """The last that came into service; None before the first."""
    lineage: Lineage = field(default_factory=Lineage)
    """For the routers."""
    mixed: Fleet | None = None
    """Serves beside the base: of a rolling update that failed and could not be taken back."""
    aborted: bool = False
    """The rollout of the newest generation is to go back."""
    promoted_step: int = 0
    """The last step of it whose bake is to end at once; 0: none."""

    def fleet_of(self, generation: int) -> Fleet:
        """The fleet of that generation."""
        return next(f for f in (self.target, self.base, self.mixed) if f is not None and f.generation == generation)


@dataclass(frozen=True)
class PinHave:
    """What became of an artifact: a digest, or a cause with its remedy."""

    digest: str
    cause: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class ReplicaHave:
    """A replica as noted and as observed."""

    uid: str
    generation: int
    variant: str
    variant_uid: str
    phase: ReplicaPhase
    """GONE where it was told to stop and placement knows it no more; STARTING where placement does not know it yet."""
    started_us: int
    address: str = ""
    """As observed."""
    routed_address: str = ""
    """As noted when it was first ready; empty before."""
    draining_us: int | None = None
    stopping_us: int | None = None
    cause: str = ""
    remedy: str = ""
    restarts: int = 0
    """How often its process ended by itself, as far as placement remembers."""

    @property
    def live(self) -> bool:
        """Counts towards its variant."""
        return self.draining_us is None and self.stopping_us is None and not self.dead

    @property
    def dead(self) -> bool:
        """Will not come back by itself."""
        return self.phase in (ReplicaPhase.FAILED, ReplicaPhase.GONE)

    @property
    def was_ready(self) -> bool:
        """Ready now or once: routers hold requests for it while the agent restarts it."""
        return bool(self.routed_address)


@dataclass(frozen=True)
class Watched:
    """An alarm that a rollout goes by."""

    alarm: bool
    """In ALARM."""
    evaluated_us: int | None
    """When it could last be evaluated; None: never yet."""
    tripped: bool = False
    """Went into ALARM since the update was asked for: so short a time, maybe, that nobody saw it there."""


@dataclass(frozen=True)
class Have:
    """What reconcile noted and placement observed."""

    status: EndpointStatus
    """As described; for the generation of Want."""
    pins: Mapping[tuple[int, str], PinHave] = field(default_factory=dict)
    """By version and artifact URL."""
    replicas: tuple[ReplicaHave, ...] = ()
    route: EndpointRoute | None = None
    """As published to the routers."""
    trouble: str = ""
    """What went wrong unexpectedly, again and again; empty while things go well or may yet."""
    rollout: Progress | None = None
    """Of the newest generation."""
    mix: Progress | None = None
    """Of the update that `Want.mixed` is left of."""
    alarms: Mapping[str, Watched] = field(default_factory=dict)
    """Those alarms of the newest generation's rollout that there are, by name."""
