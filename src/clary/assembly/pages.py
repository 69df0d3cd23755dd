"""Clary's own pages and API, beside the AWS ones."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.routing import Route

from clary import __version__
from clary.assembly.base import Base
from clary.assembly.hosting import Hosting
from clary.control import endpoint_docs, endpoint_logs, version_trials
from clary.control.topics import SnsDesk
from clary.domain.model import Container
from clary.edge import (
    actions_admin,
    admin,
    audit_admin,
    docs_pages,
    endpoint_admin,
    images_admin,
    logview,
    prometheus,
    scale_admin,
    sns_pages,
    worker_credentials,
)
from clary.edge.visitor import Doorman, VisitorOptions
from clary.placement import guest
from clary.reconcile.rows import wished_replicas
from clary.telemetry.totals import View


def own_pages(base: Base, hosting: Hosting, stopping: Callable[[], bool]) -> Starlette:
    """Everything below /clary/, and the pages of endpoints."""
    return Starlette(
        routes=[
            *_own_api(base, hosting),
            *logview.routes(_log_view(base, stopping)),
            *worker_credentials.routes(worker_credentials.Counter(base.desk, base.sessions, hosting.lender)),
            *docs_pages.routes(_docs_pages(base, hosting)),
            *sns_pages.routes(_sns_pages(base, hosting)),
            *prometheus.routes(_metrics_page(base, hosting)),
        ]
    )


def _own_api(base: Base, hosting: Hosting) -> list[Route]:
    """Keys, images, and versions of endpoints, which are tried as guests of placement."""
    world = hosting.world
    options = admin.AdminOptions(__version__, base.auth, base.settings.hosts)
    clerk = admin.Admin(base.desk, base.seal, base.ring, hosting.loop.loaded.is_set, options)

    def python_of(path: Path, container: Container) -> str | None:
        return "" if world.grounds is None else world.grounds.python_of(path, container)

    ask = functools.partial(guest.ask, world.clock)
    bench = version_trials.Bench(hosting.placement.guest, ask, world.artifacts.path_of, python_of, world.threads)
    return [
        *admin.routes(clerk),
        *images_admin.routes(clerk),
        *audit_admin.routes(clerk),
        *actions_admin.routes(clerk),
        *endpoint_admin.routes(clerk, bench),
        *scale_admin.routes(clerk, scale_admin.Gauge(hosting.telemetry.pressure, world.cores)),
    ]


def _log_view(base: Base, stopping: Callable[[], bool]) -> logview.LogView:
    """What the pages of logs work with."""
    settings = base.settings
    return logview.LogView(
        logs=base.home / "logs",
        lookup=functools.partial(endpoint_logs.uids_by_region, base.desk),
        keys=base.ring,
        clock=base.clock,
        threads=base.quick,
        options=logview.LogViewOptions(base.auth, settings.account, settings.region, settings.hosts),
        stopping=stopping,
    )


def _sns_pages(base: Base, hosting: Hosting) -> sns_pages.SnsPages:
    """What messages of topics point to."""
    return sns_pages.SnsPages(SnsDesk(base.desk, hosting.signer), base.quick, base.auth, base.settings.hosts)


def _docs_pages(base: Base, hosting: Hosting) -> docs_pages.DocsPages:
    """The pages of endpoints; the signatures on them are what their replicas report."""
    facts = functools.partial(endpoint_docs.facts, base.desk)
    return docs_pages.DocsPages(_doorman(base), facts, hosting.placement.observed)


def _metrics_page(base: Base, hosting: Hosting) -> prometheus.MetricsPage:
    """What Prometheus scrapes."""
    totals = hosting.telemetry.totals

    async def replicas() -> list[prometheus.ReplicaCount]:
        noted = await base.store.read(wished_replicas)
        observed = hosting.placement.observed()
        found = Counter(
            (one.endpoint.scope, one.endpoint.name, one.variant, observed[one.uid].phase.value)
            for one in noted
            if one.uid in observed
        )
        return [
            prometheus.ReplicaCount(scope.account, scope.region, endpoint, variant, phase, count)
            for (scope, endpoint, variant, phase), count in found.items()
        ]

    def view() -> View:
        return totals.view(base.clock.now_us())

    return prometheus.MetricsPage(_doorman(base), view, replicas, base.quick, __version__)


def _doorman(base: Base) -> Doorman:
    settings = base.settings
    return Doorman(
        functools.partial(endpoint_logs.uids_by_region, base.desk),
        base.ring,
        base.clock,
        VisitorOptions(base.auth, settings.account, settings.region, settings.hosts),
    )
