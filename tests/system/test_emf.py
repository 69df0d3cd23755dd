"""Embedded metrics through a real server: the published library's lines, plain lines, put events, training jobs."""

from __future__ import annotations

import json
import textwrap
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.model import pack
from tests.support.server import Server, wait_until
from tests.support.training import ended, fill, packed, script_request

SKLEARN = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
CLASSIFIER = """
import json, os, time
from aws_embedded_metrics import metric_scope
from aws_embedded_metrics.config import get_config

get_config().namespace = "classifier_emf"

@metric_scope
def put_count(name, count, metrics):
    metrics.put_metric(name, count, "Count")

def model_fn(model_dir):
    return None

def input_fn(body, content_type):
    return body if isinstance(body, str) else body.decode()

def predict_fn(text, model):
    put_count("input.num_chars", len(text))
    directive = {"Namespace": "Plain", "Dimensions": [["Language"]], "Metrics": [{"Name": "words", "Unit": "Count"}]}
    told = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]}
    print(json.dumps({"_aws": told, "Language": "en", "words": len(text.split())}))
    return text.upper()

def output_fn(text, accept):
    return text
"""


def sums(server: Server, namespace: str, metric: str, dimensions: dict[str, str]) -> tuple[float, float]:
    """Sum and count of all points."""
    now = datetime.now(UTC)
    answer = server.client("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=metric,
        Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1),
        Period=3600,
        Statistics=["Sum", "SampleCount"],
    )
    points = answer["Datapoints"]
    return sum(point["Sum"] for point in points), sum(point["SampleCount"] for point in points)


@pytest.fixture(scope="module")
def classifier(server: Server) -> Server:
    archive = pack({"code/inference.py": textwrap.dedent(CLASSIFIER).encode()})
    server.host("classifier", archive, image=SKLEARN)
    return server


def ask(server: Server, text: str) -> None:
    runtime = server.client("sagemaker-runtime")
    runtime.invoke_endpoint(EndpointName="classifier", Body=text, ContentType="text/plain", Accept="text/plain")


OF_ENDPOINT = {
    "LogGroup": "/aws/sagemaker/Endpoints/classifier",
    "ServiceName": "classifier",
    "ServiceType": "AWS::SageMaker::Endpoint",
}


def test_what_the_library_and_a_script_print_become_metrics(classifier: Server) -> None:
    for text in ("four", "two words"):
        ask(classifier, text)
    wait_until(lambda: sums(classifier, "Plain", "words", {"Language": "en"}) == (3, 2), "the plain lines' metric")
    assert sums(classifier, "classifier_emf", "input.num_chars", OF_ENDPOINT) == (13, 2)


def test_killing_control_loses_nothing_and_counts_nothing_twice(classifier: Server) -> None:
    next(one for one in classifier.family() if "clary.assembly" in " ".join(one.cmdline())).kill()
    # Routers and replicas go on without control; what is printed meanwhile waits in the log.
    ask(classifier, "abc")
    wait_until(classifier.healthy, "control is back")
    wait_until(lambda: sums(classifier, "classifier_emf", "input.num_chars", OF_ENDPOINT)[1] > 2, "the metric")
    assert sums(classifier, "classifier_emf", "input.num_chars", OF_ENDPOINT) == (16, 3)


def test_events_that_are_put_become_metrics(server: Server) -> None:
    logs = server.client("logs")
    logs.create_log_group(logGroupName="/mine")
    logs.create_log_stream(logGroupName="/mine", logStreamName="s")
    now_ms = round(time.time() * 1000)
    directive = {"Namespace": "Mine", "Dimensions": [[]], "Metrics": [{"Name": "rows"}]}
    message: dict[str, Any] = {
        "_aws": {"Timestamp": now_ms, "CloudWatchMetrics": [directive]},
        "rows": [1, 2, 3.5],
        "note": "a\nb",
    }
    events = [{"timestamp": now_ms, "message": text} for text in ("plain", json.dumps(message))]
    logs.put_log_events(logGroupName="/mine", logStreamName="s", logEvents=events)
    wait_until(lambda: sums(server, "Mine", "rows", {}) == (6.5, 3), "the metric")


def test_what_a_training_job_prints_becomes_metrics(server: Server) -> None:
    s3 = fill(server, "emf")
    code = """
    import json, os, time
    from aws_embedded_metrics import metric_scope
    @metric_scope
    def told(metrics):
        metrics.set_namespace("Training")
        metrics.put_metric("accuracy", 0.75, "None")
    told()
    open(os.path.join(os.environ["SM_MODEL_DIR"], "m"), "w").write("x")
    """
    s3.put_object(Bucket="emf", Key="code.tar.gz", Body=packed({"train.py": textwrap.dedent(code)}))
    sagemaker = server.client("sagemaker")
    sagemaker.create_training_job(**script_request("told", "emf", "code.tar.gz", {}))
    assert ended(sagemaker, "told")["TrainingJobStatus"] == "Completed"
    dimensions = {
        "LogGroup": "/aws/sagemaker/TrainingJobs",
        "ServiceName": "told",
        "ServiceType": "AWS::SageMaker::TrainingJob",
    }
    wait_until(lambda: sums(server, "Training", "accuracy", dimensions) == (0.75, 1), "the metric")
