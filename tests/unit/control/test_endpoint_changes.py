"""Updates, other sizes and rollbacks through control and reconcile, on a placement that does what the test says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from clary.control import endpoint_changes, endpoint_configs, endpoints, models
from clary.control.endpoint_changes import Retain, rescale, roll_back, update_endpoint, versions
from clary.domain.endpoint import Desired, VariantProperty, VariantSpec
from clary.domain.errors import InTransition, Invalid, NotFound
from clary.placement.base import ReplicaSpec, ReplicaState
from clary.reconcile.actions import Rules
from clary.reconcile.loop import LoopOptions
from tests.support.hosting import CALLER, Host
from tests.support.placement import failed, ready, starting
from tests.unit.reconcile.test_crashes import killed_once

WRITES_MAX = 40


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path, options=LoopOptions(rules=Rules(drain_us=0)))


async def configure(host: Host, name: str, content: bytes = b"new", *, count: int = 1, url: str = "") -> None:
    """A model and a configuration of it, both `name`."""
    await host.model(name, url or host.source.put("models", f"{name}.tar.gz", content))
    await host.config(name, VariantSpec("AllTraffic", name, count, "ml.m5.large"))


async def in_service(host: Host, config: str) -> endpoints.Endpoint:
    found = await host.until_status("e", "InService")
    assert found.revision.config_name == config
    return found


def bad_if_new(old_digests: set[str]) -> object:
    def become(spec: ReplicaSpec) -> ReplicaState:
        return ready(spec) if spec.artifact_digest in old_digests else failed("Bad model", "Mend it")(spec)

    return become


async def test_an_update_serves_the_new_version_and_ends_the_old_replicas(host: Host) -> None:
    await host.endpoint("e", replicas=2)
    await configure(host, "next", count=3)
    async with host.reconciling():
        await host.until_status("e", "InService")
        await update_endpoint(host.desk, CALLER, "e", "next")
        seen = await endpoints.describe(host.desk, CALLER, "e")
        assert seen.record.status.value == "Updating"
        assert seen.revision.config_name == "e"
        assert seen.pending is not None
        assert (seen.pending.revision.config_name, seen.pending.same_version) == ("next", False)
        found = await in_service(host, "next")
        assert (found.ready, found.pending, found.record.failure_reason) == ({"AllTraffic": 3}, None, "")
        await host.until(lambda: len(host.placement.specs) == 3)
    (route,) = host.snapshot.endpoints
    assert (route.version, route.versions, route.starting, route.failed) == (2, 2, 0, ())
    assert [(v.number, v.state.value) for v in await versions(host.desk, CALLER, "e")] == [(2, "live"), (1, "retired")]


async def test_a_failed_update_leaves_what_was_with_the_reason(host: Host) -> None:
    await host.endpoint("e")
    await configure(host, "next")
    async with host.reconciling():
        await host.until_status("e", "InService")
        before = dict(host.placement.specs)
        host.placement.become = failed("Bad model", "Mend it")
        await update_endpoint(host.desk, CALLER, "e", "next")
        found = await in_service(host, "e")
        assert found.record.failure_reason == "Bad model. Mend it."
        await host.until(lambda: host.placement.specs == before)
        host.placement.become = ready
        (route,) = host.snapshot.endpoints
        assert (route.version, route.failed) == (1, (2,))
        # A later update that works takes the reason away, and is version 3.
        await configure(host, "third", b"third")
        await update_endpoint(host.desk, CALLER, "e", "third")
        assert (await in_service(host, "third")).record.failure_reason == ""
    states = [(v.number, v.state.value, v.reason) for v in await versions(host.desk, CALLER, "e")]
    assert states == [(3, "live", ""), (2, "failed", "Bad model. Mend it."), (1, "retired", "")]


async def test_a_missing_artifact_fails_the_update_and_is_looked_for_again(host: Host) -> None:
    await host.endpoint("e")
    await configure(host, "next", url="s3://models/later.tar.gz")
    async with host.reconciling():
        await host.until_status("e", "InService")
        await update_endpoint(host.desk, CALLER, "e", "next")
        assert "s3://models/later.tar.gz" in (await in_service(host, "e")).record.failure_reason
        host.source.put("models", "later.tar.gz", b"now")
        assert await roll_back(host.desk, CALLER, "e", 2) == 2
        await in_service(host, "next")


async def test_an_artifact_overwritten_under_its_url_is_another_version(host: Host) -> None:
    await host.endpoint("e")
    async with host.reconciling():
        await host.until_status("e", "InService")
        url = host.source.put("models", "e.tar.gz", b"changed")
        await configure(host, "next", url=url)
        await update_endpoint(host.desk, CALLER, "e", "next")
        await in_service(host, "next")
        new, old = await versions(host.desk, CALLER, "e")
        assert new.digests[url] != old.digests[url]
        # And the first comes back as it was, though its url holds something else now.
        assert await roll_back(host.desk, CALLER, "e") == 1
        await in_service(host, "e")
        assert {spec.artifact_digest for spec in host.placement.specs.values()} >= {old.digests[url]}


async def test_rollback_needs_neither_configuration_nor_model_nor_bucket(host: Host) -> None:
    await host.endpoint("e", replicas=2)
    await configure(host, "next")
    async with host.reconciling():
        await host.until_status("e", "InService")
        await rescale(host.desk, CALLER, "e", [Desired("AllTraffic", instance_count=4)])
        await in_service(host, "e")
        await update_endpoint(host.desk, CALLER, "e", "next")
        await in_service(host, "next")
        await endpoint_configs.remove(host.desk, CALLER, "e")
        await models.remove(host.desk, CALLER, "e")
        (host.home / "buckets" / "models" / "e.tar.gz").unlink()
        assert await roll_back(host.desk, CALLER, "e") == 1
        found = await in_service(host, "e")
        assert found.ready == {"AllTraffic": 4}, "as it last served"
        assert await roll_back(host.desk, CALLER, "e") == 2
        await in_service(host, "next")
    for to, message in ((2, "live already"), (9, "no version 9; it has 1 to 2")):
        with pytest.raises(Invalid, match=message):
            await roll_back(host.desk, CALLER, "e", to)


async def test_other_sizes_start_and_end_only_what_differs(host: Host) -> None:
    await host.endpoint("e", replicas=2)
    async with host.reconciling():
        await host.until_status("e", "InService")
        before = set(host.placement.specs)
        await rescale(host.desk, CALLER, "e", [Desired("AllTraffic", 0.5, 3)])
        seen = await endpoints.describe(host.desk, CALLER, "e")
        assert seen.pending is not None
        assert seen.pending.same_version
        await in_service(host, "e")
        assert before < set(host.placement.specs)
        await rescale(host.desk, CALLER, "e", [Desired("AllTraffic", instance_count=1)])
        found = await in_service(host, "e")
        assert found.ready == {"AllTraffic": 1}
        await host.until(lambda: len(host.placement.specs) == 1)
        assert set(host.placement.specs) < before
    (route,) = host.snapshot.endpoints
    assert (route.version, route.versions, route.variants[0].weight) == (1, 1, 0.5)
    assert [v.number for v in await versions(host.desk, CALLER, "e")] == [1]


async def test_retained_sizes_and_changes_that_are_refused(host: Host) -> None:
    await host.endpoint("e", replicas=2)
    await configure(host, "next", count=1)
    with pytest.raises(InTransition):
        await update_endpoint(host.desk, CALLER, "e", "next")
    async with host.reconciling():
        await host.until_status("e", "InService")
        with pytest.raises(NotFound):
            await update_endpoint(host.desk, CALLER, "e", "none")
        with pytest.raises(NotFound):
            await update_endpoint(host.desk, CALLER, "none", "next")
        with pytest.raises(Invalid, match="never served another"):
            await roll_back(host.desk, CALLER, "e")
        await rescale(host.desk, CALLER, "e", [Desired("AllTraffic", 3.0)])
        await in_service(host, "e")
        host.placement.become = starting
        retain = Retain(all=True, excluded=frozenset({VariantProperty.WEIGHT}))
        await update_endpoint(host.desk, CALLER, "e", "next", retain)
        for change in (
            update_endpoint(host.desk, CALLER, "e", "next"),
            rescale(host.desk, CALLER, "e", [Desired("AllTraffic", 1.0)]),
            roll_back(host.desk, CALLER, "e", 1),
            endpoints.remove(host.desk, CALLER, "e"),
        ):
            with pytest.raises(InTransition):
                await change
        seen = await endpoints.describe(host.desk, CALLER, "e")
        assert seen.pending is not None
        assert [(v.instance_count, v.weight) for v in seen.pending.revision.variants] == [(2, 1.0)]


async def test_of_twenty_updates_at_once_one_wins(host: Host) -> None:
    await host.endpoint("e")
    await configure(host, "next")
    async with host.reconciling():
        await host.until_status("e", "InService")
    asked = [update_endpoint(host.desk, CALLER, "e", "next") for _ in range(20)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["InTransition"] * 19 + ["str"]


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("works", [False, True])
async def test_an_update_that_is_killed_anywhere_ends_well(tmp_path: Path, committed: bool, works: bool) -> None:
    for writes in range(WRITES_MAX):
        host = Host(tmp_path / str(writes), options=LoopOptions(rules=Rules(drain_us=0)))
        await host.endpoint("e", replicas=2)
        await configure(host, "next", count=2)
        async with host.reconciling():
            await host.until_status("e", "InService")
        if not works:
            host.placement.become = bad_if_new({spec.artifact_digest for spec in host.placement.specs.values()})
        await update_endpoint(host.desk, CALLER, "e", "next")
        died = await killed_once(
            host, writes, committed=committed, work=lambda host=host: host.until_status("e", "InService")
        )
        async with host.reconciling():
            found = await host.until_status("e", "InService")
            assert found.revision.config_name == ("next" if works else "e")
            assert found.ready == {"AllTraffic": 2}
            await host.until(lambda host=host: len(host.placement.specs) == 2)
            assert bool(found.record.failure_reason) is not works
        host.close()
        if not died:
            assert writes > 3
            return
    raise AssertionError("an update takes more writes than it should")


async def test_a_version_by_number(host: Host) -> None:
    await host.endpoint("e")
    async with host.reconciling():
        await host.until_status("e", "InService")
    assert (await endpoint_changes.version_of(host.desk, CALLER, "e", 1)).number == 1
    with pytest.raises(Invalid, match="no version 2; it has 1 to 1"):
        await endpoint_changes.version_of(host.desk, CALLER, "e", 2)
    with pytest.raises(NotFound):
        await versions(host.desk, CALLER, "none")
