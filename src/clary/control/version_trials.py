"""A trial of a version: its model loaded once more, away from all traffic, and asked once. What `clary diff` shows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from clary.control.desk import Desk
from clary.domain.endpoint import RevisionVariant
from clary.domain.errors import Invalid
from clary.domain.model import Container
from clary.domain.versions import Version
from clary.kit.threads import Threads
from clary.placement.base import ReplicaSpec
from clary.placement.guest import Reply
from clary.placement.specs import Named, replica_of

TRIAL_S = 55.0
"""For load and answer together: a trial is one HTTP request, and clients wait 60 s."""


class Ask(Protocol):
    """placement.guest.ask"""

    async def __call__(self, address: str, body: bytes, content_type: str, timeout_s: float) -> Reply:
        """The replica's report and answer; TimeoutError."""
        ...


@dataclass(frozen=True)
class Bench:
    """What trials are run with."""

    guest: Callable[[ReplicaSpec], AbstractAsyncContextManager[str]]
    """Runs a replica beside the wish; its address."""
    ask: Ask
    path_of: Callable[[str], Path | None]
    """The folder of a pinned artifact, by digest."""
    python_of: Callable[[Path, Container], str | None]
    """The interpreter of its environment; empty for Clary's own, None where it is not there."""
    threads: Threads
    """For a walk over the artifact."""
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    """Trials at once; more wait."""


@dataclass(frozen=True)
class Question:
    """What a model is asked. An empty body: nothing."""

    body: bytes
    content_type: str
    variant: str = ""
    """Name of the variant; empty for the first."""


@dataclass(frozen=True)
class Trial:
    """What came of it."""

    variant: str
    artifact_bytes: int
    """Of the unpacked artifact."""
    libraries: Mapping[str, str] = field(default_factory=dict)
    signature: Mapping[str, Any] = field(default_factory=dict)
    """As domain.signature writes it."""
    cause: str = ""
    """Why it could not be loaded; empty where it could."""
    remedy: str = ""
    status: int = 0
    content_type: str = ""
    body: bytes = b""


def _variant(name: str, version: Version, wanted: str) -> RevisionVariant:
    for variant in version.revision.variants:
        if wanted in ("", variant.name):
            return variant
    has = ", ".join(variant.name for variant in version.revision.variants)
    raise Invalid(f"Version {version.number} of the endpoint {name} has no variant {wanted!r}; it has {has}.")


async def run_trial(desk: Desk, bench: Bench, name: str, version: Version, question: Question) -> Trial:
    """Load one variant of the version and ask it. Raises Invalid where there is none of that name, its artifact was
    never fetched, or it is too slow."""
    variant = _variant(name, version, question.variant)
    digest = version.digests.get(variant.container.artifact, "")
    path = bench.path_of(digest) if digest else None
    if path is None:
        why = f": {version.reason}" if version.reason else "."
        raise Invalid(f"The artifact of version {version.number} of the endpoint {name} is not here{why}")
    size = await bench.threads.run(lambda: sum(f.stat().st_size for f in path.rglob("*") if f.is_file()))
    uid = desk.ids.ulid(desk.clock.now_us())
    python = await bench.threads.run(lambda: bench.python_of(path, variant.container))
    if python is None:
        raise Invalid(f"The environment of version {version.number} of the endpoint {name} is not built.")
    spec = replica_of(Named(uid, name, "trials"), variant, path, digest, 1, python)
    async with bench.slots:
        try:
            async with bench.guest(spec) as address:
                reply = await bench.ask(address, question.body, question.content_type, TRIAL_S)
        except TimeoutError:
            raise Invalid(
                f"Version {version.number} of the endpoint {name} did not answer within {TRIAL_S:.0f} s."
            ) from None
    report = reply.report
    ready = report.get("state") == "ready"
    return Trial(
        variant=variant.name,
        artifact_bytes=size,
        libraries={str(key): str(value) for key, value in dict(report.get("libraries") or {}).items()},
        signature=dict(report.get("signature") or {}),
        cause="" if ready else str(report.get("cause", "")),
        remedy="" if ready else str(report.get("remedy", "")),
        status=reply.status,
        content_type=reply.content_type,
        body=reply.body,
    )
