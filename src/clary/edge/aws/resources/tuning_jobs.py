"""SageMaker hyperparameter tuning jobs: create, describe, list, stop, and the list of their trainings."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from typing import Any

from clary.control import tuning
from clary.control.desk import Desk
from clary.domain.errors import Invalid, NotServed
from clary.domain.training import ENDED, JobStatus
from clary.domain.tuning import Choice, NumberRange, TuningSpec, best
from clary.edge.aws.operation import Call, Field, Members, Operation
from clary.edge.aws.resources.endpoints import HoldOptions, hold_s
from clary.edge.aws.resources.listing import NAMED_FIELDS, page_members, query_of
from clary.edge.aws.resources.members import caller_of, given, instant, tags_of
from clary.edge.aws.resources.training_jobs import JOB_FIELDS, JOB_NOTES, output_members, spec_of
from clary.store.named import PAGE_DEFAULT, After
from clary.store.training import TrainingJob, trial_of
from clary.store.tuning import TuningJob

_S, _K, _R = Field.SERVED, Field.STORED, Field.REFUSED
_DEFINITION = "TrainingJobDefinition."
_CONFIG = "HyperParameterTuningJobConfig."
CREATE_FIELDS = {
    "HyperParameterTuningJobName": _S,
    "HyperParameterTuningJobConfig": _S,
    _CONFIG + "StrategyConfig": _R,
    _CONFIG + "ParameterRanges.AutoParameters": _R,
    _CONFIG + "TrainingJobEarlyStoppingType": _S,
    _CONFIG + "TuningJobCompletionCriteria.ConvergenceDetected": _R,
    "TrainingJobDefinition": _S,
    **{_DEFINITION + name: how for name, how in JOB_FIELDS.items()},
    _DEFINITION + "DefinitionName": _K,
    _DEFINITION + "TuningObjective": _R,
    _DEFINITION + "HyperParameterRanges": _R,
    _DEFINITION + "StaticHyperParameters": _S,
    _DEFINITION + "HyperParameterTuningResourceConfig": _S,
    _DEFINITION + "HyperParameterTuningResourceConfig.VolumeSizeInGB": _K,
    _DEFINITION + "HyperParameterTuningResourceConfig.VolumeKmsKeyId": _K,
    _DEFINITION + "HyperParameterTuningResourceConfig.AllocationStrategy": _R,
    _DEFINITION + "HyperParameterTuningResourceConfig.InstanceConfigs": _R,
    "TrainingJobDefinitions": _R,
    "WarmStartConfig": _R,
    "Tags": _S,
    "Autotune": _R,
}
CREATE_NOTES = {
    **{_DEFINITION + name: note for name, note in JOB_NOTES.items()},
    _CONFIG + "StrategyConfig": "Belongs to Hyperband, which is not served.",
    _CONFIG + "ParameterRanges.AutoParameters": "Autotune is not served; give ranges.",
    _CONFIG + "TuningJobCompletionCriteria.ConvergenceDetected": "Give a target value or a number of trainings.",
    _DEFINITION + "DefinitionName": "Tells several definitions apart; there is one.",
    _DEFINITION + "TuningObjective": "Belongs to several definitions; give HyperParameterTuningJobObjective.",
    _DEFINITION + "HyperParameterRanges": "Belongs to several definitions; give ParameterRanges.",
    _DEFINITION + "HyperParameterTuningResourceConfig.VolumeSizeInGB": "Jobs use the disk below HOME.",
    _DEFINITION + "HyperParameterTuningResourceConfig.VolumeKmsKeyId": "Jobs use the disk below HOME; encrypt that.",
    _DEFINITION + "HyperParameterTuningResourceConfig.AllocationStrategy": "Give InstanceType and InstanceCount.",
    _DEFINITION + "HyperParameterTuningResourceConfig.InstanceConfigs": "Give InstanceType and InstanceCount.",
    "TrainingJobDefinitions": "One definition is served: TrainingJobDefinition.",
    "WarmStartConfig": "Every search starts anew.",
    "Autotune": "Give ranges.",
}
LIST_FIELDS = {
    **NAMED_FIELDS,
    **dict.fromkeys(("LastModifiedTimeBefore", "LastModifiedTimeAfter", "StatusEquals"), _S),
}
LIST_TRAININGS_FIELDS = dict.fromkeys(
    ("HyperParameterTuningJobName", "NextToken", "MaxResults", "StatusEquals", "SortBy", "SortOrder"), _S
)
_HOLD = HoldOptions()


def operations(desk: Desk, options: HoldOptions = _HOLD) -> tuple[Operation, ...]:
    """What is served of tuning jobs."""

    async def create(call: Call, members: Members) -> Members:
        name, tags = members["HyperParameterTuningJobName"], tags_of(members)
        return {"HyperParameterTuningJobArn": await tuning.create(desk, caller_of(call), name, _spec(members), tags)}

    async def describe(call: Call, members: Members) -> Members:
        wait_s = hold_s(options, call.user_agent)
        return _described(await tuning.describe(desk, caller_of(call), members["HyperParameterTuningJobName"], wait_s))

    async def list_jobs(call: Call, members: Members) -> Members:
        query = query_of(call, "ListHyperParameterTuningJobs", members)
        found, more = await tuning.list_jobs(desk, caller_of(call), query)
        items = {"HyperParameterTuningJobSummaries": [_summary(one) for one in found]}
        return page_members(call, "ListHyperParameterTuningJobs", members, items, more)

    async def list_trainings(call: Call, members: Members) -> Members:
        found = await tuning.describe(desk, caller_of(call), members["HyperParameterTuningJobName"])
        return _page(call, members, found)

    async def stop(call: Call, members: Members) -> Members:
        await tuning.stop(desk, caller_of(call), members["HyperParameterTuningJobName"])
        return {}

    name = {"HyperParameterTuningJobName": Field.SERVED}
    return (
        Operation("sagemaker", "CreateHyperParameterTuningJob", create, CREATE_FIELDS, CREATE_NOTES),
        Operation("sagemaker", "DescribeHyperParameterTuningJob", describe, name),
        Operation("sagemaker", "ListHyperParameterTuningJobs", list_jobs, LIST_FIELDS),
        Operation("sagemaker", "ListTrainingJobsForHyperParameterTuningJob", list_trainings, LIST_TRAININGS_FIELDS),
        Operation("sagemaker", "StopHyperParameterTuningJob", stop, name),
    )


def _spec(members: Members) -> TuningSpec:
    config, definition = members["HyperParameterTuningJobConfig"], members.get("TrainingJobDefinition")
    if definition is None:
        raise Invalid("TrainingJobDefinition is missing.")
    objective = config.get("HyperParameterTuningJobObjective")
    if objective is None or "Type" not in objective:
        raise Invalid("HyperParameterTuningJobObjective with Type and MetricName is missing.")
    if config.get("TrainingJobEarlyStoppingType", "Off") != "Off":
        raise NotServed("TrainingJobEarlyStoppingType Auto", "Every training runs to its end; leave it out.")
    if config["Strategy"] == "Bayesian" and importlib.util.find_spec("optuna") is None:
        raise NotServed(
            "The strategy Bayesian without optuna", "Install it: pip install 'clary[tuning]', or use Random or Grid."
        )
    ranges, criteria = config.get("ParameterRanges", {}), config.get("TuningJobCompletionCriteria", {})
    limits = config["ResourceLimits"]
    return TuningSpec(
        strategy=config["Strategy"],
        maximize=objective["Type"] == "Maximize",
        metric=objective["MetricName"],
        definition=spec_of(_with_resources(definition), dict(definition.get("StaticHyperParameters", {}))),
        numbers=(
            *(_number(found, integer=True) for found in ranges.get("IntegerParameterRanges", ())),
            *(_number(found, integer=False) for found in ranges.get("ContinuousParameterRanges", ())),
        ),
        choices=tuple(
            Choice(found["Name"], tuple(found["Values"])) for found in ranges.get("CategoricalParameterRanges", ())
        ),
        jobs_max=limits.get("MaxNumberOfTrainingJobs"),
        parallel=limits["MaxParallelTrainingJobs"],
        runtime_max_s=limits.get("MaxRuntimeInSeconds"),
        target=criteria.get("TargetObjectiveMetricValue"),
        not_improving_max=criteria.get("BestObjectiveNotImproving", {}).get("MaxNumberOfTrainingJobsNotImproving"),
        seed=config.get("RandomSeed"),
        definition_name=definition.get("DefinitionName", ""),
        config=json.dumps(config),
        described=json.dumps({**definition, "OutputDataConfig": output_members(definition["OutputDataConfig"])}),
    )


def _with_resources(definition: Members) -> Members:
    """A definition whose instance stands in ResourceConfig, whichever of its two places it was given in."""
    resources = definition.get("HyperParameterTuningResourceConfig")
    if resources is None:
        return definition
    if "ResourceConfig" in definition:
        raise Invalid("ResourceConfig and HyperParameterTuningResourceConfig exclude each other; give one of them.")
    return {**definition, "ResourceConfig": resources}


def _number(found: Mapping[str, Any], *, integer: bool) -> NumberRange:
    try:
        low, high = (int(found[end]) if integer else float(found[end]) for end in ("MinValue", "MaxValue"))
    except ValueError:
        kind = "IntegerParameterRanges" if integer else "ContinuousParameterRanges"
        raise Invalid(f"MinValue or MaxValue of '{found['Name']}' in {kind} is not such a number.") from None
    return NumberRange(found["Name"], low, high, found.get("ScalingType", "Auto"), integer)


def _counters(found: tuning.Tuning) -> dict[str, dict[str, int]]:
    trainings, spec = found.trainings, found.job.spec
    statuses = [training.status for training in trainings]
    trials = [trial_of(spec, training) for training in trainings]
    return {
        "TrainingJobStatusCounters": {
            "Completed": statuses.count(JobStatus.COMPLETED),
            "InProgress": sum(status in (JobStatus.IN_PROGRESS, JobStatus.STOPPING) for status in statuses),
            "RetryableError": 0,
            "NonRetryableError": statuses.count(JobStatus.FAILED),
            "Stopped": statuses.count(JobStatus.STOPPED),
        },
        "ObjectiveStatusCounters": {
            "Succeeded": sum(trial.value is not None for trial in trials),
            "Pending": sum(not trial.ended for trial in trials),
            "Failed": sum(trial.ended and trial.value is None for trial in trials),
        },
    }


def _summary(found: tuning.Tuning) -> dict[str, Any]:
    job = found.job
    return given(
        HyperParameterTuningJobName=job.name,
        HyperParameterTuningJobArn=job.arn,
        HyperParameterTuningJobStatus=job.status.value,
        Strategy=job.spec.strategy,
        CreationTime=instant(job.created_us),
        HyperParameterTuningEndTime=None if job.ended_us is None else instant(job.ended_us),
        LastModifiedTime=instant(job.modified_us),
        **_counters(found),
        ResourceLimits=json.loads(job.spec.config)["ResourceLimits"],
    )


def _described(found: tuning.Tuning) -> Members:
    job, trainings = found.job, found.trainings
    chosen = best(job.spec, [trial_of(job.spec, training) for training in trainings])
    summary = {name: value for name, value in _summary(found).items() if name not in ("Strategy", "ResourceLimits")}
    return given(
        **summary,
        HyperParameterTuningJobConfig=json.loads(job.spec.config),
        TrainingJobDefinition=json.loads(job.spec.described),
        BestTrainingJob=None if chosen is None else _training(job, trainings[chosen]),
        FailureReason=job.record.failure_reason,
    )


def _training(job: TuningJob, training: TrainingJob) -> dict[str, Any]:
    trial, record = trial_of(job.spec, training), training.record
    ended = training.phase in ENDED
    objective = {
        "Type": "Maximize" if job.spec.maximize else "Minimize",
        "MetricName": job.spec.metric,
        "Value": trial.value,
    }
    return given(
        TrainingJobDefinitionName=job.spec.definition_name,
        TrainingJobName=training.name,
        TrainingJobArn=training.arn,
        CreationTime=instant(training.created_us),
        TrainingStartTime=None if record.training_started_us is None else instant(record.training_started_us),
        TrainingEndTime=None if record.training_ended_us is None else instant(record.training_ended_us),
        TrainingJobStatus=training.status.value,
        TunedHyperParameters=training.spec.tuned,
        FailureReason=record.failure_reason,
        FinalHyperParameterTuningJobObjectiveMetric=None if trial.value is None else objective,
        ObjectiveStatus="Pending" if not ended else "Failed" if trial.value is None else "Succeeded",
    )


def _page(call: Call, members: Members, found: tuning.Tuning) -> Members:
    """One page of a tuning job's trainings; there are at most some hundreds."""
    job, spec = found.job, found.job.spec
    # Where a job has no value it comes last, however the values are sorted.
    worst = float("-inf") if members.get("SortOrder", "Ascending") == "Descending" else float("inf")

    def value(training: TrainingJob) -> float:
        got = trial_of(spec, training).value
        return worst if got is None else got

    keys = {
        "Name": lambda training: training.name.lower(),
        "CreationTime": lambda training: training.created_us,
        "Status": lambda training: training.status.value,
        "FinalObjectiveMetricValue": value,
    }
    wanted = members.get("StatusEquals")
    chosen = [training for training in found.trainings if wanted in (None, training.status.value)]
    descending = members.get("SortOrder", "Ascending") == "Descending"
    chosen.sort(key=keys[members.get("SortBy", "Name")], reverse=descending)
    operation = "ListTrainingJobsForHyperParameterTuningJob"
    query = query_of(call, operation, members)
    start = int(query.after.value) if query.after is not None else 0
    end = start + members.get("MaxResults", PAGE_DEFAULT)
    items = {"TrainingJobSummaries": [_training(job, training) for training in chosen[start:end]]}
    return page_members(call, operation, members, items, After(end, "") if end < len(chosen) else None)
