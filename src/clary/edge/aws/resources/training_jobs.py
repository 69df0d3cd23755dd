"""SageMaker training jobs: CreateTrainingJob, DescribeTrainingJob, ListTrainingJobs, StopTrainingJob."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from clary.control import training
from clary.control.desk import Desk
from clary.domain.errors import Invalid, NotServed
from clary.domain.names import arn_of
from clary.domain.training import MAX_RUNTIME_S, Channel, MetricDefinition, TrainingSpec
from clary.edge.aws.operation import Call, Field, Members, Operation
from clary.edge.aws.resources.endpoints import HoldOptions, hold_s
from clary.edge.aws.resources.listing import NAMED_FIELDS, page_members, query_of
from clary.edge.aws.resources.members import caller_of, given, instant, tags_of
from clary.kit.clock import MICROS
from clary.runtimes.images import parse_image
from clary.store.training import TrainingJob

_DRIVER = "/opt/ml/input/data/sm_drivers/sm_train.sh"
DRIVER_COMMAND = ["/bin/bash", "-c", f"chmod +x {_DRIVER} && {_DRIVER}"]
"""Entrypoint and arguments that the ModelTrainer of SageMaker SDK 3 gives (sagemaker.train.constants)."""
KEPT = (
    "AlgorithmSpecification",
    "InputDataConfig",
    "OutputDataConfig",
    "ResourceConfig",
    "StoppingCondition",
    "VpcConfig",
    "CheckpointConfig",
    "DebugHookConfig",
    "ExperimentConfig",
    "ProfilerConfig",
    "ProfilerRuleConfigurations",
    "RetryStrategy",
    "InfraCheckConfig",
)
"""Members that Describe gives back as they came."""

_S, _K, _R = Field.SERVED, Field.STORED, Field.REFUSED
JOB_FIELDS = {
    "AlgorithmSpecification": _S,
    "AlgorithmSpecification.AlgorithmName": _R,
    "RoleArn": _K,
    "InputDataConfig": _S,
    "InputDataConfig[].DataSource.S3DataSource.AttributeNames": _R,
    "InputDataConfig[].DataSource.S3DataSource.InstanceGroupNames": _R,
    "InputDataConfig[].DataSource.S3DataSource.ModelAccessConfig": _R,
    "InputDataConfig[].DataSource.S3DataSource.HubAccessConfig": _R,
    "InputDataConfig[].DataSource.FileSystemDataSource": _R,
    "InputDataConfig[].DataSource.DatasetSource": _R,
    "InputDataConfig[].ShuffleConfig": _R,
    "OutputDataConfig": _S,
    "OutputDataConfig.KmsKeyId": _K,
    "ResourceConfig": _S,
    "ResourceConfig.VolumeSizeInGB": _K,
    "ResourceConfig.VolumeKmsKeyId": _K,
    "ResourceConfig.KeepAlivePeriodInSeconds": _K,
    "ResourceConfig.InstanceGroups": _R,
    "ResourceConfig.TrainingPlanArn": _R,
    "ResourceConfig.InstancePlacementConfig": _R,
    "ResourceConfig.InstancePreferences": _R,
    "ResourceConfig.SelectedInstanceCount": _R,
    "VpcConfig": _K,
    "StoppingCondition": _S,
    "StoppingCondition.MaxWaitTimeInSeconds": _K,
    "StoppingCondition.MaxPendingTimeInSeconds": _K,
    "EnableNetworkIsolation": _K,
    "EnableInterContainerTrafficEncryption": _K,
    "EnableManagedSpotTraining": _K,
    "CheckpointConfig": _K,
    "RetryStrategy": _S,
    "Environment": _S,
}
"""Of CreateTrainingJob and of a tuning job's TrainingJobDefinition alike."""
JOB_NOTES = {
    "AlgorithmSpecification.AlgorithmName": "Algorithm resources are not served; give TrainingImage.",
    "RoleArn": "Jobs read and write with the rights of the server.",
    "InputDataConfig[].DataSource.S3DataSource.AttributeNames": "Belongs to augmented manifests, which need Pipe mode.",
    "InputDataConfig[].DataSource.S3DataSource.InstanceGroupNames": "A job runs on one instance.",
    "InputDataConfig[].DataSource.S3DataSource.ModelAccessConfig": "There is no model hub here.",
    "InputDataConfig[].DataSource.S3DataSource.HubAccessConfig": "There is no model hub here.",
    "InputDataConfig[].DataSource.FileSystemDataSource": "Upload the data with the S3 API.",
    "InputDataConfig[].DataSource.DatasetSource": "There are no hub data sets here; upload the data with the S3 API.",
    "InputDataConfig[].ShuffleConfig": "Only Pipe mode shuffles what a job reads; File mode is served.",
    "OutputDataConfig.KmsKeyId": "Objects are kept as they are; encrypt the disk below HOME.",
    "ResourceConfig.VolumeSizeInGB": "Jobs use the disk below HOME.",
    "ResourceConfig.VolumeKmsKeyId": "Jobs use the disk below HOME; encrypt that.",
    "ResourceConfig.KeepAlivePeriodInSeconds": "A process starts in less than a second: there is nothing to keep warm.",
    "ResourceConfig.InstanceGroups": "A job runs on one instance.",
    "ResourceConfig.TrainingPlanArn": "This machine is all there is to reserve.",
    "ResourceConfig.InstancePlacementConfig": "A job runs on one instance.",
    "ResourceConfig.InstancePreferences": "Give InstanceType and InstanceCount.",
    "ResourceConfig.SelectedInstanceCount": "Give InstanceType and InstanceCount.",
    "VpcConfig": "Jobs run on this machine, in its network.",
    "StoppingCondition.MaxWaitTimeInSeconds": "There is no spot market: nothing is waited for.",
    "StoppingCondition.MaxPendingTimeInSeconds": "There is no capacity to wait for; jobs wait for each other.",
    "EnableNetworkIsolation": "Jobs are not yet cut off the network.",
    "EnableInterContainerTrafficEncryption": "A job runs on one instance.",
    "EnableManagedSpotTraining": "There is no spot market: the job runs as any other.",
    "CheckpointConfig": "No instance is taken away; the folder checkpoints survives a restart of the job, not its end.",
}
_COMMAND = "As the ModelTrainer of SageMaker SDK 3 gives it, for a script of its own; any other command is refused."
CREATE_FIELDS = {
    "TrainingJobName": _S,
    "HyperParameters": _S,
    **JOB_FIELDS,
    "AlgorithmSpecification.EnableSageMakerMetricsTimeSeries": _K,
    "AlgorithmSpecification.ContainerEntrypoint": _S,
    "AlgorithmSpecification.ContainerArguments": _S,
    "AlgorithmSpecification.TrainingImageConfig": _K,
    "AlgorithmSpecification.TrainingImageConfig.TrainingRepositoryAuthConfig": _R,
    "Tags": _S,
    "DebugHookConfig": _K,
    "DebugRuleConfigurations": _R,
    "TensorBoardOutputConfig": _R,
    "ExperimentConfig": _K,
    "ProfilerConfig": _K,
    "ProfilerRuleConfigurations": _K,
    "RemoteDebugConfig": _R,
    "InfraCheckConfig": _K,
    "SessionChainingConfig": _R,
    "ServerlessJobConfig": _R,
    "MlflowConfig": _R,
    "ModelPackageConfig": _R,
}
CREATE_NOTES = {
    **JOB_NOTES,
    "AlgorithmSpecification.EnableSageMakerMetricsTimeSeries": "Only the last value of each metric is kept.",
    "AlgorithmSpecification.ContainerEntrypoint": _COMMAND,
    "AlgorithmSpecification.ContainerArguments": _COMMAND,
    "AlgorithmSpecification.TrainingImageConfig": "Clary pulls no image: the tag selects the behaviour.",
    "AlgorithmSpecification.TrainingImageConfig.TrainingRepositoryAuthConfig": "Clary pulls no image.",
    "DebugHookConfig": "The debugger's hook does not run here; SDKs send this by default.",
    "DebugRuleConfigurations": "Debugger rules are not evaluated here.",
    "TensorBoardOutputConfig": "Only output/data and the model are uploaded.",
    "ExperimentConfig": "Experiments are not tracked here.",
    "ProfilerConfig": "The profiler does not run here; SDKs send this by default.",
    "ProfilerRuleConfigurations": "The profiler does not run here; SDKs send this by default.",
    "RemoteDebugConfig": "The job runs on this machine: attach to its process.",
    "InfraCheckConfig": "There is no fleet whose health could be checked.",
    "SessionChainingConfig": "Jobs assume no role.",
    "ServerlessJobConfig": "There are no foundation models to customise here.",
    "MlflowConfig": "Give MLFLOW_TRACKING_URI in Environment.",
    "ModelPackageConfig": "Model packages come with a later release.",
}
LIST_FIELDS = {
    **NAMED_FIELDS,
    **dict.fromkeys(("LastModifiedTimeBefore", "LastModifiedTimeAfter", "StatusEquals"), _S),
    "WarmPoolStatusEquals": _R,
    "TrainingPlanArnEquals": _R,
}
LIST_NOTES = {
    "WarmPoolStatusEquals": "There are no warm pools.",
    "TrainingPlanArnEquals": "There are no training plans.",
}


_HOLD = HoldOptions()


def operations(desk: Desk, options: HoldOptions = _HOLD) -> tuple[Operation, ...]:
    """What is served of training jobs."""

    async def create_training_job(call: Call, members: Members) -> Members:
        spec = spec_of(members, dict(members.get("HyperParameters", {})))
        name = members["TrainingJobName"]
        return {"TrainingJobArn": await training.create(desk, caller_of(call), name, spec, tags_of(members))}

    async def describe_training_job(call: Call, members: Members) -> Members:
        wait_s = hold_s(options, call.user_agent)
        return described(await training.describe(desk, caller_of(call), members["TrainingJobName"], wait_s))

    async def list_training_jobs(call: Call, members: Members) -> Members:
        found, more = await training.list_jobs(desk, caller_of(call), query_of(call, "ListTrainingJobs", members))
        items = {"TrainingJobSummaries": [_summary(job) for job in found]}
        return page_members(call, "ListTrainingJobs", members, items, more)

    async def stop_training_job(call: Call, members: Members) -> Members:
        await training.stop(desk, caller_of(call), members["TrainingJobName"])
        return {}

    name = {"TrainingJobName": Field.SERVED}
    return (
        Operation("sagemaker", "CreateTrainingJob", create_training_job, CREATE_FIELDS, CREATE_NOTES),
        Operation("sagemaker", "DescribeTrainingJob", describe_training_job, name),
        Operation("sagemaker", "ListTrainingJobs", list_training_jobs, LIST_FIELDS, LIST_NOTES),
        Operation("sagemaker", "StopTrainingJob", stop_training_job, name),
    )


def spec_of(members: Members, hyperparameters: dict[str, str]) -> TrainingSpec:
    """What CreateTrainingJob, or a tuning job's definition, asks for."""
    algorithm = members.get("AlgorithmSpecification", {})
    image_uri = algorithm.get("TrainingImage", "")
    if not image_uri:
        raise Invalid("AlgorithmSpecification.TrainingImage is missing: Clary tells from the image how to train.")
    if algorithm["TrainingInputMode"] != "File":
        raise NotServed(f"TrainingInputMode {algorithm['TrainingInputMode']}", "Use File mode.")
    image = parse_image(image_uri)
    if image.runtime not in ("xgboost", "sklearn"):
        raise NotServed(f"Training with {image_uri}", "The XGBoost and scikit-learn images train.")
    output, resources = members["OutputDataConfig"], members.get("ResourceConfig", {})
    if output.get("CompressionType", "GZIP") != "GZIP":
        raise NotServed("OutputDataConfig.CompressionType NONE", "The output is a model.tar.gz.")
    for field in ("InstanceType", "InstanceCount"):
        if field not in resources:
            raise Invalid(f"ResourceConfig.{field} is missing.")
    stopping = members.get("StoppingCondition", {})
    kept = {name: json.dumps(members[name]) for name in KEPT if name in members}
    kept["OutputDataConfig"] = json.dumps(output_members(output))
    kept["StoppingCondition"] = json.dumps({"MaxRuntimeInSeconds": MAX_RUNTIME_S, **stopping})
    return TrainingSpec(
        image=image_uri,
        runtime=image.runtime,
        image_tag=image.tag,
        output_path=output["S3OutputPath"],
        role_arn=members.get("RoleArn", ""),
        instance_type=resources["InstanceType"],
        instance_count=resources["InstanceCount"],
        volume_gb=resources.get("VolumeSizeInGB", 0),
        hyperparameters=hyperparameters,
        channels=tuple(_channel(channel) for channel in members.get("InputDataConfig", ())),
        metrics=tuple(MetricDefinition(m["Name"], m["Regex"]) for m in algorithm.get("MetricDefinitions", ())),
        environment=dict(members.get("Environment", {})),
        max_runtime_s=stopping.get("MaxRuntimeInSeconds", MAX_RUNTIME_S),
        max_wait_s=stopping.get("MaxWaitTimeInSeconds"),
        retries_max=members.get("RetryStrategy", {}).get("MaximumRetryAttempts", 0),
        spot=members.get("EnableManagedSpotTraining", False),
        network_isolation=members.get("EnableNetworkIsolation", False),
        traffic_encryption=members.get("EnableInterContainerTrafficEncryption", False),
        driven=_is_driven(algorithm),
        kept=kept,
    )


def _is_driven(algorithm: Mapping[str, Any]) -> bool:
    """Whether the SDK's own driver is to run a script; NotServed for any other command of the container's."""
    command = [*algorithm.get("ContainerEntrypoint", ()), *algorithm.get("ContainerArguments", ())]
    if command and command != DRIVER_COMMAND:
        raise NotServed("A command for the container", "Clary runs no image; give a script by sagemaker_program.")
    return bool(command)


def output_members(output: Mapping[str, Any]) -> dict[str, Any]:
    """OutputDataConfig as it is described: SDKs read KmsKeyId whether it was given or not, as the service has it."""
    return {"KmsKeyId": "", **output}


def _channel(members: Mapping[str, Any]) -> Channel:
    source = members["DataSource"].get("S3DataSource")
    if source is None:
        raise Invalid(f"DataSource.S3DataSource of channel '{members['ChannelName']}' is missing.")
    return Channel(
        name=members["ChannelName"],
        s3_uri=source["S3Uri"],
        data_type=source["S3DataType"],
        content_type=members.get("ContentType", ""),
        distribution=source.get("S3DataDistributionType", ""),
        compression=members.get("CompressionType", ""),
        record_wrapper=members.get("RecordWrapperType", ""),
        input_mode=members.get("InputMode", ""),
    )


def _at(us: int | None) -> Any:
    return None if us is None else instant(us)


def _secondary(job: TrainingJob) -> str:
    return "Stopping" if job.stopping else job.phase.value


def _summary(job: TrainingJob) -> dict[str, Any]:
    return given(
        TrainingJobName=job.name,
        TrainingJobArn=job.arn,
        CreationTime=instant(job.created_us),
        TrainingEndTime=_at(job.record.training_ended_us),
        LastModifiedTime=instant(job.modified_us),
        TrainingJobStatus=job.status.value,
        SecondaryStatus=_secondary(job),
    )


def described(job: TrainingJob) -> Members:
    """DescribeTrainingJob's answer."""
    spec, record = job.spec, job.record
    seconds = None
    if record.training_started_us is not None and record.training_ended_us is not None:
        seconds = max(1, round((record.training_ended_us - record.training_started_us) / MICROS))
    kept = {name: json.loads(text) for name, text in spec.kept.items()}
    tuning = arn_of("hyper-parameter-tuning-job", job.scope, spec.tuning_job) if spec.tuning_job else ""
    return given(
        **_summary(job),
        TuningJobArn=tuning,
        ModelArtifacts={"S3ModelArtifacts": record.artifacts} if record.artifacts else None,
        FailureReason=record.failure_reason,
        HyperParameters=spec.hyperparameters or None,
        RoleArn=spec.role_arn,
        **kept,
        TrainingStartTime=_at(record.training_started_us),
        SecondaryStatusTransitions=[
            given(
                Status=entry.status,
                StartTime=instant(entry.started_us),
                EndTime=_at(entry.ended_us),
                StatusMessage=entry.message,
            )
            for entry in record.transitions
        ],
        FinalMetricDataList=[
            {"MetricName": metric.name, "Value": metric.value, "Timestamp": instant(metric.at_us)}
            for metric in record.metrics
        ]
        or None,
        EnableNetworkIsolation=spec.network_isolation,
        EnableInterContainerTrafficEncryption=spec.traffic_encryption,
        EnableManagedSpotTraining=spec.spot,
        TrainingTimeInSeconds=seconds,
        BillableTimeInSeconds=seconds,
        Environment=spec.environment or None,
        ProfilingStatus="Disabled",
    )
