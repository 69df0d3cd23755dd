"""Hyperparameter tuning jobs through a real server and real boto3."""

from __future__ import annotations

from typing import Any

import botocore.exceptions
import pytest

from tests.support.server import ROLE, Server
from tests.support.training import XGBOOST, fill, packed, request, script_request

BUCKET = "tuning"
# Best at width 3: what a search has to find.
SCRIPT = """
import argparse, os
parser = argparse.ArgumentParser()
parser.add_argument("--width", type=float)
parser.add_argument("--kind", default="a")
parser.add_argument("--fail", type=int, default=0)
given = parser.parse_args()
if given.fail:
    raise SystemExit("no data to my liking")
loss = (given.width - 3) ** 2 + (given.kind != "b")
print(f"loss={loss}")
open(os.path.join(os.environ["SM_MODEL_DIR"], "x.txt"), "w").write(str(given.width))
"""


@pytest.fixture(scope="module")
def s3(server: Server) -> Any:
    client = fill(server, BUCKET)
    client.put_object(Bucket=BUCKET, Key="code.tar.gz", Body=packed({"train.py": SCRIPT}))
    return client


@pytest.fixture(scope="module")
def sagemaker(server: Server, s3: Any) -> Any:
    return server.client("sagemaker")


def tuning(name: str, config: dict[str, Any], definition: dict[str, Any]) -> dict[str, Any]:
    """CreateHyperParameterTuningJob's members from a training's."""
    training = {key: value for key, value in definition.items() if key not in ("TrainingJobName", "HyperParameters")}
    training["StaticHyperParameters"] = definition["HyperParameters"]
    # Where the SageMaker SDK puts it.
    training["HyperParameterTuningResourceConfig"] = training.pop("ResourceConfig")
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": config,
        "TrainingJobDefinition": training,
    }


def script_tuning(name: str, strategy: str, jobs: int | None, ranges: dict[str, Any], **more: Any) -> dict[str, Any]:
    given = script_request("unused", BUCKET, "code.tar.gz", more.pop("static", {}))
    given["AlgorithmSpecification"]["MetricDefinitions"] = [{"Name": "loss", "Regex": "loss=([0-9.e-]+)"}]
    limits = {"MaxParallelTrainingJobs": 2} | ({"MaxNumberOfTrainingJobs": jobs} if jobs else {})
    config = {
        "Strategy": strategy,
        "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "loss"},
        "ResourceLimits": limits,
        "ParameterRanges": ranges,
        "RandomSeed": 7,
        **more,
    }
    return tuning(name, config, given)


def ended(sagemaker: Any, name: str) -> dict[str, Any]:
    describe = sagemaker.describe_hyper_parameter_tuning_job
    while (job := describe(HyperParameterTuningJobName=name))["HyperParameterTuningJobStatus"] in (
        "InProgress",
        "Stopping",
    ):
        pass
    return job  # type: ignore[no-any-return]


def trainings(sagemaker: Any, name: str, **more: Any) -> list[dict[str, Any]]:
    pages = sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job")
    found = pages.paginate(HyperParameterTuningJobName=name, PaginationConfig={"PageSize": 2}, **more)
    return [job for page in found for job in page["TrainingJobSummaries"]]


X = {"ContinuousParameterRanges": [{"Name": "width", "MinValue": "0", "MaxValue": "10"}]}


def test_from_the_best_training_to_a_live_endpoint(server: Server, sagemaker: Any) -> None:
    ranges = {
        "IntegerParameterRanges": [{"Name": "max_depth", "MinValue": "1", "MaxValue": "4"}],
        "ContinuousParameterRanges": [
            {"Name": "eta", "MinValue": "0.01", "MaxValue": "0.5", "ScalingType": "Logarithmic"}
        ],
    }
    config = {
        "Strategy": "Random",
        "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "validation:rmse"},
        "ResourceLimits": {"MaxNumberOfTrainingJobs": 3, "MaxParallelTrainingJobs": 2},
        "ParameterRanges": ranges,
    }
    created = sagemaker.create_hyper_parameter_tuning_job(**tuning("flow", config, request("unused", BUCKET)))
    arn = "arn:aws:sagemaker:us-east-1:123456789012:hyper-parameter-tuning-job/flow"
    assert created["HyperParameterTuningJobArn"] == arn
    job = ended(sagemaker, "flow")
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert job["TrainingJobStatusCounters"]["Completed"] == 3
    assert job["ObjectiveStatusCounters"] == {"Succeeded": 3, "Pending": 0, "Failed": 0}
    assert job["HyperParameterTuningJobConfig"] == config
    best = job["BestTrainingJob"]
    ranked = trainings(sagemaker, "flow", SortBy="FinalObjectiveMetricValue")
    assert len(ranked) == 3
    assert ranked[0]["TrainingJobName"] == best["TrainingJobName"]
    values = [one["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for one in ranked]
    assert values == sorted(values)

    training = sagemaker.describe_training_job(TrainingJobName=best["TrainingJobName"])
    assert training["TuningJobArn"] == arn
    tuned = best["TunedHyperParameters"]
    assert 1 <= int(tuned["max_depth"]) <= 4
    assert 0.01 <= float(tuned["eta"]) <= 0.5
    assert training["HyperParameters"] == {
        "num_round": "5", "objective": "reg:squarederror", "_tuning_objective_metric": "validation:rmse", **tuned,
    }  # fmt: skip
    sagemaker.create_model(
        ModelName="best",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": XGBOOST, "ModelDataUrl": training["ModelArtifacts"]["S3ModelArtifacts"]},
    )
    variant = {"VariantName": "A", "ModelName": "best", "InitialInstanceCount": 1, "InstanceType": "ml.t3.medium"}
    sagemaker.create_endpoint_config(EndpointConfigName="best", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="best", EndpointConfigName="best")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="best")
    assert float(server.invoke("best", "0.25,0.5,0.75,0.125")) > 0
    sagemaker.delete_endpoint(EndpointName="best")


def test_a_grid_tries_every_combination_once(sagemaker: Any) -> None:
    ranges = {
        "CategoricalParameterRanges": [{"Name": "width", "Values": ["1", "3"]}, {"Name": "kind", "Values": ["a", "b"]}]
    }
    sagemaker.create_hyper_parameter_tuning_job(**script_tuning("grid", "Grid", None, ranges))
    job = ended(sagemaker, "grid")
    assert job["HyperParameterTuningJobStatus"] == "Completed", trainings(sagemaker, "grid")[0]["FailureReason"]
    tried = [one["TunedHyperParameters"] for one in trainings(sagemaker, "grid", SortBy="CreationTime")]
    assert tried == [{"width": x, "kind": kind} for x in ("1", "3") for kind in ("a", "b")]
    assert job["BestTrainingJob"]["TunedHyperParameters"] == {"width": "3", "kind": "b"}
    found = sagemaker.list_hyper_parameter_tuning_jobs(NameContains="grid", StatusEquals="Completed")
    assert [one["Strategy"] for one in found["HyperParameterTuningJobSummaries"]] == ["Grid"]


def test_a_bayesian_search_comes_near(sagemaker: Any) -> None:
    given = script_tuning(
        "bayes", "Bayesian", 14, X, TuningJobCompletionCriteria={"TargetObjectiveMetricValue": 0.5}
    )  # fmt: skip
    sagemaker.create_hyper_parameter_tuning_job(**given)
    job = ended(sagemaker, "bayes")
    assert job["HyperParameterTuningJobStatus"] == "Completed", job
    # kind stays a: the loss is at least 1, so that the target is never reached and every training is made.
    assert job["TrainingJobStatusCounters"]["Completed"] == 14
    assert abs(float(job["BestTrainingJob"]["TunedHyperParameters"]["width"]) - 3) < 1.5


def test_a_target_ends_the_search(sagemaker: Any) -> None:
    criteria = {"TargetObjectiveMetricValue": 1000.0}
    sagemaker.create_hyper_parameter_tuning_job(
        **script_tuning("target", "Random", 50, X, TuningJobCompletionCriteria=criteria)
    )
    job = ended(sagemaker, "target")
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert len(trainings(sagemaker, "target")) < 6


def test_a_search_whose_trainings_fail_fails(sagemaker: Any) -> None:
    sagemaker.create_hyper_parameter_tuning_job(**script_tuning("hopeless", "Random", 50, X, static={"fail": "1"}))
    job = ended(sagemaker, "hopeless")
    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("No training job succeeded after 5 attempts.")
    assert "BestTrainingJob" not in job


def test_stop_ends_the_trainings_too(sagemaker: Any) -> None:
    sagemaker.create_hyper_parameter_tuning_job(**script_tuning("halted", "Random", 200, X))
    sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="halted")
    job = ended(sagemaker, "halted")
    assert job["HyperParameterTuningJobStatus"] == "Stopped"
    assert job["TrainingJobStatusCounters"]["InProgress"] == 0
    with pytest.raises(botocore.exceptions.ClientError, match="is in status Stopped"):
        sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="halted")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"Strategy": "Hyperband"}, "strategy Hyperband is not served"),
        ({"Strategy": "Grid"}, "CategoricalParameterRanges only"),
        ({"ParameterRanges": {}}, "ParameterRanges is empty"),
        ({"HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "other"}}, "'other' is not defined"),
        ({"TrainingJobEarlyStoppingType": "Auto"}, "TrainingJobEarlyStoppingType Auto is not served"),
    ],
)
def test_what_cannot_be_is_refused_at_once(sagemaker: Any, change: dict[str, Any], text: str) -> None:
    with pytest.raises(botocore.exceptions.ClientError, match=text):
        sagemaker.create_hyper_parameter_tuning_job(**script_tuning("refused", "Random", 2, X, **change))
