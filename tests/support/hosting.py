"""A control and a reconcile loop on a temporary HOME, with a scripted placement and artifacts from a folder."""

from __future__ import annotations

import asyncio
import functools
import io
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from clary.artifacts.fetch import Artifacts
from clary.control import endpoint_configs, endpoints, models
from clary.control.desk import Caller, Desk
from clary.dataplane.routes import Snapshot, read_snapshot
from clary.domain.endpoint import EndpointConfigSpec, VariantSpec
from clary.domain.errors import NotFound
from clary.domain.model import Container, ModelSpec
from clary.domain.principal import Principal, Scope
from clary.kit.clock import VirtualClock
from clary.kit.ids import SystemIds
from clary.kit.threads import Threads
from clary.reconcile.act import World
from clary.reconcile.grounds import Grounds
from clary.reconcile.loop import Loop, LoopOptions
from clary.reconcile.routing import Routing, SnapshotOptions
from clary.store.seal import load_seal
from clary.store.sqlite import SqliteStore
from tests.support.placement import ScriptedPlacement

SCOPE = Scope("123456789012", "us-east-1")
CALLER = Caller(Principal(SCOPE.account, f"arn:aws:iam::{SCOPE.account}:root", "CLARYTEST"), SCOPE, "request-1")
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"


PATIENCE_S = 30.0
"""Real seconds that a condition may take: a sync of a busy disk takes seconds, time in tests passes in none."""
STUCK_S = 2.0
"""Real seconds after which a thread's work is taken for one that waits for something that time brings."""


class Work:
    """What threads do for a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._running: set[asyncio.Future[Any]] = set()
        self._start = loop.run_in_executor
        loop.run_in_executor = self._run  # type: ignore[method-assign, assignment]

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> Work:
        """The one of a loop; it knows what began since it was first asked for."""
        known = getattr(loop.run_in_executor, "__self__", None)
        return known if isinstance(known, cls) else cls(loop)

    async def ended(self) -> None:
        """Wait until all has ended, and what it led to; what takes longer than STUCK_S waits for time itself."""
        while self._running:
            _, stuck = await asyncio.wait(self._running, timeout=STUCK_S)
            self._running -= stuck
            for _ in range(8):  # whoever waited for it may have more
                await asyncio.sleep(0)

    def _run(self, executor: Executor | None, work: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        begun = self._start(executor, work, *arguments)
        self._running.add(begun)
        begun.add_done_callback(self._running.discard)
        return begun


class Listed(NamedTuple):
    """One object of a listing."""

    key: str


class FolderSource:
    """Objects as files `bucket/key`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.opened: list[str] = []

    def open(self, bucket: str, key: str) -> BinaryIO:
        self.opened.append(f"{bucket}/{key}")
        try:
            return (self.root / bucket / key).open("rb")
        except FileNotFoundError:
            raise NotFound("object", key, f"s3://{bucket}/{key}") from None

    def list(self, bucket: str, prefix: str) -> Iterable[Listed]:
        return sorted(Listed(path.name) for path in (self.root / bucket).iterdir() if path.name.startswith(prefix))

    def put(self, bucket: str, key: str, content: bytes) -> str:
        """Store a tar.gz with one file of `content`; its URL."""
        path = self.root / bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w:gz") as archive:
            info = tarfile.TarInfo("xgboost-model")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        return f"s3://{bucket}/{key}"


@functools.cache
def _empty_database() -> bytes:
    """A database with the schema and no rows: making one takes alembic a tenth of a second."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clary.db"
        SqliteStore(path).close()
        return path.read_bytes()


@dataclass
class Host:
    """Everything a test of hosting touches."""

    home: Path
    clock: VirtualClock = field(default_factory=VirtualClock)
    placement: ScriptedPlacement = field(default_factory=ScriptedPlacement)
    options: LoopOptions = field(default_factory=LoopOptions)
    pings: int = 0
    grounds: Grounds | None = None

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.source = FolderSource(self.home / "buckets")
        self.artifacts = Artifacts(self.home / "artifacts", self.source)
        database = self.home / "clary.db"
        if not database.exists():
            database.write_bytes(_empty_database())
        self.store = SqliteStore(database)
        self.desk = Desk(self.store, self.clock, SystemIds())

    @property
    def snapshot(self) -> Snapshot:
        return read_snapshot(self.home / "routes.json")

    async def ping(self) -> None:
        self.pings += 1

    @asynccontextmanager
    async def reconciling(self) -> AsyncIterator[Loop]:
        """Run the loop; leaving stops it as a kill of control would, replicas and rows as they are."""
        threads = Threads("test", 4)
        options = SnapshotOptions(self.home / "routes.json", SCOPE.account, SCOPE.region)
        routing = Routing(options, threads, self.ping)
        seal = load_seal(self.home / "secrets" / "kek")
        world = World(
            self.store,
            self.clock,
            SystemIds(),
            self.placement,
            self.artifacts,
            routing,
            seal,
            threads,
            cores=4,
            grounds=self.grounds,
        )
        loop = Loop(world, self.options)
        Work.of(asyncio.get_running_loop())
        task = asyncio.create_task(loop.run())
        try:
            yield loop
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            threads.close()

    async def until(self, condition: Callable[[], bool], step_s: float = 0.1) -> None:
        """Move time in small steps until the condition holds."""
        async for _ in self._steps(step_s):
            if condition():
                return
        raise AssertionError("the condition never held")

    async def _steps(self, step_s: float = 0.1) -> AsyncIterator[None]:
        """Time as it passes: only while no thread works, so that a busy disk costs none of it."""
        work = Work.of(asyncio.get_running_loop())
        end_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            yield
            await work.ended()
            await self.clock.advance(step_s)
            await work.ended()

    async def until_status(self, name: str, *statuses: str) -> endpoints.Endpoint:
        """Move time until the endpoint has one of these statuses."""
        async for _ in self._steps():
            found = await endpoints.describe(self.desk, CALLER, name)
            if found.record.status.value in statuses:
                return found
        raise AssertionError(f"{name} never was {statuses}, it is {found.record.status}")

    async def until_gone(self, name: str) -> None:
        """Move time until the endpoint is gone."""
        async for _ in self._steps():
            try:
                await endpoints.describe(self.desk, CALLER, name)
            except NotFound:
                return
        raise AssertionError(f"{name} is never gone")

    async def model(self, name: str, url: str) -> None:
        spec = ModelSpec((Container(IMAGE, "xgboost", "1.7-1", url, environment={"A": "1"}),))
        await models.create(self.desk, CALLER, name, spec, {})

    async def config(self, name: str, *variants: VariantSpec) -> None:
        await endpoint_configs.create(self.desk, CALLER, name, EndpointConfigSpec(variants), {})

    async def endpoint(self, name: str, replicas: int = 1, content: bytes = b"model") -> None:
        """An endpoint of one variant, with a model and configuration of the same name."""
        await self.model(name, self.source.put("models", f"{name}.tar.gz", content))
        await self.config(name, VariantSpec("AllTraffic", name, replicas, "ml.m5.large"))
        await endpoints.create(self.desk, CALLER, name, name, {})

    def close(self) -> None:
        self.store.close()
