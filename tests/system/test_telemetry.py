"""What a server tells of itself, by all the ways at once: CloudWatch, Prometheus, and OpenTelemetry to a collector."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from clary.edge.prometheus import token_of
from tests.support.otlp import Collector, attributes, collecting
from tests.support.server import ROLE, Server, wait_until
from tests.support.training import ended, fill, packed, script_request

SCRIPT = Path(__file__).parents[1] / "support" / "own_server.py"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Server]:
    """With authentication, and with one endpoint whose model says what it was sent."""
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_SERVICE_NAME": "models",
    }
    with Server(tmp_path_factory.mktemp("home"), "--auth", "sigv4", environ=environ) as running:
        host(running)
        yield running


def host(server: Server) -> None:
    argv = [sys.executable, "-m", "clary.cli.main", "images", "add", "own", "--command", f"{sys.executable} {SCRIPT}"]
    done = subprocess.run([*argv, "--json", "--home", str(server.home)], capture_output=True, text=True, check=True)
    sagemaker = server.client("sagemaker")
    image = {"Image": json.loads(done.stdout)["uri"]}
    sagemaker.create_model(ModelName="own", ExecutionRoleArn=ROLE, PrimaryContainer=image)
    configure(sagemaker, "blue")
    sagemaker.create_endpoint(EndpointName="own", EndpointConfigName="blue")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="own")


def configure(sagemaker: Any, name: str) -> None:
    sagemaker.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[
            {"VariantName": "v", "ModelName": "own", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
        ],
        MetricsConfig={"EnableEnhancedMetrics": True, "MetricPublishFrequencyInSeconds": 10},
    )


def invoke(server: Server, headers: dict[str, str], stream: bool = False) -> Any:
    """One invocation with headers of a tracer's, as an instrumented client adds them."""
    runtime = server.client("sagemaker-runtime", retries={"total_max_attempts": 1})

    def add(request: Any, **_: object) -> None:
        for name, value in headers.items():
            request.headers.add_header(name, value)

    runtime.meta.events.register("before-sign.sagemaker-runtime.*", add)
    if stream:
        events = runtime.invoke_endpoint_with_response_stream(EndpointName="own", Body=b"stream")["Body"]
        return b"".join(event["PayloadPart"]["Bytes"] for event in events)
    return json.loads(runtime.invoke_endpoint(EndpointName="own", Body=b"?")["Body"].read())


def test_a_trace_goes_through_to_the_model_and_to_the_collector(server: Server, collector: Collector) -> None:
    root = "Root=1-67891233-abcdef012345678912345678"
    seen = invoke(server, {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "a=1", "X-Amzn-Trace-Id": root})
    told = {name.lower(): value for name, value in seen["headers"].items()}
    (span,) = wait_until(lambda: collector.spans, "the span is exported")
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert told["traceparent"] == f"00-{TRACE}-{span.span_id.hex()}-01"
    assert (told["tracestate"], told["x-amzn-trace-id"]) == ("a=1", root)
    named = attributes(span)
    assert (named["aws.sagemaker.endpoint.name"], named["http.response.status_code"]) == ("own", 200)
    assert 0 < named["clary.model.duration_us"] * 1000 <= span.end_time_unix_nano - span.start_time_unix_nano
    (resource,) = collector.traces[0].resource_spans
    assert attributes(resource.resource)["service.name"] == "models"
    unsampled = f"00-{TRACE}-{PARENT}-00"
    seen = invoke(server, {"traceparent": unsampled})
    assert {name.lower(): value for name, value in seen["headers"].items()}["traceparent"] == unsampled


def test_counters_are_the_same_at_every_door(server: Server, collector: Collector) -> None:
    assert invoke(server, {}, stream=True) == b"one two three"
    token = token_of(*credentials(server))

    def scraped() -> dict[str, float]:
        request = urllib.request.Request(f"{server.url}/metrics", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
        return {s.name: s.value for f in families for s in f.samples if s.labels.get("config", "blue") == "blue"}

    wait_until(lambda: scraped().get("clary_invocations_total") == 3, "Prometheus sees three invocations")
    found = scraped()
    assert found["clary_streams_total"] == 1
    assert found["clary_first_chunk_latency_seconds_count"] == 1
    assert found["clary_model_latency_seconds_count"] == 3
    assert found["clary_replicas"] == 1

    def exported() -> bool:
        metric = collector.metric("clary.invocations")
        return bool(metric and metric.sum.data_points and metric.sum.data_points[0].as_int == 3)

    wait_until(exported, "the collector gets three invocations")
    assert sum(values(server, "AWS/SageMaker", "Invocations", "Sum", EndpointConfigName="blue")) == 3
    assert sum(values(server, "AWS/SageMaker", "FirstChunkLatency", "SampleCount")) == 1
    assert sum(values(server, "AWS/SageMaker", "MidStreamErrors", "Sum")) == 0
    (instance,) = instances(server, "AWS/SageMaker", "Invocations")
    assert sum(values(server, "AWS/SageMaker", "Invocations", "Sum", InstanceId=instance)) == 3


def test_a_new_fleet_is_counted_by_its_own_configuration(server: Server) -> None:
    sagemaker = server.client("sagemaker")
    configure(sagemaker, "green")
    sagemaker.update_endpoint(EndpointName="own", EndpointConfigName="green")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="own")
    invoke(server, {})

    def counted(**more: str) -> float:
        # Over whatever minutes they came in.
        return sum(values(server, "AWS/SageMaker", "Invocations", "Sum", **more))

    wait_until(lambda: counted(EndpointConfigName="green") == 1, "the new fleet's invocation is counted")
    assert (counted(EndpointConfigName="blue"), counted()) == (3, 4)


def test_the_use_of_the_machine_is_measured(server: Server) -> None:
    used = wait_until(
        lambda: values(server, "/aws/sagemaker/Endpoints", "MemoryUtilization", "Maximum"), "memory is measured"
    )
    assert 0 < used[0] < 100
    assert instances(server, "/aws/sagemaker/Endpoints", "DiskUtilization")


def test_the_page_for_prometheus_is_closed_to_others(server: Server) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{server.url}/metrics")


@pytest.mark.slow
def test_a_training_is_measured_while_it_runs(server: Server) -> None:
    busy = "import time\nend = time.time() + 60\nwhile time.time() < end: pass\n"
    s3, sagemaker = fill(server, "train"), server.client("sagemaker")
    s3.put_object(Bucket="train", Key="code.tar.gz", Body=packed({"train.py": busy}))
    sagemaker.create_training_job(**script_request("busy", "train", "code.tar.gz", {}))

    def used(metric: str) -> list[float]:
        return values(server, "/aws/sagemaker/TrainingJobs", metric, "Maximum", of={"Host": "busy/algo-1"})

    assert wait_until(lambda: used("CPUUtilization"), "a training's processor time", 50)[0] > 20
    assert used("MemoryUtilization")[0] > 0
    sagemaker.stop_training_job(TrainingJobName="busy")
    ended(sagemaker, "busy")


def credentials(server: Server) -> tuple[str, str]:
    key = json.loads((server.home / "secrets" / "root.json").read_text())
    return key["key_id"], key["secret"]


def instances(server: Server, namespace: str, metric: str) -> list[str]:
    """InstanceIds under which a metric of the endpoint is listed."""
    listed = server.client("cloudwatch").list_metrics(Namespace=namespace, MetricName=metric)["Metrics"]
    return [d["Value"] for one in listed for d in one["Dimensions"] if d["Name"] == "InstanceId"]


def values(
    server: Server, namespace: str, metric: str, statistic: str, of: dict[str, str] | None = None, **more: str
) -> list[float]:
    """One statistic over the last hour, of the endpoint's metric with these further dimensions, or `of` others."""
    now = datetime.now(UTC)
    named = of or {"EndpointName": "own", "VariantName": "v", **more}
    answer = server.client("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=metric,
        Dimensions=[{"Name": name, "Value": value} for name, value in named.items()],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(minutes=1),
        Period=3600,
        Statistics=[statistic],
    )
    return [point[statistic] for point in answer["Datapoints"]]
