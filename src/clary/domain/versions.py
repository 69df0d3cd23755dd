"""Versions of an endpoint: what each one is, and what became of it.

A version is what UpdateEndpoint or CreateEndpoint made: a configuration and its models, frozen, numbered from 1. It
stays until the endpoint is deleted. A generation is one wish of control: a new version, an older one again (rollback),
or other weights and capacities of the one that serves. Many generations may stand for one version.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from clary.domain.endpoint import Revision
from clary.domain.rollout import Deployment


class Outcome(enum.Enum):
    """How a generation ended."""

    SERVED = "served"
    """It came into service."""
    FAILED = "failed"


class VersionState(enum.Enum):
    """What a version is now."""

    LIVE = "live"
    """It answers the endpoint's requests."""
    STARTING = "starting"
    """An update or rollback to it is under way."""
    RETIRED = "retired"
    """It was live, and another one is now."""
    FAILED = "failed"
    """It never came into service."""


@dataclass(frozen=True)
class Wish:
    """One generation, without its specification."""

    generation: int
    version: int
    outcome: Outcome | None = None
    """None: under way, or given up without a word."""
    reason: str = ""
    """Why it failed."""


@dataclass(frozen=True)
class Fleet:
    """One generation with all that serving it takes."""

    generation: int
    version: int
    revision: Revision
    deployment: Deployment | None = None
    """How an update to it is to go; None: blue/green, all at once, without a bake."""


@dataclass(frozen=True)
class Lineage:
    """What routers say of versions that do not serve; every other one up to `newest` is retired."""

    newest: int = 1
    starting: int = 0
    """0: none is."""
    failed: tuple[int, ...] = ()


def states_of(wishes: Iterable[Wish], served_generation: int | None) -> dict[int, VersionState]:
    """The state of every version, by number. `served_generation`: the one that serves, None where none does."""
    listed = sorted(wishes, key=lambda wish: wish.generation)
    live = next((wish.version for wish in listed if wish.generation == served_generation), None)
    newest = listed[-1] if listed else None
    states: dict[int, VersionState] = {}
    for wish in listed:
        if wish.version == live:
            states[wish.version] = VersionState.LIVE
        elif wish is newest and wish.outcome is None:
            states[wish.version] = VersionState.STARTING
        elif wish.outcome is Outcome.SERVED or states.get(wish.version) is VersionState.RETIRED:
            states[wish.version] = VersionState.RETIRED
        else:
            states[wish.version] = VersionState.FAILED
    return states


def lineage_of(states: Mapping[int, VersionState]) -> Lineage:
    """The same in the few numbers that routers need."""
    return Lineage(
        newest=max(states, default=1),
        starting=next((n for n, state in states.items() if state is VersionState.STARTING), 0),
        failed=tuple(sorted(n for n, state in states.items() if state is VersionState.FAILED)),
    )


def rollback_target(wishes: Iterable[Wish], served_generation: int) -> int | None:
    """The version that was in service last before the one that is; None where there was none."""
    served = [wish for wish in sorted(wishes, key=lambda wish: wish.generation) if wish.outcome is Outcome.SERVED]
    live = next((wish.version for wish in served if wish.generation == served_generation), None)
    return next((wish.version for wish in reversed(served) if wish.version != live), None)


@dataclass(frozen=True)
class Version:
    """A version as listed."""

    number: int
    state: VersionState
    created_us: int
    """UTC microseconds."""
    revision: Revision
    reason: str = ""
    """Why its last attempt failed; empty where none did."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Artifact URL -> digest of what is pinned."""
