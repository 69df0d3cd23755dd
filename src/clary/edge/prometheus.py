"""`GET /metrics`: what Clary counts, for Prometheus (and again as `/clary/metrics`, which no bucket can be named).

Text format 0.0.4 or, where the scraper asks for it, OpenMetrics 1.0. With --auth a scraper sends the token of an access
key (`token_of`), as Prometheus cannot sign; a signature does as well. It sees its own account's endpoints.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from clary.edge.docs_pages import signed_for_s3
from clary.edge.visitor import Doorman, Refused
from clary.kit import sigv4
from clary.kit.clock import MICROS
from clary.kit.threads import Threads
from clary.telemetry.totals import BOUNDS_S, FleetKey, FleetTotals, Histogram, Losses, View
from clary.telemetry.utilization import ENDPOINTS, Usage

if TYPE_CHECKING:
    from prometheus_client.core import Metric

PATHS = ("/metrics", "/clary/metrics")
_TOKEN_FOR = b"clary metrics"
_FLEET = ("account", "region", "endpoint", "variant", "config")
_REPLICA = ("account", "region", "endpoint", "variant", "replica")
_JOB = ("account", "region", "job")
_BOUNDS = (*(f"{bound:g}" for bound in BOUNDS_S), "+Inf")
_PERCENT = {"CPUUtilization": "cpu", "MemoryUtilization": "memory", "DiskUtilization": "disk"}
_USED = {
    "cpu": "Processor time taken, 1 is one core.",
    "memory": "Resident memory, as a share of the machine's.",
    "disk": "Fill of the file system that holds HOME, 0 to 1.",
}


@dataclass(frozen=True)
class ReplicaCount:
    """Replicas of one variant in one phase."""

    account: str
    region: str
    endpoint: str
    variant: str
    phase: str
    """`starting`, `ready`, `failed` or `gone`."""
    count: int


@dataclass(frozen=True)
class MetricsPage:
    """What the handler works with."""

    doorman: Doorman
    view: Callable[[], View]
    replicas: Callable[[], Awaitable[Iterable[ReplicaCount]]]
    threads: Threads
    """Where the page is written: with a thousand variants that takes a while."""
    version: str


def token_of(key_id: str, secret: str) -> str:
    """The bearer token by which an access key reads this page, and does nothing else: `ID:HMAC-SHA256 in hex`."""
    return f"{key_id}:{hmac.new(secret.encode(), _TOKEN_FOR, hashlib.sha256).hexdigest()}"


def is_page(scope: Scope) -> bool:
    """Whether a request means this page, and not a bucket named `metrics`: listing one is signed, or has a query."""
    if scope["method"] not in ("GET", "HEAD") or scope["path"] != PATHS[0] or signed_for_s3(scope):
        return False
    return not scope["query_string"] or b"X-Amz-Signature=" in scope["query_string"]


def routes(page: MetricsPage) -> list[Route]:
    """The routes, for the application that assembly puts together."""

    async def metrics(request: Request) -> Response:
        try:
            account = _account(page, request)
        except Refused as error:
            return JSONResponse({"code": error.code, "message": str(error)}, error.status)
        from prometheus_client.exposition import choose_encoder

        replicas = list(await page.replicas())
        encode, media = choose_encoder(request.headers.get("accept", ""))
        body = await page.threads.run(lambda: encode(_Collected(list(_families(page, page.view(), replicas, account)))))
        return Response(body, headers={"content-type": media, "cache-control": "no-store"})

    return [Route(path, metrics, methods=["GET"]) for path in PATHS]


def _account(page: MetricsPage, request: Request) -> str:
    """Whose endpoints are shown: those of the key that asks, or without --auth everybody's (empty). Raises Refused."""
    doorman = page.doorman
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if not doorman.options.auth:
        doorman.check_origin(request)
        return ""
    if scheme.lower() != "bearer":
        return doorman.account(request)
    try:
        key = doorman.keys.lookup(token.partition(":")[0])
    except sigv4.SigV4Error:
        key = None
    if key is None or not hmac.compare_digest(token_of(key.key_id, key.secret).encode(), token.encode("latin-1")):
        raise Refused(403, "AccessDenied", "The token is none of an access key that is live.")
    return key.account


@dataclass(frozen=True)
class _Collected:
    """A registry, as far as an encoder needs one."""

    families: list[Metric]

    def collect(self) -> Iterator[Metric]:
        """Every family."""
        return iter(self.families)


def _families(page: MetricsPage, view: View, replicas: Iterable[ReplicaCount], account: str) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    fleets = {key: totals for key, totals in view.fleets.items() if account in ("", key.account)}
    yield from _counters(fleets)
    yield from _histograms(fleets)
    concurrent = GaugeMetricFamily(
        "clary_concurrent_requests", "Requests at the model or waiting for it.", labels=_FLEET
    )
    for key, totals in fleets.items():
        concurrent.add_metric(_labels(key), totals.concurrency(view.now_us))
    yield concurrent
    counts = GaugeMetricFamily("clary_replicas", "Replicas by phase.", labels=(*_FLEET[:4], "phase"))
    for one in replicas:
        if account in ("", one.account):
            counts.add_metric((one.account, one.region, one.endpoint, one.variant, one.phase), one.count)
    yield counts
    yield from _used([usage for usage in view.usage if account in ("", usage.subject.account)])
    yield from _own(page.version, view.losses)


def _counters(fleets: Mapping[FleetKey, FleetTotals]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily

    invocations = CounterMetricFamily("clary_invocations", "Finished invocations.", labels=_FLEET)
    errors = CounterMetricFamily(
        "clary_invocation_errors",
        "Invocations by what went wrong: class 4xx or 5xx of the model's answer; model: anything of it but 2xx.",
        labels=(*_FLEET, "class"),
    )
    streams = CounterMetricFamily("clary_streams", "Ended streams of which a part was given.", labels=_FLEET)
    broken = CounterMetricFamily("clary_streams_broken", "Those of them that broke off.", labels=_FLEET)
    for key, totals in fleets.items():
        named = _labels(key)
        invocations.add_metric(named, totals.invocations)
        for kind, count in (("4xx", totals.errors_4xx), ("5xx", totals.errors_5xx), ("model", totals.errors_model)):
            errors.add_metric((*named, kind), count)
        streams.add_metric(named, totals.streams)
        broken.add_metric(named, totals.streams_broken)
    return iter((invocations, errors, streams, broken))


def _histograms(fleets: Mapping[FleetKey, FleetTotals]) -> Iterator[Metric]:
    from prometheus_client.core import HistogramMetricFamily

    of: tuple[tuple[str, str, Callable[[FleetTotals], Histogram]], ...] = (
        ("model_latency", "From handing a request to the model to the last byte of its answer.", lambda t: t.model),
        ("overhead_latency", "The whole time of an invocation less the model's.", lambda t: t.overhead),
        ("first_chunk_latency", "From a streamed request's arrival to the first part.", lambda t: t.first_chunk),
    )
    for name, text, part in of:
        family = HistogramMetricFamily(f"clary_{name}_seconds", text, labels=_FLEET, unit="seconds")
        for key, totals in fleets.items():
            found = part(totals)
            buckets = list(zip(_BOUNDS, accumulate(map(float, found.buckets)), strict=True))
            family.add_metric(_labels(key), buckets, found.sum_us / MICROS)
        yield family


def _used(usage: Iterable[Usage]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    families: dict[tuple[str, str], Any] = {}
    for kind, text in _USED.items():
        for whose, labels in (("replica", _REPLICA), ("training", _JOB)):
            name = f"clary_{whose}_{kind}_usage_ratio"
            families[whose, kind] = GaugeMetricFamily(name, text, labels=labels, unit="ratio")
    for one in usage:
        subject = one.subject
        named = dict(subject.dimensions[0])
        if subject.namespace == ENDPOINTS:
            whose = "replica"
            values = [named["EndpointName"], named["VariantName"], subject.uid]
        else:
            whose, values = "training", [named["Host"].rpartition("/")[0]]
        for metric, percent in one.percent.items():
            families[whose, _PERCENT[metric]].add_metric((subject.account, subject.region, *values), percent / 100)
    yield from families.values()


def _own(version: str, losses: Losses) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, InfoMetricFamily

    yield InfoMetricFamily("clary_build", "The server.", value={"version": version})
    yield CounterMetricFamily("clary_metric_seconds_lost", "Seconds of routers that never arrived.", losses.deltas)
    yield CounterMetricFamily("clary_metric_samples_refused", "Samples beyond the store's limits.", losses.samples)
    yield CounterMetricFamily("clary_metric_points_dropped", "Points deleted before their time.", losses.points)
    yield CounterMetricFamily("clary_spans_lost", "Traced invocations that were not kept.", losses.spans)


def _labels(key: FleetKey) -> tuple[str, ...]:
    return (key.account, key.region, key.endpoint, key.variant, key.config)
