"""A replica that left the table is observed until the agent told of its end, whatever happens to the watch between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clary.kit.clock import SystemClock
from clary.kit.threads import Threads
from clary.placement.base import ReplicaSpec
from clary.placement.local import LocalOptions, LocalPlacement


class Agent:
    """The agent's socket: takes reloads, and tells watchers what the test says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.running: list[str] = []
        self.watching = asyncio.Event()
        self.watcher: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if json.loads(line)["op"] == "watch":
                self.watcher = writer
                self.tell("hello")
                for uid in self.running:
                    self.tell("running", uid)
                self.tell("synced")
                self.watching.set()
            else:
                writer.write(b'{"op": "reloaded"}\n')
        writer.close()

    def tell(self, event: str, uid: str = "") -> None:
        assert self.watcher is not None
        facts = {"uid": uid, "pid": 4711, "nonce": "n", "restarts": 0, "reason": "stop", "status": 0}
        self.watcher.write(json.dumps({"event": event, **(facts if uid else {})}).encode() + b"\n")

    def hang_up(self) -> None:
        """The agent is replaced."""
        assert self.watcher is not None
        self.watching.clear()
        self.watcher.close()


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    agent = Agent(tmp_path / "agent.sock")
    server = await asyncio.start_unix_server(agent.serve, str(agent.path))
    yield agent
    server.close()


async def until(placement: LocalPlacement, *uids: str) -> None:
    """Wait until these replicas are observed."""
    async for _ in placement.changes():
        if set(placement.observed()) == set(uids):
            return


def spec(uid: str, folder: Path) -> ReplicaSpec:
    return ReplicaSpec(uid, "e", "A", "e1", "tiny", "1", folder, "digest")


def sockets(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("w-*")]


async def test_a_replica_off_the_table_is_seen_until_its_process_has_ended(agent: Agent, tmp_path: Path) -> None:
    threads = Threads("test", 2)
    placement = LocalPlacement(LocalOptions(tmp_path, tmp_path), SystemClock(), threads)
    running = asyncio.create_task(placement.run())
    try:
        async with asyncio.timeout(30):
            await agent.watching.wait()
            await placement.apply([spec(uid, tmp_path) for uid in ("a", "b", "c")])
            for uid in ("a", "b"):
                agent.tell("started", uid)
            async for _ in placement.changes():
                if all(placement.observed()[uid].pid for uid in ("a", "b")):
                    break
            await placement.apply([])
            await until(placement, "a", "b")  # c never ran
            for uid in ("a", "b"):  # as workers leave them that are killed, or end while they load
                (tmp_path / f"w-{uid}.sock").touch()
            agent.tell("exited", "a")
            await until(placement, "b")
            assert sockets(tmp_path) == ["w-b.sock"]
            agent.running = ["b"]
            agent.hang_up()
            await agent.watching.wait()
            assert set(placement.observed()) == {"b"}
            agent.running = []
            agent.hang_up()
            await until(placement)
            assert sockets(tmp_path) == []
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        threads.close()
