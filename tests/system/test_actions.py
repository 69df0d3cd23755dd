"""Actions of a real server: called by alarms, by hand, by topics and rules; killed and tried again."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from clary.cli.main import main
from tests.support.server import ROLE, Server, wait_until

ARN = "arn:aws:lambda:us-east-1:123456789012:function:"


@pytest.fixture
def clary(server: Server, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*argv: str, status: int = 0) -> Any:
        capsys.readouterr()
        assert main(["actions", *argv, "--url", server.url, "--home", str(server.home), "--json"]) == status
        out = capsys.readouterr().out
        return json.loads(out) if out else None

    return run


def python(script: str, *words: object) -> str:
    """A command line that runs a script."""
    return shlex.join([sys.executable, "-c", script, *map(str, words)])


WRITE = (
    "import json, os, sys; open(sys.argv[1], 'a').write(json.dumps([json.load(sys.stdin), dict(os.environ)]) + '\\n')"
)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_command_is_tried_and_told_nothing_of_the_server(server: Server, clary: Any, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    made = clary("add", "note", "--command", python(WRITE + "; print('noted')", seen), "--role", ROLE)
    assert (made["function_arn"], made["topic_arn"]) == (f"{ARN}note", "arn:aws:sns:us-east-1:123456789012:note")
    run = clary("test", "note")
    assert (run["outcome"], run["output"], run["attempt"]) == ("succeeded", "noted\n", 1)
    ((event, environment),) = lines(seen)
    assert set(event) == {"source", "alarmArn", "accountId", "time", "region", "alarmData"}
    assert environment["CLARY_EVENT_ID"] == run["event_id"]
    assert (environment["AWS_ENDPOINT_URL"], environment["AWS_REGION"]) == (server.url, "us-east-1")
    assert environment["AWS_SESSION_TOKEN"]
    assert not [
        name for name in environment if name.startswith("CLARY_") and name[6:] not in ("ACTION", "EVENT_ID", "ATTEMPT")
    ]
    assert [one["name"] for one in clary("list")["actions"]] == ["note"]
    clary("add", "note", "--command", "true", status=5)
    assert clary("remove", "note") == {"removed": "note"}
    clary("runs", "note", status=4)


def test_what_fails_hangs_or_is_not_there_is_said(clary: Any) -> None:
    clary("add", "fails", "--command", "sh -c 'echo no >&2; exit 3'")
    assert clary("test", "fails", status=7)["reason"] == "It exited with status 3."
    clary("add", "hangs", "--timeout", "1s", "--command", "sh -c 'sleep 77 & echo began; sleep 77'")
    hung = clary("test", "hangs", status=7)
    assert (hung["reason"], hung["output"]) == ("It was killed: it ran for more than 1 s.", "began\n")
    clary("add", "nowhere", "--command", "no-such-program")
    assert "no-such-program: No such file" in clary("test", "nowhere", status=7)["output"]
    clary("add", "relative", "--command", "x", "--webhook", "http://127.0.0.1:1/", status=2)
    clary("add", "scheme", "--webhook", "file:///etc/passwd", status=5)


def test_an_alarm_calls_its_action_and_its_history_tells(server: Server, clary: Any, tmp_path: Path) -> None:
    seen, client = tmp_path / "seen", server.client("cloudwatch")
    clary("add", "told", "--command", python(WRITE, seen))
    sns = "arn:aws:sns:us-east-1:123456789012:told"
    client.put_metric_alarm(
        AlarmName="low", Namespace="Models", MetricName="Accuracy", Statistic="Average", Period=60, Threshold=0.9,
        EvaluationPeriods=1, ComparisonOperator="LessThanThreshold", TreatMissingData="ignore",
        AlarmActions=[f"{ARN}told", sns], OKActions=[f"{ARN}nobody"],
    )  # fmt: skip
    client.set_alarm_state(AlarmName="low", StateValue="ALARM", StateReason="a drill")
    wait_until(lambda: len(lines(seen)) == 2, "both calls")
    by_source = {event.get("source", "sns"): event for event, _ in lines(seen)}
    assert by_source["aws.cloudwatch"]["alarmData"]["state"]["value"] == "ALARM"
    (told,) = by_source["sns"]["Records"]
    assert told["Sns"]["TopicArn"] == sns
    assert told["Sns"]["Subject"] == 'ALARM: "low" in us-east-1'
    assert json.loads(told["Sns"]["Message"])["AlarmName"] == "low"
    client.set_alarm_state(AlarmName="low", StateValue="OK", StateReason="over")

    def history() -> list[str]:
        items = client.describe_alarm_history(AlarmName="low", HistoryItemType="Action")["AlarmHistoryItems"]
        return [item["HistorySummary"] for item in items]

    wait_until(lambda: len(history()) == 3, "a history of actions")
    assert f"Successfully executed action {ARN}told" in history()
    assert f"Successfully executed action {sns}" in history()
    assert history()[0].startswith(f"Failed to execute action {ARN}nobody. Received error: ")


def test_a_killed_control_makes_the_call_again(server: Server, clary: Any, tmp_path: Path) -> None:
    begun, done = tmp_path / "begun", tmp_path / "done"
    script = (
        "import os, sys, time\n"
        "open(sys.argv[1], 'a').write(os.environ['CLARY_EVENT_ID'] + ' ' + os.environ['CLARY_ATTEMPT'] + '\\n')\n"
        "time.sleep(60 if os.environ['CLARY_ATTEMPT'] == '1' else 0)\n"
        "open(sys.argv[2], 'w')\n"
    )
    clary("add", "slow", "--command", python(script, begun, done))
    cloudwatch = server.client("cloudwatch")
    cloudwatch.put_composite_alarm(AlarmName="any", AlarmRule="FALSE", AlarmActions=[f"{ARN}slow"])
    cloudwatch.set_alarm_state(AlarmName="any", StateValue="ALARM", StateReason="a drill")
    wait_until(begun.exists, "it runs")
    old = server.pid_of("clary.assembly")
    os.kill(old, signal.SIGKILL)
    wait_until(done.exists, "it runs again")
    first, second = begun.read_text().split("\n")[:2]
    assert (first.split()[0], first.split()[1], second.split()[1]) == (second.split()[0], "1", "2")
    wait_until(server.healthy, "control is back")
    wait_until(lambda: [run["outcome"] for run in clary("runs", "slow")["runs"]] == ["succeeded", "lost"], "its record")
    assert not list((server.home / "run" / "actions").iterdir())


RETRAIN = """
import json, sys, boto3
event = json.load(sys.stdin)
assert event["alarmData"]["state"]["value"] == "ALARM"
boto3.client("sagemaker").create_training_job(**json.loads(sys.argv[1]))
"""


def test_an_accuracy_alarm_starts_a_training_job(server: Server, clary: Any, tmp_path: Path) -> None:
    seen, events = tmp_path / "seen", server.client("events")
    clary("add", "trained", "--command", python(WRITE, seen))
    pattern = {"source": ["aws.sagemaker"], "detail": {"TrainingJobStatus": ["Completed"]}}
    events.put_rule(Name="trained", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="trained", Targets=[{"Id": "a", "Arn": f"{ARN}trained"}])
    s3 = server.client("s3")
    s3.create_bucket(Bucket="again")
    rows = "".join(f"{i % 2},{i},{i % 7}\n" for i in range(50))
    s3.put_object(Bucket="again", Key="train/rows.csv", Body=rows)
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://again/train/", "S3DataDistributionType": "FullyReplicated"}
    job = {
        "TrainingJobName": "tweets-again",
        "RoleArn": ROLE,
        "AlgorithmSpecification": {
            "TrainingImage": "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1",
            "TrainingInputMode": "File",
        },
        "HyperParameters": {"objective": "binary:logistic", "num_round": "2"},
        "InputDataConfig": [
            {"ChannelName": "train", "ContentType": "text/csv", "DataSource": {"S3DataSource": source}}
        ],
        "OutputDataConfig": {"S3OutputPath": "s3://again/out/"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 600},
    }
    clary("add", "train-again", "--role", ROLE, "--command", python(RETRAIN, json.dumps(job)))
    cloudwatch = server.client("cloudwatch")
    at = datetime.fromtimestamp((time.time() - 2) // 10 * 10 - 5, UTC)
    dimensions = [{"Name": "Endpoint", "Value": "tweets"}]
    datum = {"MetricName": "Accuracy", "Dimensions": dimensions, "Timestamp": at, "Value": 0.71, "StorageResolution": 1}
    cloudwatch.put_metric_data(Namespace="Models", MetricData=[datum])
    cloudwatch.put_metric_alarm(
        AlarmName="accuracy-fell", Namespace="Models", MetricName="Accuracy", Dimensions=dimensions,
        Statistic="Average", Period=10, EvaluationPeriods=1, Threshold=0.9, TreatMissingData="ignore",
        ComparisonOperator="LessThanThreshold", AlarmActions=[f"{ARN}train-again"],
    )  # fmt: skip
    runs = wait_until(
        lambda: [run for run in clary("runs", "train-again")["runs"] if run["ended"]], "the alarm calls it"
    )
    assert (runs[0]["outcome"], runs[0]["output"]) == ("succeeded", "")
    sagemaker = server.client("sagemaker")
    wait_until(
        lambda: sagemaker.describe_training_job(TrainingJobName="tweets-again")["TrainingJobStatus"] == "Completed",
        "the job",
        60,
    )
    ((event, _),) = wait_until(lambda: lines(seen), "the end of the job is told")
    assert event["detail-type"] == "SageMaker Training Job State Change"
    assert event["detail"]["ModelArtifacts"]["S3ModelArtifacts"].startswith("s3://again/out/tweets-again/")


def test_a_webhook_is_posted_to_and_redirects_are_not_followed(server: Server, clary: Any) -> None:
    told: list[tuple[str, dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(302 if self.path == "/away" else 200)
            self.send_header("location", "/hook")
            self.end_headers()
            self.wfile.write(b"thanks")

        def log_message(self, *_: object) -> None:
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=served.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{served.server_address[1]}"
        clary("add", "hook", "--webhook", f"{url}/hook")
        run = clary("test", "hook")
        assert (run["outcome"], run["output"]) == ("succeeded", "thanks")
        ((path, headers, body),) = told
        assert (path, headers["content-type"], headers["x-clary-event-id"]) == (
            "/hook", "application/json", run["event_id"],
        )  # fmt: skip
        assert json.loads(body)["alarmData"]["alarmName"] == "clary-actions-test"
        assert "authorization" not in headers
        clary("add", "away", "--webhook", f"{url}/away")
        assert clary("test", "away", status=7)["reason"] == "It answered 302."
        assert [path for path, _, _ in told] == ["/hook", "/away"]
    finally:
        served.shutdown()
        served.server_close()
        thread.join()
