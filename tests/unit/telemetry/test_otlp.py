"""Exports, at a collector that decodes them: spans and totals whole, failures tried again or dropped and counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest
import structlog
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE, AGGREGATION_TEMPORALITY_DELTA

from clary.kit.clock import VirtualClock
from clary.kit.threads import Threads
from clary.telemetry.delta import Delta, Latency, Span, VariantDelta
from clary.telemetry.otlp import SPANS_WAITING_MAX, TRIES_MAX, Exporter
from clary.telemetry.otlp_options import OtlpOptions, Target
from clary.telemetry.totals import BOUNDS_S, Totals
from clary.telemetry.utilization import ENDPOINTS, Subject, Usage
from tests.support.otlp import Collector, attributes, collecting

NOW_US = 1_700_000_000 * 1_000_000
LATENCY = Latency(2, 12_000, 2_000, 10_000, {380: 1, 460: 1})  # about 2 ms and 10 ms
BUSY = VariantDelta("1", "r", "Churn", "u", "A", 2, 1.0, 1, 0, 1, LATENCY, LATENCY, 1, 3, 1, 4, config="blue")
SPAN = Span(
    b"t" * 16,
    b"s" * 8,
    b"p" * 8,
    "vendor=1",
    NOW_US,
    NOW_US + 1500,
    "1",
    "r",
    "Churn",
    "A",
    "r1",
    "id",
    200,
    200,
    900,
    False,
)
THREADS = Threads("test", 1)
NAMED = {
    "cloud.account.id": "1",
    "cloud.region": "r",
    "aws.sagemaker.endpoint.name": "Churn",
    "aws.sagemaker.variant.name": "A",
}


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[object]]:
    with structlog.testing.capture_logs() as logs:
        yield logs  # type: ignore[misc]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


class Rig:
    def __init__(self, collector: Collector, *, delta: bool = False, gzip: bool = False) -> None:
        self.clock, self.totals, self.draws = VirtualClock(NOW_US), Totals(), 0
        targets = (Target(f"{collector.url}/v1/{s}", {"api-key": "k"}, gzip) for s in ("traces", "metrics"))
        options = OtlpOptions(*targets, delta, resource={"service.name": "clary"})
        self.exporter = Exporter(options, self.totals, self.clock, THREADS, "1.2.3", self._draw)

    def _draw(self) -> float:
        self.draws += 1
        return 0.5

    async def finish(self, work: object) -> None:
        """Run a step of the exporter to its end, however often it waits."""
        task = asyncio.ensure_future(work)  # type: ignore[arg-type]
        while not task.done():
            await self.clock.advance(1.0)
            await asyncio.to_thread(lambda: None)
        await task

    def count(self, variant: VariantDelta = BUSY) -> None:
        self.totals.add([Delta("router-0", "b", 1, self.clock.now_us(), (variant,))])


@pytest.fixture
async def rig(collector: Collector) -> AsyncIterator[Rig]:
    rig = Rig(collector)
    yield rig
    await rig.exporter._farewell()


async def test_a_span_is_what_the_router_saw(rig: Rig, collector: Collector) -> None:
    broken = msgspec.structs.replace(SPAN, stream=True, model_status=0, span_id=b"2" * 8)
    left = msgspec.structs.replace(SPAN, status=0, model_status=0, replica="", model_us=-1, span_id=b"3" * 8)
    refused = msgspec.structs.replace(SPAN, status=424, model_status=500, span_id=b"4" * 8)
    rig.exporter.take([SPAN, broken, left, refused])
    await rig.finish(rig.exporter.send_spans())
    (request,) = collector.traces
    (resource,) = request.resource_spans
    assert attributes(resource.resource) == {"service.name": "clary", "service.version": "1.2.3"}
    span = collector.spans[0]
    assert (span.trace_id, span.span_id, span.parent_span_id) == (b"t" * 16, b"s" * 8, b"p" * 8)
    assert (span.trace_state, span.name, span.kind) == ("vendor=1", "InvokeEndpoint", span.SPAN_KIND_SERVER)
    assert span.end_time_unix_nano - span.start_time_unix_nano == 1_500_000
    assert span.start_time_unix_nano == NOW_US * 1000
    assert attributes(span) == {
        **NAMED,
        "http.request.method": "POST",
        "http.route": "/endpoints/{name}/invocations",
        "http.response.status_code": 200,
        "aws.request_id": "id",
        "clary.replica": "r1",
        "clary.model.duration_us": 900,
        "clary.model.status_code": 200,
    }
    ok, error = span.status.STATUS_CODE_UNSET, span.status.STATUS_CODE_ERROR
    assert [one.status.code for one in collector.spans] == [ok, error, ok, error]
    assert collector.spans[1].name == "InvokeEndpointWithResponseStream"
    assert not {"clary.replica", "http.response.status_code", "clary.model.duration_us"} & set(
        attributes(collector.spans[2])
    )
    assert collector.headers[0]["api-key"] == "k"


async def test_totals_grow_from_export_to_export(rig: Rig, collector: Collector) -> None:
    rig.count()
    subject = Subject(1, "r1", "1", "r", ENDPOINTS, ((("EndpointName", "Churn"), ("VariantName", "A")),), "u")
    rig.totals.use([Usage(subject, 5, {"CPUUtilization": 150.0})], ["r1"])
    await rig.finish(rig.exporter.send_metrics())
    await rig.clock.advance(60)
    rig.count()
    await rig.finish(rig.exporter.send_metrics())
    blue = {**NAMED, "aws.sagemaker.endpoint_config.name": "blue"}
    for request, count in ((0, 2), (1, 4)):
        invocations = collector.metric("clary.invocations", request)
        (point,) = invocations.sum.data_points
        assert (point.as_int, attributes(point)) == (count, blue)
        assert point.start_time_unix_nano == NOW_US * 1000
        assert invocations.sum.is_monotonic
        assert invocations.sum.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
        errors = collector.metric("clary.invocation.errors", request).sum.data_points
        assert {attributes(p)["error.type"]: p.as_int for p in errors} == {
            "4xx": count / 2,
            "5xx": 0,
            "model": count / 2,
        }
        (latency,) = collector.metric("clary.model.duration", request).histogram.data_points
        assert (latency.count, latency.sum) == (count, pytest.approx(0.006 * count))
        assert tuple(latency.explicit_bounds) == BOUNDS_S
        assert sum(latency.bucket_counts) == count
    (active,) = collector.metric("clary.requests.active").gauge.data_points
    assert active.as_int == 3
    (used,) = collector.metric("clary.replica.cpu.utilization").gauge.data_points
    assert (used.as_double, attributes(used)) == (1.5, {**NAMED, "clary.replica": "r1"})


async def test_deltas_tell_of_what_came_since_and_lose_nothing_that_failed(collector: Collector) -> None:
    rig = Rig(collector, delta=True, gzip=True)
    rig.count()
    await rig.finish(rig.exporter.send_metrics())
    rig.count()
    collector.statuses = [400]
    await rig.clock.advance(10)
    await rig.finish(rig.exporter.send_metrics())
    rig.count()
    await rig.clock.advance(10)
    rig.totals.lose(deltas=7)
    await rig.finish(rig.exporter.send_metrics())
    first, second = (collector.metric("clary.invocations", n).sum for n in (0, 1))
    assert first.aggregation_temporality == AGGREGATION_TEMPORALITY_DELTA
    assert [first.data_points[0].as_int, second.data_points[0].as_int] == [2, 4]
    assert second.data_points[0].start_time_unix_nano == first.data_points[0].time_unix_nano
    (latency,) = collector.metric("clary.model.duration").histogram.data_points
    assert (latency.count, sum(latency.bucket_counts)) == (4, 4)
    assert collector.metric("clary.metrics.lost").sum.data_points[0].as_int == 7
    assert collector.headers[0]["content-encoding"] == "gzip"
    await rig.exporter._farewell()


async def test_a_fleet_that_was_forgotten_begins_anew(collector: Collector) -> None:
    rig = Rig(collector, delta=True)
    for _ in range(3):
        rig.count()
    await rig.finish(rig.exporter.send_metrics())
    await rig.clock.advance(700)
    rig.totals.view(rig.clock.now_us())
    rig.count()
    await rig.finish(rig.exporter.send_metrics())
    (point,) = collector.metric("clary.invocations").sum.data_points
    assert point.as_int == 2
    await rig.exporter._farewell()


async def test_what_may_be_tried_again_is(rig: Rig, collector: Collector) -> None:
    collector.statuses = [503, 429]
    rig.exporter.take([SPAN])
    await rig.finish(rig.exporter.send_spans())
    assert (len(collector.spans), len(collector.headers), rig.draws) == (1, 3, 2)
    assert rig.totals.view(NOW_US).losses.spans == 0


async def test_what_may_not_or_fails_again_and_again_is_dropped_counted_and_logged_once(
    rig: Rig, collector: Collector, logs: list[dict[str, object]]
) -> None:
    collector.statuses = [400] + [503] * TRIES_MAX
    for _ in range(2):
        rig.exporter.take([SPAN])
        await rig.finish(rig.exporter.send_spans())
    assert (collector.spans, len(collector.headers)) == ([], 1 + TRIES_MAX)
    assert rig.totals.view(NOW_US).losses.spans == 2
    rig.exporter.take([SPAN])
    await rig.finish(rig.exporter.send_spans())
    assert len(collector.spans) == 1
    assert [log["event"] for log in logs] == [
        "telemetry could not be exported; it is dropped until that works again",
        "telemetry is exported again",
    ]


async def test_a_collector_that_is_away_fills_no_memory(collector: Collector) -> None:
    rig = Rig(collector)
    rig.exporter.take([SPAN] * (SPANS_WAITING_MAX + 5))
    assert rig.totals.view(NOW_US).losses.spans == 5
    await rig.finish(rig.exporter.send_spans())
    assert len(collector.spans) == SPANS_WAITING_MAX
    await rig.exporter._farewell()


async def test_what_is_left_is_sent_at_the_end(collector: Collector) -> None:
    rig = Rig(collector)
    running = asyncio.create_task(rig.exporter.run())
    await rig.clock.advance(1.0)
    rig.exporter.take([SPAN])
    rig.count()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (len(collector.spans), len(collector.metrics)) == (1, 1)
