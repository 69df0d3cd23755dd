"""The pages on Prometheus and OpenTelemetry name everything that is published, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys

import msgspec
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from clary.edge import prometheus
from clary.telemetry import otlp_encode
from clary.telemetry.delta import Delta, Latency, Span, VariantDelta
from clary.telemetry.otlp import SPANS_WAITING_MAX, TRIES_MAX
from clary.telemetry.recorder import SPANS_MAX, SPANS_SPOOL_BYTES_MAX
from clary.telemetry.room import LEAST_S
from clary.telemetry.store import StoreOptions
from clary.telemetry.totals import BOUNDS_S, Totals, View
from clary.telemetry.utilization import ENDPOINTS, TRAINING_JOBS, Subject, Usage
from tests.docs.pages import ROOT
from tests.support.otlp import attributes
from tests.unit.edge.test_prometheus import served

PROMETHEUS = (ROOT / "docs" / "how-to" / "prometheus.md").read_text()
OTEL = (ROOT / "docs" / "how-to" / "opentelemetry.md").read_text()
METRICS = (ROOT / "docs" / "reference" / "metrics.md").read_text()
LATENCY = Latency(1, 1, 1, 1, {0: 1})


def view() -> View:
    """One of everything."""
    totals = Totals()
    variant = VariantDelta("1", "r", "e", "u", "v", 1, 1.0, 0, 0, 0, LATENCY, LATENCY, 1, 0, 0, 1, config="c")
    totals.add([Delta("router-0", "b", 1, 0, (msgspec.structs.replace(variant, first_chunk=LATENCY),))])
    percent = dict.fromkeys(("CPUUtilization", "MemoryUtilization", "DiskUtilization"), 1.0)
    named = (("EndpointName", "e"), ("VariantName", "v"))
    subjects = (
        Subject(1, "r1", "1", "r", ENDPOINTS, (named,), "u"),
        Subject(2, "j1", "1", "r", TRAINING_JOBS, ((("Host", "j/algo-1"),),), "j1"),
    )
    totals.use([Usage(subject, 0, percent) for subject in subjects], ["r1", "j1"])
    return totals.view(0)


def test_every_family_is_on_the_page_of_prometheus() -> None:
    with served(auth=False) as running:
        families = list(text_string_to_metric_families(running.get("/metrics")[2].decode()))
    published = {f"{f.name}_total" if f.type == "counter" else f.name for f in families}
    published = {name.removesuffix("_info") + "_info" if "build" in name else name for name in published}
    tables = PROMETHEUS[PROMETHEUS.index("## What is there") : PROMETHEUS.index("Counters begin")]
    assert set(re.findall(r"`(clary_\w+)`", tables)) == published


def test_the_queries_name_what_is_there() -> None:
    known = set(re.findall(r"`(clary_\w+)`", PROMETHEUS))
    queries = PROMETHEUS[PROMETHEUS.index("## Queries") :]
    for name in re.findall(r"clary_\w+", queries):
        assert re.sub(r"_(bucket|sum|count)$", "", name) in known, name


def test_the_recipe_makes_the_token() -> None:
    code = re.search(r"python3 -c '\n(.*?)' > clary.token", PROMETHEUS, re.DOTALL)
    assert code is not None
    env = {"AWS_ACCESS_KEY_ID": "CLARYKEY", "AWS_SECRET_ACCESS_KEY": "secret"}
    done = subprocess.run([sys.executable, "-c", code[1]], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == prometheus.token_of("CLARYKEY", "secret")


def test_bounds_are_as_told() -> None:
    text = "0.5, 1, 2.5, 5, 10, 25, 50, 100, 250 and 500 ms, 1, 2.5, 5, 10, 30 and 60 s"
    assert text in PROMETHEUS
    milli, seconds = (part.replace(" and", ",").split(", ") for part in text.removesuffix(" s").split(" ms, "))
    assert (*(float(one) / 1000 for one in milli), *map(float, seconds)) == BOUNDS_S


def test_every_metric_and_attribute_is_on_the_page_of_opentelemetry() -> None:
    request = ExportMetricsServiceRequest.FromString(otlp_encode.metrics(view(), None, 0, {}, "1"))
    metrics = request.resource_metrics[0].scope_metrics[0].metrics
    told: set[str] = set()
    for cell in re.findall(r"^\| (`clary\.[^|]*)\|", OTEL[OTEL.index("## Metrics") :], re.MULTILINE):
        names = re.findall(r"`([\w.]+)`", re.sub(r"\(.*?\)", "", cell))
        told |= {name if name.startswith("clary") else ".".join(names[0].split(".")[:2]) + name for name in names}
    assert told == {metric.name for metric in metrics}
    for metric in metrics:
        for point in getattr(metric, metric.WhichOneof("data")).data_points:
            assert all(f"`{name}`" in OTEL for name in attributes(point)), metric.name
    span = Span(bytes(16), bytes(8), bytes(8), "", 0, 1, "1", "r", "e", "v", "r1", "id", 200, 200, 1, False)
    exported = ExportTraceServiceRequest.FromString(otlp_encode.traces([span], {}, "1"))
    assert all(f"`{name}`" in OTEL for name in attributes(exported.resource_spans[0].scope_spans[0].spans[0]))


def test_limits_are_as_told() -> None:
    assert f"keeps {SPANS_MAX:,} spans a second" in OTEL
    assert f"{SPANS_SPOOL_BYTES_MAX >> 20} MiB wait" in OTEL
    assert f"keeps {SPANS_WAITING_MAX:,} that wait" in OTEL
    assert f"tried {TRIES_MAX} times" in OTEL
    assert f"holds {StoreOptions().bytes_max >> 30} GiB" in METRICS
    assert list(LEAST_S.values()) == [5 * 60, 30 * 60, 86400, 7 * 86400, 90 * 86400]
    assert "5 minutes at least, those of 10 s for 30 minutes, of 60 s for a day, of 300 s for a week" in METRICS
