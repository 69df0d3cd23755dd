"""The snapshot as reconcile keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from clary.dataplane.routes import EndpointRoute, KeyRoute, read_snapshot
from clary.kit.threads import Threads
from clary.reconcile.routing import Routing, SnapshotOptions

KEY = KeyRoute("CLARY1", "secret", "123456789012", "arn")


def route(uid: str, generation: int = 1) -> EndpointRoute:
    return EndpointRoute("123456789012", "us-east-1", f"name-{uid}", uid, generation, ())


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads("test", 2)
    yield threads
    threads.close()


class Routers:
    """Counts how often routers were told, and what the file said then."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told: list[int] = []

    async def ping(self) -> None:
        self.told.append(len((await asyncio.to_thread(read_snapshot, self.path)).endpoints))


def routing(tmp_path: Path, threads: Threads) -> tuple[Routing, Routers]:
    options = SnapshotOptions(tmp_path / "routes.json", "123456789012", "us-east-1", True, ("clary.example",))
    routers = Routers(options.path)
    return Routing(options, threads, routers.ping), routers


async def test_a_route_is_on_disk_before_routers_are_told(tmp_path: Path, threads: Threads) -> None:
    kept, routers = routing(tmp_path, threads)
    await kept.load()
    await kept.retain(set(), (KEY,))
    await kept.publish("a", route("a"))
    assert routers.told == [0, 1]
    snapshot = await asyncio.to_thread(read_snapshot, tmp_path / "routes.json")
    assert (snapshot.revision, snapshot.auth, snapshot.hosts) == (2, True, ("clary.example",))
    assert (snapshot.endpoints, snapshot.keys) == ((route("a"),), (KEY,))
    await kept.publish("a", None)
    assert routers.told == [0, 1, 0]


async def test_what_was_published_is_taken_over_and_numbered_on(tmp_path: Path, threads: Threads) -> None:
    kept, _ = routing(tmp_path, threads)
    await kept.publish("a", route("a"))
    await kept.publish("b", route("b"))
    again, _ = routing(tmp_path, threads)
    await again.load()
    assert again.route_of("a") == route("a")
    await again.retain({"b"}, ())
    snapshot = await asyncio.to_thread(read_snapshot, tmp_path / "routes.json")
    assert (snapshot.revision, snapshot.endpoints) == (3, (route("b"),))


async def test_a_broken_file_is_written_anew(tmp_path: Path, threads: Threads) -> None:
    await asyncio.to_thread((tmp_path / "routes.json").write_text, "{")
    kept, _ = routing(tmp_path, threads)
    await kept.load()
    await kept.retain(set(), ())
    assert (await asyncio.to_thread(read_snapshot, tmp_path / "routes.json")).endpoints == ()


async def test_publications_that_come_together_share_writes(tmp_path: Path, threads: Threads) -> None:
    kept, routers = routing(tmp_path, threads)
    await asyncio.gather(*(kept.publish(f"{index:02}", route(f"{index:02}")) for index in range(50)))
    assert routers.told[-1] == 50
    assert len(routers.told) < 10
    assert all(kept.route_of(f"{index:02}") for index in range(50))


async def test_equal_keys_write_nothing(tmp_path: Path, threads: Threads) -> None:
    kept, routers = routing(tmp_path, threads)
    await kept.replace_keys((KEY,))
    await kept.replace_keys((KEY,))
    assert len(routers.told) == 1


async def test_a_route_that_could_not_be_written_was_not_published(tmp_path: Path, threads: Threads) -> None:
    kept, routers = routing(tmp_path / "absent", threads)
    with pytest.raises(FileNotFoundError):
        await kept.publish("a", route("a"))
    assert kept.route_of("a") is None
    await asyncio.to_thread((tmp_path / "absent").mkdir)
    await kept.publish("a", route("a"))
    assert kept.route_of("a") == route("a")
    assert routers.told == [1]


async def test_what_could_not_be_written_is_written_when_it_is_said_again(tmp_path: Path, threads: Threads) -> None:
    kept, routers = routing(tmp_path / "gone", threads)
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            await kept.record(("123456789012/us-east-1",))
    await asyncio.to_thread((tmp_path / "gone").mkdir)
    await kept.record(("123456789012/us-east-1",))
    await kept.replace_keys(())
    assert routers.told == [0]
    assert (await asyncio.to_thread(read_snapshot, routers.path)).recorded == ("123456789012/us-east-1",)
