"""The only composition root: options in, objects made, tasks running. `python -m clary.assembly` is control."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from clary import __version__
from clary.artifacts.fetch import Artifacts
from clary.artifacts.foreign import ForeignStore
from clary.artifacts.shared import FileRoots
from clary.artifacts.stores import Stores
from clary.control import endpoint_docs, endpoint_logs, version_trials
from clary.control.desk import Desk
from clary.control.keys import KeyRing, ensure_root
from clary.control.log_groups import LogKeeper
from clary.control.metrics import MetricDesk
from clary.control.worker_roles import Lender
from clary.dataplane.handoff import HandoffServer
from clary.domain.model import Container
from clary.edge import admin, docs_pages, endpoint_admin, images_admin, logview, worker_credentials
from clary.edge.aws.door import Door, DoorOptions
from clary.edge.aws.operation import Operation
from clary.edge.aws.resources import (
    cloudwatch,
    endpoint_configs,
    endpoints,
    iam,
    logs_put,
    models,
    runtime,
    sts,
    tags,
    training_jobs,
    tuning_jobs,
)
from clary.edge.aws.resources import logs as logs_api
from clary.edge.aws.s3.door import S3Door
from clary.edge.aws.s3.service import S3Options
from clary.edge.forward import Routers, is_hot
from clary.edge.patience import PatientHttp
from clary.edge.visitor import Doorman, VisitorOptions
from clary.environments.store import EnvironmentOptions, Environments
from clary.kit.clock import Clock, SystemClock
from clary.kit.ids import Ids, SystemIds
from clary.kit.lifeline import Lifeline, identity_of
from clary.kit.tasks import Tasks
from clary.kit.threads import Threads
from clary.objects.store import ObjectStore
from clary.placement import guest
from clary.placement.local import LocalOptions, LocalPlacement
from clary.reconcile.act import World
from clary.reconcile.grounds import Grounds
from clary.reconcile.loop import Loop
from clary.reconcile.routing import Routing, SnapshotOptions
from clary.reconcile.training_files import Ground as TrainingGround
from clary.reconcile.training_loop import TrainingLoop, TrainingOptions, TrainingWorld
from clary.reconcile.tuning_loop import TuningLoop, TuningWorld
from clary.settings import OPTIONS, Settings, make_private_folder, resolve, runtime_dir
from clary.store.base import StoreFormatError
from clary.store.seal import SealError, load_seal
from clary.store.sessions import Sessions
from clary.store.sqlite import SqliteStore
from clary.telemetry import logs
from clary.telemetry.ingest import Ingest
from clary.telemetry.store import MetricStore

ENVIRONMENTS_AT_ONCE = 4
"""Builds, and endpoints waiting for one, that hold a thread."""
STOP_S = 20
"""Seconds that requests in flight have when control is asked to stop."""


class HttpServer(uvicorn.Server):
    """uvicorn without listeners and without signal handlers: sockets come from routers, signals go to `run`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(frozen=True)
class App:
    """Every request that is not a router's: Clary's own pages, forwarded invocations, the AWS APIs."""

    own: ASGIApp
    routers: ASGIApp
    door: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await JSONResponse({"message": "Clary speaks HTTP only here."}, 400)(scope, receive, send)
        elif scope["path"].startswith("/clary/") or docs_pages.is_page(scope):
            await self.own(scope, receive, send)
        elif is_hot(scope["method"], scope["path"]):
            await self.routers(scope, receive, send)
        else:
            await self.door(scope, receive, send)


async def run(settings: Settings) -> None:
    """Be control until SIGTERM or the first failure of a task."""
    home, sockets = settings.home, runtime_dir(settings.home)
    clock, ids = SystemClock(), SystemIds()
    store = SqliteStore(home / "clary.db")
    seal = load_seal(home / "secrets" / "kek")
    metrics = MetricStore(home / "telemetry.db")
    objects, stores = _open_stores(settings, clock, ids)
    slow, quick = Threads("slow", 8), Threads("quick", 4)
    desk = Desk(store, clock, ids)
    root = await ensure_root(desk, seal, home / "secrets" / "root.json", settings.account, settings.region)
    auth = settings.auth == "sigv4"
    session_key = seal.derive("sessions")
    sessions = Sessions(session_key, auth=auth)
    ring = KeyRing(sessions)
    await ring.refresh(desk, seal)
    _write_server_file(settings)

    routers = Routers([sockets / f"router-{index}.sock" for index in range(settings.routers)])
    snapshot = SnapshotOptions(
        home / "run" / "routes.json", settings.account, settings.region, auth, settings.hosts, session_key.hex()
    )
    placement = LocalPlacement(LocalOptions(home, sockets, untrusted=settings.untrusted), clock, quick)
    environments = Environments(EnvironmentOptions(home / "environments", dict(os.environ), refused=settings.untrusted))
    lender = Lender(settings.url, seal.derive("workers"))
    world = World(
        store=store,
        clock=clock,
        ids=ids,
        placement=placement,
        artifacts=Artifacts(home / "artifacts", stores, files=FileRoots(settings.model_roots)),
        routing=Routing(snapshot, quick, routers.reload),
        seal=seal,
        threads=slow,
        cores=len(os.sched_getaffinity(0)),
        worker_env=lender.environment,
        grounds=Grounds(
            environments,
            Threads("environments", ENVIRONMENTS_AT_ONCE),
            home / "logs",
            clock,
        ),
    )
    loop = Loop(world)
    training = TrainingLoop(
        TrainingWorld(
            store=store,
            clock=clock,
            objects=stores,
            runners=placement,
            threads=Threads("training", 4),
            ground=TrainingGround(home / "jobs", home / "logs" / "training", sys.executable, world.cores, environments),
        ),
        TrainingOptions(jobs_max=world.cores),
    )
    tuning = TuningLoop(TuningWorld(store, clock, ids, slots=world.cores))
    keeper = LogKeeper(desk, home / "logs", quick, clock)
    door = Door(
        operations=operations(desk, MetricDesk(metrics, quick, clock), sessions, keeper, settings),
        keys=ring,
        s3=S3Door(objects, Threads("objects", 8), _s3_options(settings)),
        clock=clock,
        ids=ids,
        options=DoorOptions(auth, settings.account, settings.region, settings.hosts),
    )
    stop = asyncio.Event()
    own = Starlette(
        routes=[
            *_own_api(
                admin.Admin(
                    desk, seal, ring, loop.loaded.is_set, admin.AdminOptions(__version__, auth, settings.hosts)
                ),
                world,
                placement,
            ),
            *logview.routes(_log_view(desk, ring, quick, settings, stop)),
            *worker_credentials.routes(worker_credentials.Counter(desk, sessions, lender)),
            *docs_pages.routes(_docs_pages(desk, ring, placement, settings)),
        ]
    )
    http = HttpServer(
        uvicorn.Config(
            App(own, routers, door),
            http="httptools",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=STOP_S,
        )
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Tasks() as tasks:
        eternal = {
            "placement": placement.run(),
            "reconcile": loop.run(),
            "training": training.run(),
            "tuning": tuning.run(),
            "keys": ring.follow(desk, seal),
            "log times": keeper.run(),
            "ingest": Ingest(metrics, home / "spool", clock, slow).run(),
        }
        for name, work in eternal.items():
            tasks.forever(name, work)
        serving = asyncio.create_task(http.serve(sockets=[]), name="http")
        handoff = HandoffServer(
            sockets / "handoff.sock",
            lambda: PatientHttp(config=http.config, server_state=http.server_state, app_state={}),
        )
        handoff.start()
        structlog.get_logger(__name__).info("control is up", pid=os.getpid(), version=__version__, root=root.key_id)
        failed = asyncio.create_task(tasks.wait_failed())
        await asyncio.wait({failed, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
        handoff.close()
        http.should_exit = True
        await serving
        if failed.done():
            failed.result()
        failed.cancel()
    await routers.aclose()
    objects.close()
    store.close()
    metrics.close()


def _open_stores(settings: Settings, clock: Clock, ids: Ids) -> tuple[ObjectStore, Stores]:
    """The built-in object store, and all that artifacts come from and outputs go to."""
    objects = ObjectStore(settings.home / "buckets", clock, ids)
    return objects, Stores(objects, [ForeignStore(mount) for mount in settings.object_store])


def _s3_options(settings: Settings) -> S3Options:
    elsewhere = {mount.bucket: mount.place for mount in settings.object_store}
    return S3Options(hosts=settings.hosts, elsewhere=elsewhere)


def operations(
    desk: Desk, metrics: MetricDesk, sessions: Sessions, keeper: LogKeeper, settings: Settings
) -> tuple[Operation, ...]:
    """Every AWS operation that is served, apart from S3 and the runtime's."""
    return (
        *models.operations(desk),
        *endpoint_configs.operations(desk),
        *endpoints.operations(desk, endpoints.HoldOptions(long_poll=settings.long_poll)),
        *tags.operations(desk),
        *training_jobs.operations(desk, endpoints.HoldOptions(long_poll=settings.long_poll)),
        *tuning_jobs.operations(desk, endpoints.HoldOptions(long_poll=settings.long_poll)),
        *cloudwatch.operations(metrics),
        *runtime.OPERATIONS,
        *sts.operations(desk, sessions),
        *iam.operations(desk),
        *logs_api.operations(keeper),
        *logs_put.operations(keeper),
    )


def _own_api(clerk: admin.Admin, world: World, placement: LocalPlacement) -> list[Route]:
    """Clary's own API: keys, images, and versions of endpoints, which are tried as guests of placement."""

    def python_of(path: Path, container: Container) -> str | None:
        return "" if world.grounds is None else world.grounds.python_of(path, container)

    ask = functools.partial(guest.ask, world.clock)
    bench = version_trials.Bench(placement.guest, ask, world.artifacts.path_of, python_of, world.threads)
    return [*admin.routes(clerk), *images_admin.routes(clerk), *endpoint_admin.routes(clerk, bench)]


def _log_view(desk: Desk, ring: KeyRing, threads: Threads, settings: Settings, stop: asyncio.Event) -> logview.LogView:
    """What the pages of logs work with."""
    return logview.LogView(
        logs=settings.home / "logs",
        lookup=functools.partial(endpoint_logs.uids_by_region, desk),
        keys=ring,
        clock=desk.clock,
        threads=threads,
        options=logview.LogViewOptions(settings.auth == "sigv4", settings.account, settings.region, settings.hosts),
        stopping=stop.is_set,
    )


def _docs_pages(desk: Desk, ring: KeyRing, placement: LocalPlacement, settings: Settings) -> docs_pages.DocsPages:
    """The pages of endpoints; the signatures on them are what their replicas report."""
    doorman = Doorman(
        functools.partial(endpoint_logs.uids_by_region, desk),
        ring,
        desk.clock,
        VisitorOptions(settings.auth == "sigv4", settings.account, settings.region, settings.hosts),
    )
    return docs_pages.DocsPages(doorman, functools.partial(endpoint_docs.facts, desk), placement.observed)


def _write_server_file(settings: Settings) -> None:
    """Tell the command line where this HOME is served."""
    path = settings.home / "run" / "server.json"
    facts = {"url": settings.url, "region": settings.region, "account": settings.account, "version": __version__}
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(facts))
    temporary.replace(path)


def main(argv: Sequence[str]) -> None:
    """Entry of the control process; options as `clary serve` resolved them."""
    parser = argparse.ArgumentParser(prog="clary-control", allow_abbrev=False)
    for option in OPTIONS:
        parser.add_argument(f"--{option.name.replace('_', '-')}", required=True)
    settings, _ = resolve(vars(parser.parse_args(argv)), {}, Path(os.devnull))
    make_private_folder(settings.home / "secrets")
    logs.configure(settings.home / "logs" / "control.log")
    identity = identity_of(os.environ)
    if identity is not None:
        Lifeline(Path(identity.agent_socket), identity.uid, identity.kind, identity.nonce).start()
    try:
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(run(settings))
    except (StoreFormatError, SealError) as error:
        # Nothing to debug: the agent shows the last of this log to whoever started the server.
        sys.exit(str(error))


def _new_loop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


if __name__ == "__main__":
    main(sys.argv[1:])
