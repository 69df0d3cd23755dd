"""What a plan of an endpoint asks for. Applied by act.py; the order within a plan is the order of acting."""

from __future__ import annotations

from dataclasses import dataclass

from clary.dataplane.routes import EndpointRoute
from clary.domain.rollout import FRESH_US, LOOK_US, Progress
from clary.domain.states import EndpointStatus
from clary.kit.clock import MICROS


@dataclass(frozen=True)
class Rules:
    """Times the plan goes by, in microseconds."""

    drain_us: int = 1 * MICROS
    """From drain to stop. Routers swap routes when told and look each second themselves, so that after one second none
    sends any more; what a replica still has in hand it finishes within its grace after the stop."""
    restart_wait_us: int = 10 * MICROS
    """From the start of a replica that failed to the start of its replacement: a model that cannot live must not
    take the machine with it."""
    look_us: int = LOOK_US
    fresh_us: int = FRESH_US
    deaths_max: int = 2
    """Processes of a new fleet that end by themselves during its rollout: the first starts the bake anew, as many as
    this end the rollout."""


RULES = Rules()


@dataclass(frozen=True)
class Fetch:
    """Fetch, verify and pin an artifact for a version; note a digest or a cause."""

    version: int
    url: str


@dataclass(frozen=True)
class StartReplica:
    """Wish one more replica of a variant of a generation, under a new uid."""

    generation: int
    variant: str


@dataclass(frozen=True)
class MarkReady:
    """Note that a replica was ready, and where."""

    uid: str
    address: str


@dataclass(frozen=True)
class Publish:
    """Give the routers this route and tell them."""

    route: EndpointRoute


@dataclass(frozen=True)
class Unpublish:
    """Take the endpoint's route from the routers and tell them."""


@dataclass(frozen=True)
class DrainReplica:
    """Ask a replica to finish what it has."""

    uid: str


@dataclass(frozen=True)
class StopReplica:
    """Take a replica off the wish."""

    uid: str


@dataclass(frozen=True)
class ForgetReplica:
    """Drop the note of a replica whose process is gone."""

    uid: str


@dataclass(frozen=True)
class NoteRollout:
    """Note how far the rollout of the newest generation is."""

    progress: Progress


@dataclass(frozen=True)
class NoteMix:
    """Note that a rolling update failed and cannot be taken back: both of its fleets serve on."""

    reason: str


@dataclass(frozen=True)
class FallBack:
    """Note that the newest generation cannot come into service: what was before it goes on."""

    reason: str


@dataclass(frozen=True)
class SetStatus:
    """Note how the newest generation ended: in service or, where there is none to go on with, failed."""

    status: EndpointStatus
    reason: str = ""


@dataclass(frozen=True)
class ForgetEndpoint:
    """Drop every row of a deleted endpoint: nothing of it runs any more."""


@dataclass(frozen=True)
class WakeAt:
    """Nothing to do before this instant; plan again then."""

    at_us: int


Action = (
    Fetch
    | StartReplica
    | MarkReady
    | Publish
    | Unpublish
    | DrainReplica
    | StopReplica
    | ForgetReplica
    | SetStatus
    | NoteRollout
    | NoteMix
    | FallBack
    | ForgetEndpoint
    | WakeAt
)
