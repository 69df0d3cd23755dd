"""Environments in the life of an endpoint: made while it is created, told when they fail, made again, removed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from pathlib import Path

import pytest

from clary.control import endpoints
from clary.domain.errors import ArtifactError
from clary.kit.threads import Threads
from clary.reconcile.grounds import Grounds
from tests.support.hosting import CALLER, Host


class Scripted:
    """Implements what Grounds asks of Environments, in memory."""

    def __init__(self) -> None:
        self.built: dict[str, str] = {}
        self.builds: list[str] = []
        self.swept: list[set[str]] = []
        self.failure: ArtifactError | None = None

    def ensure(self, model_dir: Path, runtime: str, env: Mapping[str, str], log: Callable[[str], None]) -> str:
        key = self.key_of(model_dir, runtime, env)
        log("Building.")
        self.builds.append(key)
        if self.failure is not None:
            raise self.failure
        return self.built.setdefault(key, f"/env/{len(self.builds)}/python")

    def python_of(self, model_dir: Path, runtime: str, env: Mapping[str, str]) -> str | None:
        return self.built.get(self.key_of(model_dir, runtime, env))

    def key_of(self, model_dir: Path, runtime: str, env: Mapping[str, str]) -> str:
        return f"{model_dir.name}:{runtime}:{env['A']}"

    def sweep(self, keep: Collection[str]) -> set[str]:
        self.swept.append(set(keep))
        return set(self.built) - set(keep)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[tuple[Host, Scripted]]:
    environments, threads = Scripted(), Threads("environments", 2)
    host = Host(tmp_path / "home")
    host.grounds = Grounds(environments, threads, tmp_path / "logs", host.clock)  # type: ignore[arg-type]
    yield host, environments
    threads.close()
    host.close()


def logged(tmp_path: Path) -> list[str]:
    return [
        json.loads(line)["event"]
        for log in (tmp_path / "logs").rglob("environment.log")
        for line in log.read_text().splitlines()
    ]


async def test_replicas_run_on_the_environment_within_their_instances_memory(
    bench: tuple[Host, Scripted], tmp_path: Path
) -> None:
    host, environments = bench
    async with host.reconciling():
        await host.endpoint("e", replicas=2)
        await host.until_status("e", "InService")
        specs = list(host.placement.specs.values())
        assert [spec.python for spec in specs] == ["/env/1/python"] * 2
        assert [spec.memory_bytes_max for spec in specs] == [8 * 1024**3] * 2  # ml.m5.large
        assert len(environments.builds) == 1
    assert logged(tmp_path) == ["Building."]


async def test_a_build_that_fails_is_the_endpoints_reason(bench: tuple[Host, Scripted]) -> None:
    host, environments = bench
    environments.failure = ArtifactError("The environment could not be built: no solution.", "Correct the list.")
    async with host.reconciling():
        await host.endpoint("e")
        found = await host.until_status("e", "Failed")
        assert found.record.failure_reason == "The environment could not be built: no solution. Correct the list."
        assert host.placement.specs == {}


async def test_a_restarted_control_wishes_the_same_replicas(bench: tuple[Host, Scripted]) -> None:
    host, environments = bench
    async with host.reconciling():
        await host.endpoint("e")
        await host.until_status("e", "InService")
    before = dict(host.placement.specs)
    async with host.reconciling() as loop:
        await asyncio.wait_for(loop.loaded.wait(), 10)
        assert host.placement.specs == before
    assert len(environments.builds) == 1


async def test_an_environment_that_is_gone_is_built_again_without_its_object(bench: tuple[Host, Scripted]) -> None:
    host, environments = bench
    async with host.reconciling():
        await host.endpoint("e")
        await host.until_status("e", "InService")
    opened = len(host.source.opened)
    environments.built.clear()
    async with host.reconciling():
        await host.until(lambda: len(environments.builds) == 2)
    assert len(host.source.opened) == opened


async def test_environments_go_with_the_endpoints_that_stood_on_them(bench: tuple[Host, Scripted]) -> None:
    host, environments = bench
    async with host.reconciling():
        await host.endpoint("e", content=b"one")
        await host.endpoint("f", content=b"two")
        await host.until_status("e", "InService")
        await host.until_status("f", "InService")
        await endpoints.remove(host.desk, CALLER, "e")
        await host.until_gone("e")
        kept = {spec.artifact_digest for spec in host.placement.specs.values()}
        await host.until(lambda: bool(environments.swept) and len(environments.swept[-1]) == 1)
        assert {key.partition(":")[0] for key in environments.swept[-1]} == kept
