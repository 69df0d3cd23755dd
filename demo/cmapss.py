"""Remaining life of engines, from training to a live endpoint and back to nothing: plain boto3 all the way.

    clary exec --serve -- python demo/cmapss.py      (what `make demo` runs)

Nothing here knows of Clary. The same file runs against AWS, given a role and credentials of an account there.
The job and its parsing follow the write-up that demo/data/cmapss/README.md names; its RMSE is 57.257.
"""

import argparse
import gzip
import io
import math
import pickle
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import numpy as np
import xgboost
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

DATA = Path(__file__).parent / "data" / "cmapss"
SETS = ("FD001", "FD002", "FD003", "FD004")
BATCH_ROWS = 100
RMSE_THEIRS = 57.257
RMSE_BAND = (57.0, 57.4)  # over seeds and splits, see demo/data/cmapss/README.md
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.2-1"  # answers "1.5,2.5,...": one line
CLIENTS = 8
CLIENT_ROWS = 2_000  # of a request: enough that the model is what takes the time
AT_ONCE = 2.0  # requests for each instance
INSTANCES_MAX = 3
SCALING_S = 900  # for one way: an instance of AWS takes minutes
HYPERPARAMETERS = {
    "objective": "reg:squarederror",
    "tree_method": "hist",
    "seed": "0",
    "max_depth": "8",
    "eta": "0.0371",
    "subsample": "0.52",
    "colsample_bytree": "0.41",
    "min_child_weight": "74.2",
    "lambda": "44.774",
    "num_round": "200",
}

GONE = ("Could not find", "NoSuchBucket", "not found", "in status", "No scalable target")
console = Console(highlight=False)


class DemoError(Exception):
    """The demo did not do what it promises."""


# --- 1. Data and model ------------------------------------------------------------------------------------------------


@dataclass
class Rows:
    """Rows of engines: `lines` as CSV, `features` as float32 (rows, 25), `labels` in cycles, `engines` by number."""

    lines: list[str]
    features: np.ndarray
    labels: np.ndarray
    engines: np.ndarray


def read(kind: str) -> Rows:
    """All rows of the `train` or `test` files, with their true remaining life."""
    lines: list[str] = []
    labels: list[float] = []
    engines: list[int] = []
    for name in SETS:
        with gzip.open(DATA / f"{kind}_{name}.txt.gz", "rt") as text:
            table = [line.split() for line in text]
        last_cycle = {int(row[0]): int(row[1]) for row in table}  # cycles ascend, so the last one stays
        left_after = dict.fromkeys(last_cycle, 0)  # a training engine ran until it failed
        if kind == "test":
            with gzip.open(DATA / f"RUL_{name}.txt.gz", "rt") as text:
                left_after = {engine: int(line) for engine, line in enumerate(text, start=1)}
        for row in table:
            engine = int(row[0])
            lines.append(",".join(row[1:]))
            labels.append(last_cycle[engine] + left_after[engine] - int(row[1]))
            engines.append(engine)
    features = np.loadtxt(lines, delimiter=",", dtype=np.float32, ndmin=2)
    return Rows(lines, features, np.array(labels), np.array(engines))


def channel(rows: Rows, chosen: np.ndarray) -> bytes:
    """Rows as the algorithm reads them: no header, the label first."""
    return "".join(f"{rows.labels[at]},{rows.lines[at]}\n" for at in np.flatnonzero(chosen)).encode()


def unpack(archive: bytes) -> xgboost.Booster:
    """The booster in a model.tar.gz: this image pickles it, those from 1.3-1 on write XGBoost's own format."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        content = files.extractfile("xgboost-model")
        if content is None:
            raise DemoError("the model.tar.gz holds no file xgboost-model")
        raw = content.read()
    if raw.startswith(b"\x80"):
        return pickle.loads(raw)  # ours: we have just trained it
    model = xgboost.Booster()
    model.load_model(bytearray(raw))
    return model


# --- 2. Training and hosting: boto3 -----------------------------------------------------------------------------------


class Hosting:
    """What the demo makes in the account, all under one name, and how to remove it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.s3 = boto3.client("s3")
        self.sagemaker = boto3.client("sagemaker")
        self.runtime = boto3.client("sagemaker-runtime")
        self.scaling = boto3.client("application-autoscaling")
        self.cloudwatch = boto3.client("cloudwatch")
        self.target = {
            "ServiceNamespace": "sagemaker",
            "ResourceId": f"endpoint/{name}/variant/AllTraffic",
            "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        }
        self.role = f"arn:aws:iam::{boto3.client('sts').get_caller_identity()['Account']}:role/cmapss-demo"

    def train(self, rows: Rows) -> dict:
        """Upload the data and train on the engines that are not held out for validation; the finished job."""
        where = (
            {}
            if self.s3.meta.region_name == "us-east-1"
            else {"CreateBucketConfiguration": {"LocationConstraint": self.s3.meta.region_name}}
        )
        self.s3.create_bucket(Bucket=self.name, **where)
        held_out = rows.engines % 3 == 0
        channels = []
        for kind, chosen in (("train", ~held_out), ("validation", held_out)):
            self.s3.upload_fileobj(io.BytesIO(channel(rows, chosen)), self.name, f"data/{kind}/rows.csv")
            source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{self.name}/data/{kind}/"}
            channels.append({"ChannelName": kind, "ContentType": "text/csv", "DataSource": {"S3DataSource": source}})
        self.sagemaker.create_training_job(
            TrainingJobName=self.name,
            AlgorithmSpecification={"TrainingImage": IMAGE, "TrainingInputMode": "File"},
            RoleArn=self.role,
            InputDataConfig=channels,
            OutputDataConfig={"S3OutputPath": f"s3://{self.name}/models"},
            ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
            StoppingCondition={"MaxRuntimeInSeconds": 3600},
            HyperParameters=HYPERPARAMETERS,
        )
        while (job := self.sagemaker.describe_training_job(TrainingJobName=self.name))["TrainingJobStatus"] in (
            "InProgress",
            "Stopping",
        ):
            time.sleep(0.05)
        if job["TrainingJobStatus"] != "Completed":
            raise DemoError(f"the training job is {job['TrainingJobStatus']}: {job.get('FailureReason', 'no reason')}")
        return job

    def model(self, job: dict) -> bytes:
        """The model.tar.gz that a training job left."""
        bucket, _, key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix("s3://").partition("/")
        return self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()

    def host(self, artifact: str) -> float:
        """Create model, configuration and endpoint from an artifact's URL; the seconds until it is InService."""
        self.sagemaker.create_model(
            ModelName=self.name,
            PrimaryContainer={"Image": IMAGE, "ModelDataUrl": artifact},
            ExecutionRoleArn=self.role,
        )
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=self.name,
            ProductionVariants=[
                {
                    "VariantName": "AllTraffic",
                    "ModelName": self.name,
                    "InitialInstanceCount": 1,
                    "InstanceType": "ml.t3.medium",
                }
            ],
        )
        started = time.monotonic()
        self.sagemaker.create_endpoint(EndpointName=self.name, EndpointConfigName=self.name)
        while (seen := self.sagemaker.describe_endpoint(EndpointName=self.name))["EndpointStatus"] == "Creating":
            time.sleep(0.05)
        if seen["EndpointStatus"] != "InService":
            raise DemoError(f"the endpoint is {seen['EndpointStatus']}: {seen.get('FailureReason', 'no reason given')}")
        return time.monotonic() - started

    def predict(self, lines: list[str]) -> list[str]:
        """Predictions of some rows, as the text of each number."""
        answer = self.runtime.invoke_endpoint(
            EndpointName=self.name, ContentType="text/csv", Body="\n".join(lines).encode()
        )
        result = answer["Body"].read().decode()
        return result.split(",")

    def scale(self) -> None:
        """A target of 1 to 3 instances, tracked by requests at once; back to one when nobody asked for 20 seconds.

        Target tracking by itself goes in after a quarter of an hour, so here an alarm and a step do it.
        """
        self.scaling.register_scalable_target(**self.target, MinCapacity=1, MaxCapacity=INSTANCES_MAX)
        self.scaling.put_scaling_policy(
            **self.target,
            PolicyName="out",
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration={
                "TargetValue": AT_ONCE,
                "PredefinedMetricSpecification": {
                    "PredefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"
                },
                "ScaleOutCooldown": 10,
                "DisableScaleIn": True,
            },
        )
        step = self.scaling.put_scaling_policy(
            **self.target,
            PolicyName="in",
            PolicyType="StepScaling",
            StepScalingPolicyConfiguration={
                "AdjustmentType": "ExactCapacity",
                "StepAdjustments": [{"MetricIntervalUpperBound": 0.0, "ScalingAdjustment": 1}],
                "Cooldown": 10,
            },
        )
        self.cloudwatch.put_metric_alarm(
            AlarmName=self.name,
            Namespace="AWS/SageMaker",
            MetricName="ConcurrentRequestsPerModel",
            Dimensions=[
                {"Name": "EndpointName", "Value": self.name},
                {"Name": "VariantName", "Value": "AllTraffic"},
            ],
            Statistic="Maximum",
            Period=10,
            EvaluationPeriods=2,
            Threshold=0.0,
            ComparisonOperator="LessThanOrEqualToThreshold",
            AlarmActions=[step["PolicyARN"]],
        )

    def instances(self) -> tuple[int, int]:
        """Wanted, and in service."""
        variant = self.sagemaker.describe_endpoint(EndpointName=self.name)["ProductionVariants"][0]
        return variant["DesiredInstanceCount"], variant["CurrentInstanceCount"]

    def causes(self) -> list[str]:
        """What scaled it, the first first."""
        found = self.scaling.describe_scaling_activities(**self.target)["ScalingActivities"]
        return [f"{activity['Description']} {activity['Cause']}" for activity in reversed(found)]

    def delete(self) -> None:
        """Remove whatever of it exists, the endpoint first. Also after a failure half-way."""
        gone = self.sagemaker.exceptions.ClientError
        for what in (
            lambda: self.sagemaker.stop_training_job(TrainingJobName=self.name),
            lambda: self.cloudwatch.delete_alarms(AlarmNames=[self.name]),
            lambda: self.scaling.deregister_scalable_target(**self.target),
            lambda: self.sagemaker.delete_endpoint(EndpointName=self.name),
            lambda: self.sagemaker.get_waiter("endpoint_deleted").wait(
                EndpointName=self.name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
            ),
            lambda: self.sagemaker.delete_endpoint_config(EndpointConfigName=self.name),
            lambda: self.sagemaker.delete_model(ModelName=self.name),
            self.empty_bucket,
            lambda: self.s3.delete_bucket(Bucket=self.name),
        ):
            try:
                what()
            except gone as error:
                if not any(word in str(error) for word in GONE):
                    raise

    def empty_bucket(self) -> None:
        """Delete every object: the data, and what the training job left."""
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.name):
            for found in page.get("Contents", []):
                self.s3.delete_object(Bucket=self.name, Key=found["Key"])

    def left(self) -> dict[str, int]:
        """How many things of that name there are still, by kind. A training job's record stays, as in AWS."""
        return {
            "endpoints": len(self.sagemaker.list_endpoints(NameContains=self.name)["Endpoints"]),
            "configurations": len(self.sagemaker.list_endpoint_configs(NameContains=self.name)["EndpointConfigs"]),
            "models": len(self.sagemaker.list_models(NameContains=self.name)["Models"]),
            "buckets": sum(bucket["Name"] == self.name for bucket in self.s3.list_buckets()["Buckets"]),
            "targets": len(
                self.scaling.describe_scalable_targets(
                    ServiceNamespace="sagemaker", ResourceIds=[self.target["ResourceId"]]
                )["ScalableTargets"]
            ),
            "alarms": len(self.cloudwatch.describe_alarms(AlarmNames=[self.name])["MetricAlarms"]),
        }


# --- 3. The job -------------------------------------------------------------------------------------------------------


def score(hosting: Hosting, lines: list[str]) -> tuple[list[str], float]:
    """Send all rows in batches; every prediction as text, and the seconds it took."""
    answers: list[str] = []
    bar = Progress(
        TextColumn("[bold]scoring"),
        BarColumn(None),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeElapsedColumn(),
        console=console,
    )
    started = time.monotonic()
    with bar:
        task = bar.add_task("scoring", total=len(lines))
        for first in range(0, len(lines), BATCH_ROWS):
            batch = lines[first : first + BATCH_ROWS]
            got = hosting.predict(batch)
            if len(got) != len(batch):
                raise DemoError(f"{len(batch)} rows were sent from row {first} on, {len(got)} predictions came back")
            answers += got
            bar.advance(task, len(batch))
    return answers, time.monotonic() - started


@contextmanager
def load(hosting: Hosting, lines: list[str]) -> Iterator[list[int]]:
    """Clients that ask without end; the rows of each answer. A request that fails, fails the demo."""
    answered: list[int] = []
    failed: list[Exception] = []
    stop = threading.Event()
    rows = (lines * (CLIENT_ROWS // len(lines) + 1))[:CLIENT_ROWS]

    def ask() -> None:
        while not stop.is_set():
            try:
                answered.append(len(hosting.predict(rows)))
            except Exception as error:
                failed.append(error)
                return

    clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield answered
    finally:
        stop.set()
        for client in clients:
            client.join()
    if failed:
        raise DemoError(f"{len(failed)} of {len(answered) + len(failed)} requests failed: {failed[0]}")


def watch(hosting: Hosting, wanted: int) -> None:
    """Tell each change until as many instances are in service, and wanted."""
    began, seen = time.monotonic(), (0, 0)
    while seen != (wanted, wanted):
        before, seen = seen, hosting.instances()
        if seen != before:
            console.print(f"  {time.monotonic() - began:5.1f} s  {seen[1]} in service, {seen[0]} wanted")
        if time.monotonic() - began > SCALING_S:
            raise DemoError(f"{wanted} instances were wanted within {SCALING_S} s; there are {seen[1]}")
        time.sleep(0.2)


def scale(hosting: Hosting, lines: list[str]) -> None:
    """Scale the endpoint out under load, and back to one instance without."""
    hosting.scale()
    console.print(
        f"  1 to {INSTANCES_MAX} instances, {AT_ONCE:g} requests at once for each; {CLIENTS} clients ask without end"
    )
    with load(hosting, lines) as answered:
        watch(hosting, INSTANCES_MAX)
    console.print(f"  {len(answered):,} requests of {CLIENT_ROWS:,} rows were answered, none failed; now nobody asks")
    watch(hosting, 1)
    for cause in hosting.causes():
        console.print(f"  {cause}", style="dim")


def rmse(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Root mean square error in cycles, each prediction rounded up first as the write-up does."""
    rounded = np.array([math.ceil(prediction) for prediction in predictions])
    return float(np.sqrt(np.mean((rounded - labels) ** 2)))


def check(answers: list[str], model: xgboost.Booster, test: Rows, *, whole: bool) -> None:
    """Every prediction equals the in-process one, and the error is the known one."""
    served = np.array([float(answer) for answer in answers])
    in_process = model.inplace_predict(test.features).astype(np.float64)
    differing = np.flatnonzero(served != in_process)
    if differing.size:
        row = int(differing[0])
        raise DemoError(
            f"{differing.size} of {len(answers)} predictions differ from those in process; the first is row {row}:"
            f" served {answers[row]}, in process {in_process[row]!r}"
        )
    console.print(f"  all {len(answers):,} predictions equal those in process, to the last bit")
    error = rmse(served, test.labels)
    console.print(f"  RMSE [bold]{error:.3f}[/] cycles (the write-up: {RMSE_THEIRS})")
    if whole and not RMSE_BAND[0] <= error <= RMSE_BAND[1]:
        raise DemoError(f"the RMSE {error:.3f} is outside {RMSE_BAND[0]} to {RMSE_BAND[1]}")


def run(rows: int | None, *, scaled: bool) -> None:
    """The whole job, on the first `rows` test rows or on all of them; `scaled`: with the part that takes a minute."""
    hosting = Hosting(f"cmapss-demo-{time.time_ns() // 1_000_000}")  # first, so that no server is told at once
    console.print("[bold]1. Train[/] on NASA's C-MAPSS engines")
    started = time.monotonic()
    history, test = read("train"), read("test")
    console.print(
        f"  read {len(history.lines):,} training and {len(test.lines):,} test rows"
        f" in {time.monotonic() - started:.1f} s"
    )
    if rows is not None:
        test = Rows(test.lines[:rows], test.features[:rows], test.labels[:rows], test.engines[:rows])
    try:
        started = time.monotonic()
        job = hosting.train(history)
        archive = hosting.model(job)
        error = next(m["Value"] for m in job["FinalMetricDataList"] if m["MetricName"] == "validation:rmse")
        console.print(
            f"  training job [cyan]{hosting.name}[/] completed in {time.monotonic() - started:.1f} s, uploads included;"
            f" validation RMSE {error:.3f}; model.tar.gz {len(archive):,} bytes"
        )
        model = unpack(archive)

        console.print(f"[bold]2. Host[/] its artifact at {hosting.sagemaker.meta.endpoint_url}")
        artifact = job["ModelArtifacts"]["S3ModelArtifacts"]
        console.print(f"  InService after [bold]{hosting.host(artifact):.2f} s[/]")
        console.print(f"[bold]3. Score[/] {len(test.lines):,} rows over HTTP, {BATCH_ROWS} at a time")
        answers, took_s = score(hosting, test.lines)
        console.print(f"  [bold]{len(answers) / took_s:,.0f}[/] rows/s, one client, one request at a time")
        check(answers, model, test, whole=rows is None)
        if scaled:
            console.print("[bold]4. Scale[/] with the load, by a metric of ten seconds: about a minute")
            scale(hosting, test.lines)
    finally:
        console.print(f"[bold]{5 if scaled else 4}. Delete[/] everything")
        hosting.delete()
    left = hosting.left()
    console.print("  left: " + ", ".join(f"{count} {kind}" for kind, count in left.items()))
    if any(left.values()):
        raise DemoError("something is left that should have been deleted")
    console.print("[bold green]Done.[/]")


def main() -> int:
    """Run as a command; 0 when all of it held."""
    parser = argparse.ArgumentParser(description="Train, host, score, scale and delete the C-MAPSS model.")
    parser.add_argument("--rows", type=int, metavar="N", help="score the first N test rows only")
    parser.add_argument(
        "--scale",
        action=argparse.BooleanOptionalAction,
        help="scale the endpoint out and in, too, which takes a minute; the default unless --rows is given",
    )
    given = parser.parse_args()
    if given.rows is not None and given.rows < 1:
        parser.error(f"--rows {given.rows}: give a number of rows, at least 1")
    try:
        run(given.rows, scaled=given.rows is None if given.scale is None else given.scale)
    except KeyboardInterrupt:
        console.print("\nstopped", style="yellow")
        return 130
    except Exception as error:  # a demo says what went wrong in one line, whatever it was
        console.print(f"[bold red]The demo failed:[/] {type(error).__name__}: {error}", highlight=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
