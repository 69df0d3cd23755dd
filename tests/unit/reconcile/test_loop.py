"""The loop, on a real store and real artifacts, with a scripted placement and a clock that we move."""

from __future__ import annotations

import errno
import itertools
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from clary.control import endpoint_configs, endpoints, keys, models
from clary.domain.endpoint import VariantSpec
from clary.placement.base import ReplicaPhase
from clary.store.base import StoreUnavailableError
from clary.store.seal import load_seal
from tests.support.hosting import CALLER, Host
from tests.support.placement import ScriptedPlacement, failed, ready, starting


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.close()


async def test_an_endpoint_comes_into_service_and_leaves_nothing_behind(host: Host) -> None:
    async with host.reconciling():
        await host.endpoint("One", replicas=2)
        found = await host.until_status("one", "InService")
        assert found.ready == {"AllTraffic": 2}
        (route,) = host.snapshot.endpoints
        assert (route.name, route.generation) == ("One", 1)
        assert [r.address for r in route.variants[0].replicas] == [
            host.placement.states[uid].address for uid in sorted(host.placement.specs)
        ]
        assert host.pings >= 2, "routers are told before InService is shown"
        spec = next(iter(host.placement.specs.values()))
        assert spec.model_dir.joinpath("xgboost-model").read_bytes() == b"model"
        assert (spec.threads, spec.env, spec.runtime) == (2, {"A": "1"}, "xgboost")

        await endpoints.remove(host.desk, CALLER, "ONE")
        await host.until_gone("One")
        assert host.snapshot.endpoints == ()
        assert host.placement.specs == {}
        assert len(host.placement.drained) == 2
        await host.until(lambda: not list((host.home / "artifacts").iterdir()))


async def test_an_endpoint_forgotten_during_a_sweep_makes_another_due(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    going_on, sweep = threading.Event(), host.artifacts.sweep
    sweeps = []

    def slow(keep: set[str]) -> set[str]:
        sweeps.append(keep)
        assert len(sweeps) != 2 or going_on.wait(30)
        return sweep(keep)

    monkeypatch.setattr(host.artifacts, "sweep", slow)
    async with host.reconciling():
        for name in ("a", "b"):
            await host.endpoint(name, content=name.encode())
            await host.until_status(name, "InService")
        await endpoints.remove(host.desk, CALLER, "a")
        await host.until(lambda: len(sweeps) == 2)
        # The second sweep has looked at what to keep, b's artifact among it.
        await endpoints.remove(host.desk, CALLER, "b")
        await host.until_gone("b")
        going_on.set()
        await host.until(lambda: not list((host.home / "artifacts").iterdir()))


async def test_in_service_is_shown_only_after_the_routers_were_told(host: Host) -> None:
    statuses = []

    async def ping() -> None:
        found = await host.store.read(lambda c: c.exec_driver_sql("SELECT observed_status FROM endpoints").scalar())
        statuses.append((len(host.snapshot.endpoints), found))

    host.ping = ping  # type: ignore[method-assign]
    async with host.reconciling():
        await host.endpoint("one")
        await host.until_status("one", "InService")
    assert statuses[-1] == (1, None)


async def test_a_missing_artifact_fails_with_cause_and_remedy(host: Host) -> None:
    async with host.reconciling():
        host.source.put("models", "other.tar.gz", b"x")
        await host.model("m", "s3://models/absent.tar.gz")
        await host.config("c", VariantSpec("A", "m", 1, "ml.m5.large"))
        await endpoints.create(host.desk, CALLER, "e", "c", {})
        found = await host.until_status("e", "Failed")
        assert found.record.failure_reason.startswith("Could not find model data at s3://models/absent.tar.gz.")
        assert "Upload the artifact there" in found.record.failure_reason
        assert host.placement.history == []
        await endpoints.remove(host.desk, CALLER, "e")
        await host.until_gone("e")


async def test_a_replica_that_cannot_load_fails_the_endpoint_and_frees_what_ran(host: Host) -> None:
    bad = failed("The file xgboost-model is not a model", "Save it with Booster.save_model")
    host.placement.become = lambda spec: bad(spec) if spec.variant == "B" else ready(spec)
    async with host.reconciling():
        await host.model("m", host.source.put("models", "m.tar.gz", b"x"))
        await host.config("c", VariantSpec("A", "m", 1, "ml.m5.large"), VariantSpec("B", "m", 1, "ml.m5.large"))
        await endpoints.create(host.desk, CALLER, "e", "c", {})
        found = await host.until_status("e", "Failed")
        assert found.record.failure_reason == (
            "Variant B: The file xgboost-model is not a model. Save it with Booster.save_model."
        )
        await host.until(lambda: not host.placement.specs)
        assert host.snapshot.endpoints == ()


async def test_one_artifact_for_several_variants_is_fetched_once(host: Host) -> None:
    async with host.reconciling():
        await host.model("m", host.source.put("models", "m.tar.gz", b"x"))
        await host.config("c", VariantSpec("A", "m", 1, "ml.m5.large"), VariantSpec("B", "m", 3, "ml.m5.large"))
        await endpoints.create(host.desk, CALLER, "e", "c", {})
        assert (await host.until_status("e", "InService")).ready == {"A": 1, "B": 3}
    assert host.source.opened == ["models/m.tar.gz"]


async def test_deleting_the_config_the_model_and_the_bucket_in_use_changes_nothing(host: Host) -> None:
    async with host.reconciling():
        await host.endpoint("e")
        await host.until_status("e", "InService")
        await endpoint_configs.remove(host.desk, CALLER, "e")
        await models.remove(host.desk, CALLER, "e")
    shutil.rmtree(host.home / "buckets")
    before = host.snapshot.endpoints
    # The machine was restarted: no process runs, and control starts anew.
    specs, host.placement = host.placement.specs, ScriptedPlacement()
    async with host.reconciling() as loop:
        await loop.loaded.wait()
        assert host.placement.specs == specs, "the same replicas, from the pinned artifacts"
        assert (await host.until_status("e", "InService")).record.status.value == "InService"
        assert host.snapshot.endpoints == before


async def test_control_restarted_adopts_what_runs(host: Host) -> None:
    async with host.reconciling():
        await host.endpoint("e", replicas=2)
        await host.until_status("e", "InService")
    history = list(host.placement.history)
    async with host.reconciling() as loop:
        await loop.loaded.wait()
        await host.until_status("e", "InService")
        assert host.placement.history == history


async def test_what_control_wrote_while_nobody_reconciled_is_done_later(host: Host) -> None:
    await host.endpoint("e")
    async with host.reconciling():
        await host.until_status("e", "InService")
    await endpoints.remove(host.desk, CALLER, "e")
    async with host.reconciling():
        await host.until_gone("e")


async def test_a_replica_that_dies_in_service_is_replaced_after_a_wait(host: Host) -> None:
    async with host.reconciling():
        await host.endpoint("e", replicas=2)
        await host.until_status("e", "InService")
        old = sorted(host.placement.specs)
        host.placement.become = starting
        host.placement.turn(old[0], ReplicaPhase.FAILED, "It crashed three times")
        await host.until(lambda: len(host.snapshot.endpoints[0].variants[0].replicas) == 1)
        assert (await endpoints.describe(host.desk, CALLER, "e")).record.status.value == "InService"
        await host.until(lambda: len(set(host.placement.specs) - set(old)) == 1)
        (new,) = set(host.placement.specs) - set(old)
        host.placement.turn(new, ReplicaPhase.READY)
        await host.until(lambda: len(host.snapshot.endpoints[0].variants[0].replicas) == 2)


async def test_a_replica_that_restarts_in_place_stays_routed(host: Host) -> None:
    async with host.reconciling():
        await host.endpoint("e")
        await host.until_status("e", "InService")
        (uid,) = host.placement.specs
        before = host.snapshot
        host.placement.turn(uid, ReplicaPhase.STARTING)
        host.placement.turn(uid, ReplicaPhase.READY)
        await host.clock.advance(120)
        assert host.snapshot == before


async def test_a_deleted_endpoint_waits_for_its_processes(host: Host) -> None:
    async with host.reconciling():
        await host.endpoint("e")
        await host.until_status("e", "InService")
        (uid,) = host.placement.specs
        host.placement.hold_stops = True
        await endpoints.remove(host.desk, CALLER, "e")
        await host.until(lambda: not host.placement.specs)
        await host.clock.advance(100)
        assert (await endpoints.describe(host.desk, CALLER, "e")).record.status.value == "Deleting"
        host.placement.end(uid)
        await host.until_gone("e")


async def test_an_unexpected_error_is_retried_with_backoff(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    fetch = host.artifacts.fetch

    def flaky(url: str) -> object:
        calls.append(host.clock.monotonic_s())
        if len(calls) < 4:
            raise OSError("disk on fire")
        return fetch(url)

    monkeypatch.setattr(host.artifacts, "fetch", flaky)
    async with host.reconciling():
        await host.endpoint("e")
        await host.until_status("e", "InService")
    waits = [round(b - a, 1) for a, b in itertools.pairwise(calls)]
    assert all(wait >= least for wait, least in zip(waits, (0.1, 0.2, 0.4), strict=True))


async def test_an_endpoint_that_cannot_be_made_fails_at_last_and_can_be_deleted(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(url: str) -> object:
        raise OSError("disk on fire")

    monkeypatch.setattr(host.artifacts, "fetch", broken)
    async with host.reconciling():
        await host.endpoint("e")
        found = await host.until_status("e", "Failed")
        assert found.record.failure_reason.startswith(
            "An unexpected error came back 8 times: OSError: disk on fire. See logs/control.log"
        )
        await endpoints.remove(host.desk, CALLER, "e")
        await host.until_gone("e")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), StoreUnavailableError("away")])
async def test_a_full_disk_or_a_store_that_is_away_is_waited_for(
    host: Host, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    calls: list[str] = []
    fetch = host.artifacts.fetch

    def no_room(url: str) -> object:
        calls.append(url)
        if len(calls) < 30:
            raise error
        return fetch(url)

    monkeypatch.setattr(host.artifacts, "fetch", no_room)
    async with host.reconciling():
        await host.endpoint("e")
        found = await host.until_status("e", "InService")
    assert (len(calls), found.record.failure_reason) == (30, "")


async def test_an_artifact_gone_from_disk_is_fetched_again_and_must_be_the_same(host: Host) -> None:
    async with host.reconciling():
        await host.endpoint("e")
        await host.until_status("e", "InService")
    host.artifacts.sweep(set())
    host.placement = ScriptedPlacement()
    host.source.put("models", "e.tar.gz", b"another model")
    async with host.reconciling() as loop:
        await loop.loaded.wait()
        await host.clock.advance(30)
        assert host.placement.specs == {}
        host.source.put("models", "e.tar.gz", b"model")
        await host.until(lambda: len(host.placement.specs) == 1)


async def test_new_and_revoked_keys_reach_the_routers(host: Host) -> None:
    seal = load_seal(host.home / "secrets" / "kek")
    async with host.reconciling() as loop:
        await loop.loaded.wait()
        new = await keys.create(host.desk, seal, CALLER, "ann")
        await host.until(lambda: [key.secret for key in host.snapshot.keys] == [new.secret])
        await keys.revoke(host.desk, CALLER, new.key_id)
        await host.until(lambda: host.snapshot.keys == ())


async def test_fifty_endpoints_at_once(host: Host) -> None:
    async with host.reconciling():
        await host.model("m", host.source.put("models", "m.tar.gz", b"x"))
        await host.config("c", VariantSpec("A", "m", 1, "ml.m5.large"))
        for index in range(50):
            await endpoints.create(host.desk, CALLER, f"e{index}", "c", {})
        for index in range(50):
            await host.until_status(f"e{index}", "InService")
        assert len(host.snapshot.endpoints) == 50
        for index in range(50):
            await endpoints.remove(host.desk, CALLER, f"e{index}")
        for index in range(50):
            await host.until_gone(f"e{index}")
    assert host.placement.specs == {}
