"""Control, running: doors open, loops turning, until SIGTERM or the first failure."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import structlog
import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from clary import __version__
from clary.assembly.base import Base, open_base
from clary.assembly.hosting import Hosting, make_hosting
from clary.assembly.operations import Desks, operations
from clary.assembly.pages import own_pages
from clary.dataplane.handoff import HandoffServer
from clary.edge import docs_pages, prometheus
from clary.edge.aws.door import Door, DoorOptions
from clary.edge.aws.s3.door import S3Door
from clary.edge.aws.s3.service import S3Options
from clary.edge.forward import is_hot
from clary.edge.patience import PatientHttp
from clary.kit.durable import replace_file
from clary.kit.tasks import Tasks
from clary.kit.threads import Threads
from clary.settings import Settings
from clary.store.base import REQUEST_S, patience_s

CONNECTIONS_MAX = 4096
"""Open connections that control holds, idle ones included; on the next a request is answered with 503. botocore keeps
ten a client; a router holds 16,384."""
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
            return
        patience_s.set(REQUEST_S)  # of this request's task
        if scope["path"].startswith("/clary/") or docs_pages.is_page(scope) or prometheus.is_page(scope):
            await self.own(scope, receive, send)
        elif is_hot(scope["method"], scope["path"]):
            await self.routers(scope, receive, send)
        else:
            await self.door(scope, receive, send)


async def run(settings: Settings) -> None:
    """Be control until SIGTERM or the first failure of a task."""
    base = await open_base(settings)
    _write_server_file(settings)
    hosting = make_hosting(base)
    stop = asyncio.Event()
    hosting.keeper.stopping = stop.is_set
    app = App(own_pages(base, hosting, stop.is_set), base.routers, _door(base, hosting))
    http = HttpServer(
        uvicorn.Config(
            app,
            http="httptools",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=STOP_S,
        )
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Tasks() as tasks:
        for name, work in hosting.loops(base).items():
            tasks.forever(name, work)
        serving = asyncio.create_task(http.serve(sockets=[]), name="http")
        handoff = HandoffServer(
            base.sockets / "handoff.sock",
            lambda: PatientHttp(config=http.config, server_state=http.server_state, app_state={}),
            hosting.auto_scaling.told,
        )
        handoff.start()
        structlog.get_logger(__name__).info("control is up", pid=os.getpid(), version=__version__)
        failed = asyncio.create_task(tasks.wait_failed())
        await asyncio.wait({failed, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
        handoff.close()
        http.should_exit = True
        await serving
        if failed.done():
            failed.result()
        failed.cancel()
    await base.close()


def _door(base: Base, hosting: Hosting) -> Door:
    """The AWS APIs."""
    settings = base.settings
    elsewhere = {mount.bucket: mount.place for mount in settings.object_store}
    return Door(
        operations=operations(
            Desks(base.desk, base.metric_desk, base.sessions, hosting.keeper, hosting.signer, settings.long_poll)
        ),
        keys=base.ring,
        s3=S3Door(base.objects, Threads("objects", 8), S3Options(hosts=settings.hosts, elsewhere=elsewhere)),
        clock=base.clock,
        ids=base.ids,
        options=DoorOptions(base.auth, settings.account, settings.region, settings.hosts),
        witness=hosting.auditor.witness,
    )


def _write_server_file(settings: Settings) -> None:
    """Tell the command line where this HOME is served."""
    facts = {"url": settings.url, "region": settings.region, "account": settings.account, "version": __version__}
    replace_file(settings.home / "run" / "server.json", json.dumps(facts).encode())
