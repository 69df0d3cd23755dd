"""What replicas stand on besides their artifact: the interpreter of the environment that it asks for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from clary.domain.endpoint import RevisionVariant
from clary.domain.model import Container
from clary.environments.store import Environments
from clary.kit.clock import Clock
from clary.kit.instants import stamp_ms
from clary.kit.threads import Threads
from clary.reconcile.facts import Want

LOG = "environment.log"
"""Beside the logs of the variant's replicas."""


class Grounds:
    """Environments by artifact and container. A None in its place means that artifacts bring none."""

    def __init__(self, environments: Environments, threads: Threads, logs: Path, clock: Clock) -> None:
        """`threads`: of its own, because a build takes minutes. `logs`: `HOME/logs`."""
        self._environments = environments
        self._threads = threads
        self._logs = logs
        self._clock = clock

    async def make(self, want: Want, version: int, url: str, artifact: Path) -> None:
        """Build what the containers of a version need of one artifact. Raises ArtifactError."""
        for variant in _variants(want, version, url):
            say = self._log(want, variant)
            container = variant.container

            def build(container: Container = container, say: Callable[[str], None] = say) -> str:
                return self._environments.ensure(artifact, container.runtime, container.environment, say)

            await self._threads.run(build)

    def stand(self, want: Want, version: int, url: str, artifact: Path) -> bool:
        """Whether all of it is on disk."""
        return all(self.python_of(artifact, one.container) is not None for one in _variants(want, version, url))

    def python_of(self, artifact: Path, container: Container) -> str | None:
        """The interpreter; empty for Clary's own, None where it must be built."""
        return self._environments.python_of(artifact, container.runtime, container.environment)

    async def sweep(self, standing: Iterable[tuple[Path, Container]]) -> set[str]:
        """Remove environments that nothing stands on and that were not used for a while; their names."""
        pairs = list(standing)

        def sweep() -> set[str]:
            keys = {self._environments.key_of(path, one.runtime, one.environment) for path, one in pairs}
            return self._environments.sweep(keys)

        return await self._threads.run(sweep)

    def _log(self, want: Want, variant: RevisionVariant) -> Callable[[str], None]:
        path = self._logs / "endpoints" / want.uid / variant.name / LOG

        def say(text: str) -> None:
            line = {"ts": stamp_ms(self._clock.now_us()), "level": "info", "event": text, "request_id": ""}
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as out:
                out.write(json.dumps({**line, "endpoint": want.name, "variant": variant.name, "replica": ""}) + "\n")

        return say


def _variants(want: Want, version: int, url: str) -> Iterator[RevisionVariant]:
    for fleet in {id(fleet): fleet for fleet in (want.target, want.base) if fleet is not None}.values():
        if fleet.version == version:
            yield from (one for one in fleet.revision.variants if one.container.artifact == url)
            return
