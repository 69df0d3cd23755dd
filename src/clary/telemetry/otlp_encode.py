"""Spans and totals as messages of the OpenTelemetry Protocol (opentelemetry-proto, package `otel` of Clary's extras).

Names: `aws.sagemaker.endpoint.name` and its likes are those of SageMaker's own OpenTelemetry metrics (developer guide,
"OpenTelemetry metrics reference"), `http.*` those of OpenTelemetry's semantic conventions; what is Clary's begins so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    AGGREGATION_TEMPORALITY_DELTA,
    AggregationTemporality,
    Gauge,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Histogram as HistogramMessage
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Status

from clary.kit.clock import MICROS
from clary.telemetry.delta import Span
from clary.telemetry.totals import BOUNDS_S, FleetKey, FleetTotals, Histogram, View
from clary.telemetry.utilization import ENDPOINTS, Usage

Value = str | int
_NAME = "clary"


def traces(spans: Iterable[Span], resource: Mapping[str, str], version: str) -> bytes:
    """An ExportTraceServiceRequest."""
    scope = ScopeSpans(scope=InstrumentationScope(name=_NAME, version=version), spans=map(_span, spans))
    message = ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=_resource(resource), scope_spans=[scope])]
    )
    body: bytes = message.SerializeToString()
    return body


def metrics(view: View, before: View | None, since_us: int, resource: Mapping[str, str], version: str) -> bytes:
    """An ExportMetricsServiceRequest. `before`: the view of the last export where only what came since is told (None
    for the first one); `since_us`: when that was, or, where everything is told, when counting began."""
    found = [*_fleets(view, before, since_us), *_used(view), *_lost(view, before, since_us)]
    scope = ScopeMetrics(scope=InstrumentationScope(name=_NAME, version=version), metrics=found)
    message = ExportMetricsServiceRequest(
        resource_metrics=[ResourceMetrics(resource=_resource(resource), scope_metrics=[scope])]
    )
    body: bytes = message.SerializeToString()
    return body


def _span(span: Span) -> trace_pb2.Span:
    operation = "InvokeEndpointWithResponseStream" if span.stream else "InvokeEndpoint"
    suffix = "-response-stream" if span.stream else ""
    attributes: dict[str, Value] = {
        "http.request.method": "POST",
        "http.route": f"/endpoints/{{name}}/invocations{suffix}",
        "aws.request_id": span.request_id,
        "aws.sagemaker.endpoint.name": span.endpoint,
        "aws.sagemaker.variant.name": span.variant,
        "cloud.account.id": span.account,
        "cloud.region": span.region,
    }
    if span.status:
        attributes["http.response.status_code"] = span.status
    if span.replica:
        attributes["clary.replica"] = span.replica
    if span.model_us >= 0:
        attributes["clary.model.duration_us"] = span.model_us
    if span.model_status:
        attributes["clary.model.status_code"] = span.model_status
    failed = span.status >= 400 or (span.stream and span.status == 200 and span.model_status == 0)
    return trace_pb2.Span(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_id,
        trace_state=span.state,
        flags=1 | trace_pb2.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK | trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK,
        name=operation,
        kind=trace_pb2.Span.SPAN_KIND_SERVER,
        start_time_unix_nano=span.start_us * 1000,
        end_time_unix_nano=span.end_us * 1000,
        attributes=_attributes(attributes),
        status=Status(code=Status.STATUS_CODE_ERROR) if failed else None,
    )


def _fleets(view: View, before: View | None, since_us: int) -> Iterable[Metric]:
    counters: tuple[tuple[str, str, str, Callable[[FleetTotals], int], str], ...] = (
        ("clary.invocations", "Finished invocations.", "{invocation}", lambda t: t.invocations, ""),
        ("clary.invocation.errors", "By what went wrong.", "{invocation}", lambda t: t.errors_4xx, "4xx"),
        ("clary.invocation.errors", "By what went wrong.", "{invocation}", lambda t: t.errors_5xx, "5xx"),
        ("clary.invocation.errors", "By what went wrong.", "{invocation}", lambda t: t.errors_model, "model"),
        ("clary.streams", "Ended streams of which a part was given.", "{stream}", lambda t: t.streams, ""),
        ("clary.streams.broken", "Those of them that broke off.", "{stream}", lambda t: t.streams_broken, ""),
    )
    sums: dict[str, Metric] = {}
    for name, text, unit, of, kind in counters:
        if name not in sums:
            sums[name] = Metric(name=name, description=text, unit=unit, sum=_sum(before is not None))
        for key, totals in view.fleets.items():
            old = _old(before, key, totals)
            sums[name].sum.data_points.append(
                NumberDataPoint(
                    attributes=_attributes({**_of(key), **({"error.type": kind} if kind else {})}),
                    start_time_unix_nano=_start_us(old, totals, since_us) * 1000,
                    time_unix_nano=view.now_us * 1000,
                    as_int=of(totals) - (of(old) if old else 0),
                )
            )
    yield from sums.values()
    histograms: tuple[tuple[str, str, Callable[[FleetTotals], Histogram]], ...] = (
        ("clary.model.duration", "From handing a request to the model to its last byte.", lambda t: t.model),
        ("clary.overhead.duration", "The whole time of an invocation less the model's.", lambda t: t.overhead),
        ("clary.first_chunk.duration", "From a streamed request to the first part.", lambda t: t.first_chunk),
    )
    for name, text, part in histograms:
        points = []
        for key, totals in view.fleets.items():
            old = _old(before, key, totals)
            points.append(
                _histogram(part(totals), part(old) if old else Histogram(), key, _start_us(old, totals, since_us), view)
            )
        message = HistogramMessage(data_points=points, aggregation_temporality=_temporality(before is not None))
        yield Metric(name=name, description=text, unit="s", histogram=message)
    concurrent = [
        NumberDataPoint(
            attributes=_attributes(_of(key)), time_unix_nano=view.now_us * 1000, as_int=totals.concurrency(view.now_us)
        )
        for key, totals in view.fleets.items()
    ]
    text = "Requests at the model or waiting for it."
    yield Metric(name="clary.requests.active", description=text, unit="{request}", gauge=Gauge(data_points=concurrent))


def _histogram(found: Histogram, old: Histogram, key: FleetKey, start_us: int, view: View) -> HistogramDataPoint:
    return HistogramDataPoint(
        attributes=_attributes(_of(key)),
        start_time_unix_nano=start_us * 1000,
        time_unix_nano=view.now_us * 1000,
        count=found.count - old.count,
        sum=(found.sum_us - old.sum_us) / MICROS,
        bucket_counts=[count - before for count, before in zip(found.buckets, old.buckets, strict=True)],
        explicit_bounds=BOUNDS_S,
    )


def _used(view: View) -> Iterable[Metric]:
    names = {"CPUUtilization": "cpu", "MemoryUtilization": "memory", "DiskUtilization": "disk"}
    points: dict[str, list[NumberDataPoint]] = {}
    for usage in view.usage:
        whose, attributes = _whose(usage)
        for metric, percent in usage.percent.items():
            points.setdefault(f"clary.{whose}.{names[metric]}.utilization", []).append(
                NumberDataPoint(
                    attributes=_attributes(attributes), time_unix_nano=usage.at_s * 10**9, as_double=percent / 100
                )
            )
    for name, found in sorted(points.items()):
        text = "A share of the machine; of processors, 1 is one core."
        yield Metric(name=name, description=text, unit="1", gauge=Gauge(data_points=found))


def _whose(usage: Usage) -> tuple[str, dict[str, Value]]:
    subject = usage.subject
    named = dict(subject.dimensions[0])
    common: dict[str, Value] = {"cloud.account.id": subject.account, "cloud.region": subject.region}
    if subject.namespace != ENDPOINTS:
        return "training", {**common, "aws.sagemaker.training_job.name": named["Host"].rpartition("/")[0]}
    return "replica", {
        **common,
        "aws.sagemaker.endpoint.name": named["EndpointName"],
        "aws.sagemaker.variant.name": named["VariantName"],
        "clary.replica": subject.uid,
    }


def _lost(view: View, before: View | None, since_us: int) -> Iterable[Metric]:
    for name, text, value, old in (
        (
            "clary.metrics.lost",
            "Seconds of routers that never arrived.",
            view.losses.deltas,
            before and before.losses.deltas,
        ),
        ("clary.samples.refused", "Samples beyond limits.", view.losses.samples, before and before.losses.samples),
        (
            "clary.points.dropped",
            "Points deleted before their time.",
            view.losses.points,
            before and before.losses.points,
        ),
        ("clary.spans.lost", "Traced invocations not kept.", view.losses.spans, before and before.losses.spans),
    ):
        message = _sum(before is not None)
        message.data_points.append(
            NumberDataPoint(
                start_time_unix_nano=since_us * 1000, time_unix_nano=view.now_us * 1000, as_int=value - (old or 0)
            )
        )
        yield Metric(name=name, description=text, unit="1", sum=message)


def _sum(delta: bool) -> Sum:
    return Sum(is_monotonic=True, aggregation_temporality=_temporality(delta))


def _temporality(delta: bool) -> AggregationTemporality.ValueType:
    return AGGREGATION_TEMPORALITY_DELTA if delta else AGGREGATION_TEMPORALITY_CUMULATIVE


def _old(before: View | None, key: FleetKey, totals: FleetTotals) -> FleetTotals | None:
    """What was told of a fleet; nothing where it was forgotten meanwhile and counts anew."""
    old = before.fleets.get(key) if before else None
    return old if old is not None and old.since_us == totals.since_us else None


def _start_us(old: FleetTotals | None, totals: FleetTotals, since_us: int) -> int:
    return since_us if old else totals.since_us


def _of(key: FleetKey) -> dict[str, Value]:
    return {
        "cloud.account.id": key.account,
        "cloud.region": key.region,
        "aws.sagemaker.endpoint.name": key.endpoint,
        "aws.sagemaker.variant.name": key.variant,
        "aws.sagemaker.endpoint_config.name": key.config,
    }


def _resource(attributes: Mapping[str, str]) -> Resource:
    return Resource(attributes=_attributes(attributes))


def _attributes(values: Mapping[str, Value]) -> list[KeyValue]:
    return [
        KeyValue(key=key, value=AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value))
        for key, value in values.items()
    ]
