"""Training jobs through a real server and real boto3."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import botocore.exceptions
import numpy
import psutil
import pytest
import xgboost

from tests.support.server import ROLE, Server, wait_until
from tests.support.training import XGBOOST, channel, ended, fill, packed, request, rows, script_request
from tests.support.wheels import wheel

BUCKET = "training"
SCRIPT = """
import argparse, json, os, signal, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("--alpha", type=float)
parser.add_argument("--mode", default="")
parser.add_argument("--train", default=os.environ["SM_CHANNEL_TRAIN"])
parser.add_argument("--model-dir", default=os.environ["SM_MODEL_DIR"])
given = parser.parse_args()
import helper
print("score=%s;" % helper.score(given.alpha), flush=True)
seen = {name: value for name, value in os.environ.items() if name.startswith(("SM_", "TRAINING_", "COLOUR"))}
seen["files"] = sorted(str(p) for _, _, names in os.walk(given.train) for p in names)
def save():
    with open(os.path.join(given.model_dir, "model.json"), "w") as out:
        json.dump(seen, out)
    with open(os.path.join(os.environ["SM_OUTPUT_DATA_DIR"], "notes.txt"), "w") as out:
        out.write("of interest")
if given.mode == "fail":
    raise ValueError("the data is not to my liking")
if given.mode in ("wait", "stubborn"):
    def asked(*_):
        save()
        sys.exit(0)
    signal.signal(signal.SIGTERM, asked)
    print("waiting", flush=True)
    time.sleep(600)
save()
"""


@pytest.fixture(scope="module")
def s3(server: Server) -> Any:
    client = fill(server, BUCKET)
    code = {"train.py": SCRIPT, "helper.py": "def score(a): return a * 2"}
    client.put_object(Bucket=BUCKET, Key="code.tar.gz", Body=packed(code))
    return client


@pytest.fixture(scope="module")
def sagemaker(server: Server, s3: Any) -> Any:
    return server.client("sagemaker")


def archive(s3: Any, url: str) -> dict[str, bytes]:
    """The files of a model.tar.gz."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    raw = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(raw)) as found:
        return {m.name: found.extractfile(m).read() for m in found if m.isfile()}  # type: ignore[union-attr]


def wait_script(server: Server, sagemaker: Any, name: str, mode: str = "wait", **more: Any) -> None:
    """Start a script that waits, and return once it does."""
    given = script_request(name, BUCKET, "code.tar.gz", {"alpha": "1", "mode": mode}, **more)
    sagemaker.create_training_job(**given)
    wait_until(lambda: "waiting" in log(server, name), f"{name} to wait")


def log(server: Server, name: str) -> str:
    """What a job that has not ended printed."""
    for folder in (server.home / "jobs").glob("*"):
        with contextlib.suppress(FileNotFoundError):
            if json.loads((folder / "job.json").read_text())["job"] == name:
                return (server.home / "logs" / "training" / folder.name / "algo-1.log").read_text()
    return ""


def test_the_algorithm_from_csv_to_a_live_endpoint(server: Server, sagemaker: Any, s3: Any) -> None:
    created = sagemaker.create_training_job(**request("My-Job", BUCKET, Tags=[{"Key": "a", "Value": "b"}]))
    arn = "arn:aws:sagemaker:us-east-1:123456789012:training-job/my-job"
    assert created["TrainingJobArn"] == arn
    sagemaker.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName="My-Job")
    job = sagemaker.describe_training_job(TrainingJobName="My-Job")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Completed", "Completed")
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{BUCKET}/out/My-Job/output/model.tar.gz"
    assert [t["Status"] for t in job["SecondaryStatusTransitions"]] == [
        "Starting", "Downloading", "Training", "Uploading", "Completed",
    ]  # fmt: skip
    assert all(t["EndTime"] >= t["StartTime"] for t in job["SecondaryStatusTransitions"])
    assert {m["MetricName"] for m in job["FinalMetricDataList"]} == {"train:rmse", "validation:rmse"}
    assert job["OutputDataConfig"]["KmsKeyId"] == ""
    assert job["InputDataConfig"] == request("x", BUCKET)["InputDataConfig"]
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "b"}]

    model = archive(s3, job["ModelArtifacts"]["S3ModelArtifacts"])
    assert list(model) == ["xgboost-model"]
    booster = xgboost.Booster()
    booster.load_model(bytearray(model["xgboost-model"]))
    row = [0.25, 0.5, 0.75, 0.125]
    sagemaker.create_model(
        ModelName="from-job",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": XGBOOST, "ModelDataUrl": job["ModelArtifacts"]["S3ModelArtifacts"]},
    )
    variant = {"VariantName": "A", "ModelName": "from-job", "InitialInstanceCount": 1, "InstanceType": "ml.t3.medium"}
    sagemaker.create_endpoint_config(EndpointConfigName="from-job", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="from-job", EndpointConfigName="from-job")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="from-job")
    answer = float(server.invoke("from-job", ",".join(map(str, row))))
    assert answer == booster.inplace_predict(numpy.array([row], numpy.float32))[0]
    sagemaker.delete_endpoint(EndpointName="from-job")


def test_a_script_sees_what_the_toolkit_gives(server: Server, sagemaker: Any, s3: Any) -> None:
    given = script_request("script", BUCKET, "code.tar.gz", {"alpha": "1.5"}, Environment={"COLOUR": "blue"})
    given["AlgorithmSpecification"]["MetricDefinitions"] = [{"Name": "score", "Regex": "score=(.*?);"}]
    sagemaker.create_training_job(**given)
    job = ended(sagemaker, "script")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert [(m["MetricName"], m["Value"]) for m in job["FinalMetricDataList"]] == [("score", 3.0)]
    seen = json.loads(archive(s3, job["ModelArtifacts"]["S3ModelArtifacts"])["model.json"])
    assert seen["files"] == ["a.csv", "b.csv"]
    assert (seen["SM_HP_ALPHA"], json.loads(seen["SM_HPS"]), seen["COLOUR"]) == ("1.5", {"alpha": 1.5}, "blue")
    assert (seen["SM_USER_ENTRY_POINT"], seen["SM_MODULE_NAME"]) == ("train.py", "train")
    assert json.loads(seen["SM_CHANNELS"]) == ["train"]
    assert seen["TRAINING_JOB_NAME"] == "script"
    raw = s3.get_object(Bucket=BUCKET, Key="out/script/output/output.tar.gz")["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(raw)) as found:
        assert "data/notes.txt" in found.getnames()


def test_a_script_that_calls_aws_is_its_jobs_role(server: Server, sagemaker: Any, s3: Any) -> None:
    code = "import boto3\nraise SystemExit(boto3.client('sts').get_caller_identity()['Arn'])"
    s3.put_object(Bucket=BUCKET, Key="who.tar.gz", Body=packed({"train.py": code}))
    sagemaker.create_training_job(**script_request("who", BUCKET, "who.tar.gz", {}))
    role = ROLE.rpartition("/")[2]
    assert f"arn:aws:sts::123456789012:assumed-role/{role}/who" in ended(sagemaker, "who")["FailureReason"]


def test_a_script_that_fails_says_why(sagemaker: Any) -> None:
    sagemaker.create_training_job(**script_request("bad", BUCKET, "code.tar.gz", {"alpha": "1", "mode": "fail"}))
    job = ended(sagemaker, "bad")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Failed", "Failed")
    reason = job["FailureReason"]
    assert reason.startswith("AlgorithmError: ExecuteUserScriptError:\nExitCode 1\n")
    assert "ValueError: the data is not to my liking" in reason
    assert 'Command "python train.py --alpha 1 --mode fail", exit code: 1' in reason
    assert "ModelArtifacts" not in job
    with pytest.raises(botocore.exceptions.ClientError, match="is in status Failed"):
        sagemaker.stop_training_job(TrainingJobName="bad")


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("no-data", {"InputDataConfig": [channel("train", f"s3://{BUCKET}/nothing/")]}, "Could not find S3 data"),
        ("no-bucket", {"InputDataConfig": [channel("train", "s3://not-there/x")]}, "Could not find S3 data"),
        ("no-out", {"OutputDataConfig": {"S3OutputPath": "s3://not-there/x"}}, "there is no bucket not-there"),
        ("no-rounds", {"HyperParameters": {"eta": "0.1"}}, "UserError: Missing required hyperparameter: num_round"),
    ],
)
def test_what_is_missing_is_the_failure_reason(sagemaker: Any, name: str, change: dict[str, Any], reason: str) -> None:
    sagemaker.create_training_job(**request(name, BUCKET, **change))
    job = ended(sagemaker, name)
    assert job["TrainingJobStatus"] == "Failed"
    assert reason in job["FailureReason"]


def test_stop_gives_the_script_time_to_save(server: Server, sagemaker: Any, s3: Any) -> None:
    wait_script(server, sagemaker, "stopped")
    sagemaker.stop_training_job(TrainingJobName="stopped")
    job = ended(sagemaker, "stopped")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert "model.json" in archive(s3, job["ModelArtifacts"]["S3ModelArtifacts"])
    assert [t["Status"] for t in job["SecondaryStatusTransitions"]][-3:] == ["Stopping", "Uploading", "Stopped"]
    found = sagemaker.list_training_jobs(StatusEquals="Stopped")["TrainingJobSummaries"]
    assert [j["TrainingJobName"] for j in found] == ["stopped"]


def test_a_job_that_runs_too_long_is_stopped(sagemaker: Any) -> None:
    given = script_request("long", BUCKET, "code.tar.gz", {"alpha": "1", "mode": "wait"})
    given["StoppingCondition"] = {"MaxRuntimeInSeconds": 1}
    sagemaker.create_training_job(**given)
    job = ended(sagemaker, "long")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


def test_a_training_outlives_control_and_its_own_death(server: Server, sagemaker: Any) -> None:
    wait_script(server, sagemaker, "tough")
    runner = server.pid_of("clary: training tough")
    script = psutil.Process(runner).children()[0]
    control = server.pid_of("clary.assembly")
    os.kill(control, signal.SIGKILL)
    wait_until(lambda: server.pids_of("clary.assembly") - {control} and server.healthy(), "another control")
    assert (psutil.Process(runner).is_running(), script.is_running()) == (True, True)
    # The runner dies: what it started ends with it, and the job starts anew.
    os.kill(runner, signal.SIGKILL)
    wait_until(lambda: server.pids_of("clary: training tough") - {runner}, "another runner")
    wait_until(lambda: log(server, "tough").count("waiting") == 2, "the script to wait again")
    assert not script.is_running() or script.status() == psutil.STATUS_ZOMBIE
    sagemaker.stop_training_job(TrainingJobName="tough")
    assert ended(sagemaker, "tough")["TrainingJobStatus"] == "Stopped"


def test_nothing_is_left_of_jobs_that_ended_but_their_log(server: Server) -> None:
    wait_until(lambda: not list((server.home / "jobs").iterdir()), "no folder of a job")
    wait_until(lambda: not server.pids_of("clary: training"), "no runner")
    assert list((server.home / "logs" / "training").glob("*/algo-1.log"))
    table = json.loads(Path(server.home / "run" / "processes.json").read_text())
    assert not [row for row in table["processes"] if row["kind"] == "runner"]


@pytest.mark.usefixtures("s3")
def test_names_are_unique_and_unknown_ones_refused(sagemaker: Any) -> None:
    refused = botocore.exceptions.ClientError
    with pytest.raises(refused, match="Requested resource not found"):
        sagemaker.describe_training_job(TrainingJobName="nobody")
    sagemaker.create_training_job(**request("One-Job", BUCKET))
    with pytest.raises(refused, match="must be unique") as error:
        sagemaker.create_training_job(**request("ONE-JOB", BUCKET))
    ended(sagemaker, "One-Job")
    assert error.value.response["Error"]["Code"] == "ResourceInUse"


@pytest.mark.slow  # scikit-learn, which the image has, is installed beside it
def test_a_script_gets_the_environment_that_it_asks_for(sagemaker: Any, s3: Any, tmp_path: Path) -> None:
    code = "import polite, sklearn, os; open(os.environ['SM_MODEL_DIR'] + '/said', 'w').write(polite.GREETING)\n"
    made = wheel(tmp_path, "polite", "1.0", "GREETING = 'good day'")
    files = {"train.py": code, "requirements.txt": f"./{made.name}\n", made.name: made.read_bytes()}
    s3.put_object(Bucket=BUCKET, Key="polite.tar.gz", Body=packed(files))
    sagemaker.create_training_job(**script_request("polite", BUCKET, "polite.tar.gz", {}))
    job = ended(sagemaker, "polite")
    assert job["TrainingJobStatus"] == "Completed", job["FailureReason"]
    assert archive(s3, job["ModelArtifacts"]["S3ModelArtifacts"]) == {"said": b"good day"}


def test_an_environment_that_cannot_be_is_the_failure_reason(sagemaker: Any, s3: Any) -> None:
    broken = packed({"train.py": "", "requirements.txt": "./absent-1.0-py3-none-any.whl\n"})
    s3.put_object(Bucket=BUCKET, Key="broken.tar.gz", Body=broken)
    sagemaker.create_training_job(**script_request("broken", BUCKET, "broken.tar.gz", {}))
    assert "is not in the artifact" in ended(sagemaker, "broken")["FailureReason"]


def test_logs_are_in_their_group(server: Server, sagemaker: Any) -> None:
    sagemaker.create_training_job(**request("logged", BUCKET))
    job = ended(sagemaker, "logged")
    logs = server.client("logs")
    stream = f"logged/algo-1-{int(job['CreationTime'].timestamp())}"
    found = logs.get_log_events(logGroupName="/aws/sagemaker/TrainingJobs", logStreamName=stream, startFromHead=True)
    lines = [event["message"] for event in found["events"]]
    assert [line for line in lines if line.startswith("[4]#011train-rmse:")], lines


def clary(server: Server, *argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CLARY_"))}
    return subprocess.run(
        [sys.executable, "-m", "clary.cli.main", *argv],
        env={**clean, "CLARY_HOME": str(server.home)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_clary_train_from_files_to_an_artifact(server: Server, s3: Any, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(rows(100))
    given = ["train", "--name", "by-hand", "-c", "train=data.csv", "-s", "num_round=3"]
    done = clary(server, *given, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "[2]#011train-rmse:" in done.stderr
    assert "s3://sagemaker-us-east-1-123456789012/clary/by-hand/output/model.tar.gz" in done.stdout

    code = tmp_path / "code"
    code.mkdir()
    (code / "fit.py").write_text(
        "import os; print('loss=0.5'); open(os.environ['SM_MODEL_DIR'] + '/m', 'w').write('m')"
    )
    given = ["train", "code", "--entry", "fit.py", "--metric", "loss=loss=(.*)", "--name", "script-by-hand", "--json"]
    done = clary(server, *given, cwd=tmp_path)
    made = json.loads(done.stdout)
    assert (done.returncode, made["status"], made["metrics"]) == (0, "Completed", {"loss": 0.5})
    assert list(archive(s3, made["artifact"])) == ["m"]

    done = clary(server, "train", "--name", "bad-by-hand", "-c", "train=data.csv", cwd=tmp_path)
    assert done.returncode == 7
    assert "Missing required hyperparameter: num_round" in done.stderr


def adopted(server: Server, pid: int) -> bool:
    """Whether the agent says so: the process is another's child."""
    lines = (server.home / "logs" / "agent.log").read_text().splitlines()
    return any((line["event"], line.get("pid")) == ("A process was adopted.", pid) for line in map(json.loads, lines))


@pytest.mark.slow
def test_a_job_outlives_the_server_itself(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        fill(server, BUCKET).put_object(
            Bucket=BUCKET, Key="code.tar.gz", Body=packed({"train.py": SCRIPT, "helper.py": "def score(a): return a"})
        )
        wait_script(server, server.client("sagemaker"), "hardy")
        runner = server.pid_of("clary: training hardy")
        server.kill()
        server.start()
        wait_until(lambda: adopted(server, runner), "the runner to be adopted")
        # An ordinary stop ends the process; the job starts anew with the server.
        server.stop()
        assert not psutil.pid_exists(runner) or psutil.Process(runner).status() == psutil.STATUS_ZOMBIE
        server.start()
        wait_until(lambda: log(server, "hardy").count("waiting") == 2, "the script to wait again")
        sagemaker = server.client("sagemaker")
        assert sagemaker.describe_training_job(TrainingJobName="hardy")["TrainingJobStatus"] == "InProgress"
        sagemaker.stop_training_job(TrainingJobName="hardy")
        assert ended(sagemaker, "hardy")["TrainingJobStatus"] == "Stopped"
