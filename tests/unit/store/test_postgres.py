"""PostgreSQL away, restarted, cut off in the middle, and asked for by two."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select as selecting
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select

from clary.kit.clock import SystemClock, VirtualClock
from clary.store.address import Address
from clary.store.base import StoreFormatError, StoreUnavailableError, patience_s
from clary.store.postgres import PostgresOptions, PostgresStore
from clary.store.postgres_engine import _check_server, cause_of
from clary.store.tables import tags
from tests.support.postgres import Cluster

NOWHERE = Address("postgresql://clary@127.0.0.1:1/db", "hush")


@contextlib.asynccontextmanager
async def opened(address: Address, clock: Any = None) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(address, clock or SystemClock())
    await store.open()
    yield store
    store.close()


def add(key: str) -> Callable[[Connection], str]:
    def work(connection: Connection) -> str:
        connection.execute(insert(tags).values(resource_uid="u", key=key, value="v"))
        return key

    return work


def names(connection: Connection) -> list[str]:
    return list(connection.execute(select(tags.c.key).order_by(tags.c.key)).scalars())


def end_connections(cluster: Cluster, address: Address) -> int:
    """Every session of a store, as a restart of the server does; how many there were."""
    database = address.url.rpartition("/")[2]
    query = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{database}'"
    return len(cluster.execute(query))


async def ended(clock: VirtualClock, work: Coroutine[Any, Any, Any]) -> Any:
    """What `work` gives, or raises, however long it takes by the clock."""
    task = asyncio.ensure_future(work)
    while not task.done():
        await clock.advance(0.5)
        await asyncio.sleep(0.002)
    return await task


async def test_connections_that_were_ended_fail_nobody(postgres: Cluster) -> None:
    address = postgres.store_address()
    async with opened(address) as store:
        await store.read(names)
        assert end_connections(postgres, address) == 2
        await asyncio.gather(store.write(add("a")), *(store.read(names) for _ in range(8)))
        assert await store.read(names) == ["a"]


async def test_work_that_was_cut_off_runs_again_and_counts_once(postgres: Cluster) -> None:
    address = postgres.store_address()
    runs: list[int] = []

    def work(connection: Connection) -> None:
        add(f"k{len(runs)}")(connection)
        runs.append(1)
        if len(runs) == 1:
            end_connections(postgres, address)
        add("end")(connection)

    async with opened(address) as store:
        await store.write(work)
        assert len(runs) == 2
        assert await store.read(names) == ["end", "k1"]


class Relay:
    """A way to the server that is cut once: when a COMMIT passes, before it arrives or before its answer does; or at
    any time, unseen by the server."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cut: str = ""
        """`before`, `after` or `stale`: armed."""
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        self._ways: list[threading.Thread] = []

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in (self._thread, *self._ways):
            thread.join(10)
        for held in self._held:
            held.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                way = threading.Thread(target=self._carry, args=(client,))
                way.start()
                self._ways.append(way)

    def _carry(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            while True:
                ready, _, _ = selecting.select([client, server], [], [])
                for one in ready:
                    data = one.recv(65536)
                    if not data:
                        return
                    armed = self.cut if one is client and (self.cut == "stale" or b"COMMIT" in data) else ""
                    if armed == "stale":
                        self._held.append(server.dup())
                    if armed in ("before", "stale"):
                        self.cut = ""
                        return
                    (server if one is client else client).sendall(data)
                    if armed == "after":
                        self.cut = ""
                        server.recv(65536)
                        return


@pytest.fixture
def relay(postgres: Cluster) -> Iterator[Relay]:
    made = Relay(postgres.port)
    yield made
    made.close()


@pytest.mark.parametrize(("cut", "runs"), [("before", 2), ("after", 1)])
async def test_a_commit_without_an_answer_happened_once(postgres: Cluster, relay: Relay, cut: str, runs: int) -> None:
    direct = postgres.store_address()
    seen: list[int] = []

    def work(connection: Connection) -> str:
        seen.append(1)
        return add("a")(connection)

    async with opened(replace(direct, url=direct.url.replace(str(postgres.port), str(relay.port)))) as store:
        relay.cut = cut
        assert await store.write(work) == "a"
        assert (relay.cut, len(seen)) == ("", runs)
        assert await store.read(names) == ["a"]


async def test_requests_wait_for_a_while_and_loops_as_long_as_it_takes() -> None:
    clock = VirtualClock()
    store = PostgresStore(NOWHERE, clock)
    waiting = asyncio.ensure_future(store.read(names))
    patience_s.set(20.0)
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:1/db cannot be reached: .*[Cc]onn") as refused:
        await ended(clock, store.write(names))
    assert 20 <= clock.monotonic_s() < 25
    assert "hush" not in str(refused.value)
    assert not waiting.done()
    waiting.cancel()
    store.close()


async def test_a_database_that_cannot_be_reached_is_not_opened(postgres: Cluster) -> None:
    with pytest.raises(StoreUnavailableError, match="cannot be reached"):
        await PostgresStore(NOWHERE, VirtualClock()).open()
    missing = postgres.address("nowhere")
    with pytest.raises(StoreUnavailableError, match=r'cannot be reached: .*database "nowhere" does not exist'):
        await PostgresStore(missing, VirtualClock()).open()


async def test_a_second_control_is_refused_by_the_name_of_the_first(postgres: Cluster) -> None:
    address, clock = postgres.store_address(), VirtualClock()
    async with opened(address) as store:
        first = rf"in use by another Clary: clary control on .*, pid {os.getpid()} \("
        with pytest.raises(StoreUnavailableError, match=first):
            await ended(clock, PostgresStore(address, clock).open())
        assert clock.monotonic_s() >= PostgresOptions().lock_wait_s
        await store.write(add("a"))
    async with opened(address) as store:
        assert await store.read(names) == ["a"]


async def test_a_control_that_lost_its_lock_ends(postgres: Cluster) -> None:
    address, clock = postgres.store_address(), VirtualClock()
    store = PostgresStore(address, clock)
    await store.open()
    end_connections(postgres, address)
    async with opened(address) as other:
        with pytest.raises(StoreUnavailableError, match="in use by another Clary"):
            await ended(clock, store.run())
        with pytest.raises(StoreUnavailableError, match="in use by another Clary"):
            await ended(clock, store.write(add("a")))
        await other.write(add("b"))
        assert await other.read(names) == ["b"]
    store.close()


async def test_a_lock_that_was_lost_with_its_connection_is_taken_back_by_the_beat(postgres: Cluster) -> None:
    address, clock = postgres.store_address(), VirtualClock()
    async with opened(address, clock) as store:
        end_connections(postgres, address)
        watching = asyncio.ensure_future(store.run())
        taken = "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database WHERE locktype = 'advisory'"
        mine = f"{taken} AND datname = '{address.url.rpartition('/')[2]}'"
        assert postgres.execute(mine) == [(0,)]
        for _ in range(4_000):
            await clock.advance(0.5)
            await asyncio.sleep(0.005)
            if postgres.execute(mine) == [(1,)]:
                break
        assert postgres.execute(mine) == [(1,)]
        watching.cancel()


async def test_a_stale_session_of_its_own_is_ended(postgres: Cluster, relay: Relay) -> None:
    """The server has not noticed that the way to the client is gone: the lock still stands."""
    direct = postgres.store_address()
    address = replace(direct, url=direct.url.replace(str(postgres.port), str(relay.port)))
    async with opened(address) as store:
        relay.cut = "stale"
        assert await store.write(add("a")) == "a"
        assert relay.cut == ""


class _Info:
    def __init__(self, version: int) -> None:
        self.server_version = version


class _Old:
    info = _Info(120_009)


def test_an_old_server_is_refused() -> None:
    with pytest.raises(StoreFormatError, match="is PostgreSQL 12; Clary needs 13 or newer"):
        _check_server(_Old(), NOWHERE)  # type: ignore[arg-type]


def test_a_cause_is_one_line() -> None:
    assert cause_of(ValueError("a.\nb")) == "a"
    assert cause_of(ValueError()) == "ValueError"
