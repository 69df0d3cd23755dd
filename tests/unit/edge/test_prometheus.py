"""The page for Prometheus: read by Prometheus' own parsers, shown to whom it may be, and never in a bucket's way."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from starlette.applications import Starlette

from clary.edge import prometheus
from clary.edge.visitor import Doorman, VisitorOptions
from clary.kit.clock import SystemClock
from clary.kit.sigv4 import sign
from clary.kit.threads import Threads
from clary.telemetry.delta import Delta, Latency, VariantDelta
from clary.telemetry.totals import Totals, View
from clary.telemetry.utilization import ENDPOINTS, TRAINING_JOBS, Subject, Usage
from tests.support.door import ANN, OneKey, Served, serve_asgi

NOW_US = 1_700_000_000 * 1_000_000
LATENCY = Latency(2, 12_000, 2_000, 10_000, {380: 1, 460: 1})  # about 2 ms and 10 ms
THREADS = Threads("test", 1)
OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
MINE = {"account": ANN.account, "region": "us-east-1", "endpoint": "rides", "variant": "A"}


async def nobody(account: str, name: str) -> dict[str, str]:
    return {}


async def replicas() -> Iterable[prometheus.ReplicaCount]:
    return [
        prometheus.ReplicaCount(ANN.account, "us-east-1", "rides", "A", "ready", 2),
        prometheus.ReplicaCount("999999999999", "us-east-1", "other", "A", "ready", 1),
    ]


def view() -> View:
    totals = Totals()
    variants = [
        VariantDelta(account, "us-east-1", name, "u", "A", 2, 1.0, 1, 0, 1, LATENCY, LATENCY, 1, 3, 1, 4, config="blue")
        for account, name in ((ANN.account, "rides"), ("999999999999", 'ot"her\\'))
    ]
    totals.add([Delta("router-0", "b", 1, NOW_US, tuple(variants))])
    named = (("EndpointName", "rides"), ("VariantName", "A"))
    subject = Subject(1, "01R", ANN.account, "us-east-1", ENDPOINTS, (named,), "u")
    job = Subject(2, "01J", ANN.account, "us-east-1", TRAINING_JOBS, ((("Host", "job/algo-1"),),), "01J")
    used = {"CPUUtilization": 150.0, "MemoryUtilization": 2.5, "DiskUtilization": 40.0}
    totals.use([Usage(subject, 1, used), Usage(job, 1, {"MemoryUtilization": 1.0})], ["01R", "01J"])
    totals.lose(deltas=3)
    return totals.view(NOW_US)


def served(*, auth: bool) -> Any:
    options = VisitorOptions(auth=auth, account="123456789012", region="us-east-1")
    page = prometheus.MetricsPage(Doorman(nobody, OneKey(), SystemClock(), options), view, replicas, THREADS, "1.2.3")
    return serve_asgi(Starlette(routes=prometheus.routes(page)))


def values(body: bytes, parse: Any = parse_text) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(body.decode())
        for sample in family.samples
    }


def of(**labels: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({**MINE, **labels}.items()))


@pytest.mark.parametrize(("headers", "parse"), [({}, parse_text), (OPENMETRICS, parse_openmetrics)])
def test_prometheus_reads_every_family(headers: dict[str, str], parse: Any) -> None:
    with served(auth=False) as running:
        status, answered, body = running.get("/metrics", headers)
        assert status == 200
        assert answered["content-type"].startswith("application/openmetrics-text" if headers else "text/plain")
        found = values(body, parse)
    blue = {"config": "blue"}
    assert found["clary_invocations_total", of(**blue)] == 2
    assert [found["clary_invocation_errors_total", of(**blue, **{"class": c})] for c in ("4xx", "5xx", "model")] == [
        1,
        0,
        1,
    ]
    assert found["clary_model_latency_seconds_bucket", of(**blue, le="0.0025")] == 1
    assert found["clary_model_latency_seconds_bucket", of(**blue, le="+Inf")] == 2
    assert found["clary_model_latency_seconds_count", of(**blue)] == 2
    assert found["clary_model_latency_seconds_sum", of(**blue)] == pytest.approx(0.012)
    assert found["clary_first_chunk_latency_seconds_count", of(**blue)] == 0
    assert found["clary_concurrent_requests", of(**blue)] == 3
    assert found["clary_replicas", of(phase="ready")] == 2
    assert found["clary_replica_cpu_usage_ratio", of(replica="01R")] == 1.5
    assert found["clary_replica_memory_usage_ratio", of(replica="01R")] == 0.025
    job = tuple(sorted({"account": ANN.account, "region": "us-east-1", "job": "job"}.items()))
    assert found["clary_training_memory_usage_ratio", job] == 0.01
    assert found["clary_build_info", (("version", "1.2.3"),)] == 1
    assert found["clary_metric_seconds_lost_total", ()] == 3
    # Without --auth everybody's are shown, and names are escaped.
    assert {dict(labels)["endpoint"] for name, labels in found if name == "clary_invocations_total"} == {
        "rides",
        'ot"her\\',
    }


def test_only_this_machine_s_own_names_are_answered_without_auth() -> None:
    with served(auth=False) as running:
        assert running.get("/metrics", {"Host": "evil.example"})[0] == 403
        assert running.get("/clary/metrics")[0] == 200
        assert running.get("/metrics", {"Authorization": "Bearer of what another server wants"})[0] == 200


def test_with_auth_a_token_or_a_signature_opens_the_page() -> None:
    with served(auth=True) as running:
        assert running.get("/metrics")[0] == 401
        token = prometheus.token_of(ANN.key_id, ANN.secret)
        status, _, body = running.get("/metrics", {"Authorization": f"Bearer {token}"})
        assert status == 200
        assert {dict(labels)["endpoint"] for name, labels in values(body) if name == "clary_invocations_total"} == {
            "rides"
        }
        for wrong in (f"{ANN.key_id}:{'0' * 64}", f"{ANN.key_id}:{ANN.secret}", "AKIDNOBODY:1", "", ":", "\xff"):
            assert running.get("/metrics", {"Authorization": f"Bearer {wrong}"})[0] == 403
        assert running.get("/metrics", signed(running))[0] == 200


def signed(running: Served) -> dict[str, str]:
    return sign(
        method="GET", path="/metrics", query="", headers={"host": running.url.removeprefix("http://")}, payload=b"",
        token="", key_id=ANN.key_id, secret=ANN.secret, region="us-east-1", service="sagemaker", now_s=time.time(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "query", "authorization", "page"),
    [
        ("GET", "/metrics", b"", b"", True),
        ("HEAD", "/metrics", b"", b"", True),
        ("GET", "/metrics", b"", b"Bearer AKID:0", True),
        ("GET", "/metrics", b"X-Amz-Credential=A%2F20300101%2Fr%2Fclary%2Faws4_request&X-Amz-Signature=0", b"", True),
        ("GET", "/metrics", b"list-type=2", b"", False),
        ("GET", "/metrics", b"", b"AWS4-HMAC-SHA256 Credential=A/20300101/r/s3/aws4_request", False),
        ("PUT", "/metrics", b"", b"", False),
        ("GET", "/metrics/key", b"", b"", False),
    ],
)
def test_a_bucket_named_metrics_stays_reachable(
    method: str, path: str, query: bytes, authorization: bytes, page: bool
) -> None:
    headers = [(b"authorization", authorization)] if authorization else []
    scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": headers}
    assert prometheus.is_page(scope) is page
