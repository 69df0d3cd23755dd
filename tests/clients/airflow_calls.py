"""A pipeline's tasks with Airflow's SageMaker operators, hooks and sensors, run without a scheduler.

Runs in Airflow's environment: python airflow_calls.py.
"""

from __future__ import annotations

from pathlib import Path

import boto3
from airflow.providers.amazon.aws.hooks.sagemaker import SageMakerHook
from airflow.providers.amazon.aws.operators.sagemaker import (
    SageMakerDeleteModelOperator,
    SageMakerEndpointConfigOperator,
    SageMakerEndpointOperator,
    SageMakerModelOperator,
    SageMakerTrainingOperator,
    SageMakerTuningOperator,
)
from airflow.providers.amazon.aws.sensors.sagemaker import SageMakerEndpointSensor, SageMakerTrainingSensor

IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"
TRUST = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole"}]}'
AWS = {"aws_conn_id": None}
"""No Airflow connection: boto3's own ways, which `clary exec` has set."""
RESOURCES = {"InstanceType": "ml.m5.large", "InstanceCount": "1", "VolumeSizeInGB": "5"}
CHANNEL = {
    "ChannelName": "train",
    "ContentType": "text/csv",
    "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://flows/train/"}},
}
VARIANT = {
    "VariantName": "AllTraffic",
    "ModelName": "flow",
    "InitialInstanceCount": "1",
    "InstanceType": "ml.m5.large",
}


def trained() -> str:
    """A training job by the role's name, its bucket and data made by the operator; where its model lies."""
    config = {
        "S3Operations": {
            "S3CreateBucket": [{"Bucket": "flows"}],
            "S3Upload": [{"Bucket": "flows", "Path": "train.csv", "Key": "train/train.csv", "Tar": False}],
        },
        "TrainingJobName": "flow",
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        "HyperParameters": {"num_round": "10", "objective": "reg:squarederror"},
        "InputDataConfig": [CHANNEL],
        "OutputDataConfig": {"S3OutputPath": "s3://flows/out"},
        "ResourceConfig": dict(RESOURCES),
        "RoleArn": "flows",
        "StoppingCondition": {"MaxRuntimeInSeconds": "600"},
    }
    task = SageMakerTrainingOperator(task_id="train", config=config, print_log=False, check_interval=1, **AWS)
    done = task.execute({})["Training"]
    assert done["TrainingJobStatus"] == "Completed", done
    assert done["RoleArn"] == "arn:aws:iam::123456789012:role/flows"
    sensor = SageMakerTrainingSensor(task_id="trained", job_name="flow", print_log=True, **AWS)
    assert sensor.poke({})  # and prints the job's log
    hook = SageMakerHook(**AWS)
    assert [one["TrainingJobName"] for one in hook.list_training_jobs(name_contains="flow")] == ["flow"]
    # The operator asks for another name where one is taken.
    again = SageMakerTrainingOperator(task_id="again", config={**config, "S3Operations": {}}, **AWS)
    assert again._get_unique_job_name("flow", False, hook.describe_training_job).startswith("flow-")
    assert again._get_unique_job_name("other", False, hook.describe_training_job) == "other"
    return done["ModelArtifacts"]["S3ModelArtifacts"]


def tuned() -> None:
    definition = {
        "StaticHyperParameters": {"num_round": "5", "objective": "reg:squarederror"},
        "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        "RoleArn": "flows",
        "InputDataConfig": [CHANNEL, {**CHANNEL, "ChannelName": "validation"}],
        "OutputDataConfig": {"S3OutputPath": "s3://flows/out"},
        "ResourceConfig": dict(RESOURCES),
        "StoppingCondition": {"MaxRuntimeInSeconds": "600"},
    }
    limits = {"MaxNumberOfTrainingJobs": "2", "MaxParallelTrainingJobs": "1"}
    ranges = {"IntegerParameterRanges": [{"Name": "max_depth", "MinValue": "2", "MaxValue": "4"}]}
    config = {
        "HyperParameterTuningJobName": "flow",
        "HyperParameterTuningJobConfig": {
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "validation:rmse"},
            "ResourceLimits": limits,
            "ParameterRanges": ranges,
        },
        "TrainingJobDefinition": definition,
    }
    task = SageMakerTuningOperator(task_id="tune", config=config, check_interval=1, **AWS)
    done = task.execute({})["Tuning"]
    assert done["HyperParameterTuningJobStatus"] == "Completed", done
    assert done["BestTrainingJob"]["TrainingJobName"]


def hosted(url: str) -> None:
    """Model, configuration and endpoint; the same endpoint again is updated, as the operator does."""
    model = {
        "ModelName": "flow",
        "ExecutionRoleArn": "flows",
        "PrimaryContainer": {"Image": IMAGE, "ModelDataUrl": url},
    }
    made = SageMakerModelOperator(task_id="model", config=model, **AWS).execute({})["Model"]
    assert made["PrimaryContainer"]["ModelDataUrl"] == url
    for name in ("flow-1", "flow-2"):
        config = {"EndpointConfigName": name, "ProductionVariants": [dict(VARIANT)]}
        SageMakerEndpointConfigOperator(task_id="config", config=config, **AWS).execute({})
        endpoint = {"EndpointName": "flow", "EndpointConfigName": name}
        task = SageMakerEndpointOperator(task_id="endpoint", config=endpoint, check_interval=1, **AWS)
        done = task.execute({})["Endpoint"]
        assert done["EndpointStatus"] == "InService", done
        assert done["EndpointConfigName"] == name
    assert SageMakerEndpointSensor(task_id="up", endpoint_name="flow", **AWS).poke({})
    answer = boto3.client("sagemaker-runtime").invoke_endpoint(
        EndpointName="flow", ContentType="text/csv", Body="100,1"
    )
    assert abs(float(answer["Body"].read()) - 200) < 30


def deleted() -> None:
    client = SageMakerHook(**AWS).get_conn()
    client.delete_endpoint(EndpointName="flow")
    client.get_waiter("endpoint_deleted").wait(EndpointName="flow", WaiterConfig={"Delay": 1})
    for name in ("flow-1", "flow-2"):
        client.delete_endpoint_config(EndpointConfigName=name)
    SageMakerDeleteModelOperator(task_id="delete", config={"ModelName": "flow"}, **AWS).execute({})
    assert client.list_models()["Models"] == []


def main() -> None:
    boto3.client("iam").create_role(RoleName="flows", AssumeRolePolicyDocument=TRUST)
    Path("train.csv").write_text("\n".join(f"{i * 2},{i},{i % 3}" for i in range(200)))
    url = trained()
    tuned()
    hosted(url)
    deleted()
    print("done")


if __name__ == "__main__":
    main()
