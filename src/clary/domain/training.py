"""Training jobs: what is wanted, where a job stands, and how one follows from the other.

Statuses and secondary statuses are DescribeTrainingJob's of the API reference, as are the messages of the transitions.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from typing import Optional

from clary.domain.errors import Invalid, NotServed
from clary.domain.model import check_environment

MAX_RUNTIME_S = 86_400
"""StoppingCondition.MaxRuntimeInSeconds where it is not given: one day (API reference)."""
HYPERPARAMETER_CHARS_MAX = 2500
"""Characters of one key or value (API reference: HyperParameters)."""
FAILURE_REASON_CHARS_MAX = 1024
SPOT_WAIT_TEXT = "MaxWaitTimeInSeconds must be given, and not be below MaxRuntimeInSeconds, for managed spot training."
PROGRAM = "sagemaker_program"
SUBMIT_DIRECTORY = "sagemaker_submit_directory"
DRIVERS = "sm_drivers"
"""Channel of the driver that SageMaker SDK 3's ModelTrainer uploads, with `sourcecode.json`: which script is to run."""


class JobStatus(enum.Enum):
    """What DescribeTrainingJob says as TrainingJobStatus."""

    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPING = "Stopping"
    STOPPED = "Stopped"


class Phase(enum.Enum):
    """Where a job stands: the secondary statuses that Clary goes through."""

    STARTING = "Starting"
    """Waits for its turn: jobs share the cores of one machine."""
    DOWNLOADING = "Downloading"
    TRAINING = "Training"
    UPLOADING = "Uploading"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPED = "Stopped"
    MAX_RUNTIME_EXCEEDED = "MaxRuntimeExceeded"


ENDED = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.STOPPED, Phase.MAX_RUNTIME_EXCEEDED})
_STATUS = {
    Phase.COMPLETED: JobStatus.COMPLETED,
    Phase.FAILED: JobStatus.FAILED,
    Phase.STOPPED: JobStatus.STOPPED,
    Phase.MAX_RUNTIME_EXCEEDED: JobStatus.STOPPED,
}
STEPS = frozenset(
    {
        (Phase.STARTING, Phase.DOWNLOADING),
        (Phase.DOWNLOADING, Phase.TRAINING),
        (Phase.TRAINING, Phase.UPLOADING),
        (Phase.UPLOADING, Phase.COMPLETED),
        (Phase.UPLOADING, Phase.STOPPED),
        (Phase.UPLOADING, Phase.MAX_RUNTIME_EXCEEDED),
        *((phase, Phase.FAILED) for phase in Phase if phase not in ENDED),
        *((phase, Phase.STOPPED) for phase in Phase if phase not in ENDED),
    }
)
MESSAGES = {
    Phase.STARTING: "Preparing the instances for training",
    Phase.DOWNLOADING: "Downloading input data",
    Phase.TRAINING: "Training image download completed. Training in progress.",
    Phase.UPLOADING: "Uploading generated training model",
    Phase.COMPLETED: "Training job completed",
    Phase.FAILED: "Training job failed",
    Phase.STOPPED: "Training job stopped",
    Phase.MAX_RUNTIME_EXCEEDED: "Training job exceeded its maximum run time",
}
STOPPING_MESSAGE = "Stopping the training job"


class IllegalPhaseError(RuntimeError):
    """A step between phases that the table does not hold: a bug, never a user's fault."""


def step(old: Phase, new: Phase) -> Phase:
    """`new`, if the table allows it from `old`; staying is always allowed."""
    if old is not new and (old, new) not in STEPS:
        raise IllegalPhaseError(f"a training job cannot go from {old.value} to {new.value}")
    return new


def status_of(phase: Phase, stop_requested: bool) -> JobStatus:
    """TrainingJobStatus: what a job has come to, or that it is asked to stop, or that it goes on."""
    if phase in ENDED:
        return _STATUS[phase]
    return JobStatus.STOPPING if stop_requested else JobStatus.IN_PROGRESS


@dataclass(frozen=True)
class Channel:
    """One named input, in File mode: every object of a prefix or a manifest as a file."""

    name: str
    s3_uri: str
    data_type: str = "S3Prefix"
    """`S3Prefix` or `ManifestFile`."""
    content_type: str = ""
    distribution: str = ""
    """As given: on one instance both kinds are the same."""
    compression: str = ""
    record_wrapper: str = ""
    input_mode: str = ""


@dataclass(frozen=True)
class MetricDefinition:
    """A metric and the expression whose first group is its value in a line of the log."""

    name: str
    regex: str


@dataclass(frozen=True)
class TrainingSpec:
    """CreateTrainingJob's request, checked."""

    image: str
    runtime: str
    """`xgboost` or `sklearn`, resolved from the image when the job is created."""
    image_tag: str
    output_path: str
    """`s3://bucket[/prefix]`; artifacts go to `<output_path>/<job>/output/`."""
    role_arn: str
    instance_type: str
    volume_gb: int
    hyperparameters: dict[str, str] = field(default_factory=dict)
    channels: tuple[Channel, ...] = ()
    metrics: tuple[MetricDefinition, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    instance_count: int = 1
    max_runtime_s: int = MAX_RUNTIME_S
    max_wait_s: Optional[int] = None  # noqa: UP045 - Python 3.9
    retries_max: int = 0
    """RetryStrategy.MaximumRetryAttempts; 0 where it is not given."""
    spot: bool = False
    network_isolation: bool = False
    traffic_encryption: bool = False
    tuning_job: str = ""
    """Name of the tuning job that made it; empty for one of its own."""
    tuned: dict[str, str] = field(default_factory=dict)
    """Of `hyperparameters`, those that its tuning job chose."""
    parallel: int = 1
    """How many of its tuning job's trainings share this machine's cores."""
    driven: bool = False
    """By the driver that SageMaker SDK 3's ModelTrainer uploads: what is to run stands in its channel DRIVERS."""
    kept: dict[str, str] = field(default_factory=dict)
    """Members that are kept and returned without effect: name to JSON text, as given."""

    @property
    def scripted(self) -> bool:
        """Whether a script trains; otherwise the algorithm of the image."""
        return self.driven or bool(self.program)

    @property
    def program(self) -> str:
        """The entry point of script mode; empty in algorithm mode."""
        return plain(self.hyperparameters.get(PROGRAM, "")) or self.environment.get("SAGEMAKER_PROGRAM", "")

    @property
    def submit_directory(self) -> str:
        """Where the code of script mode is: `s3://.../sourcedir.tar.gz`, or a folder below /opt/ml."""
        given = plain(self.hyperparameters.get(SUBMIT_DIRECTORY, ""))
        return given or self.environment.get("SAGEMAKER_SUBMIT_DIRECTORY", "")


def plain(value: str) -> str:
    """A hyperparameter's text: SDKs send values as JSON, people as they are."""
    if len(value) > 1 and value.startswith('"') and value.endswith('"'):
        import json

        try:
            decoded = json.loads(value)
        except ValueError:
            return value
        return decoded if isinstance(decoded, str) else value
    return value


def check_training(spec: TrainingSpec) -> None:
    """Raise Invalid or NotServed where the specification breaks a rule; both name the field."""
    check_environment(spec.environment)
    for key, value in spec.hyperparameters.items():
        if len(key) > HYPERPARAMETER_CHARS_MAX or len(value) > HYPERPARAMETER_CHARS_MAX:
            raise Invalid(f"Hyperparameter '{key[:64]}' is longer than {HYPERPARAMETER_CHARS_MAX} characters.")
    if spec.instance_count != 1:
        raise NotServed(
            f"ResourceConfig.InstanceCount {spec.instance_count} (distributed training)", "Train on one instance."
        )
    if not spec.output_path.startswith("s3://"):
        raise Invalid(f"Value '{spec.output_path}' at OutputDataConfig.S3OutputPath is not an s3:// address.")
    if spec.spot and (spec.max_wait_s is None or spec.max_wait_s < spec.max_runtime_s):
        raise Invalid(SPOT_WAIT_TEXT)
    if spec.max_wait_s is not None and not spec.spot:
        raise Invalid("MaxWaitTimeInSeconds is only for jobs with EnableManagedSpotTraining.")
    _check_channels(spec.channels)
    for metric in spec.metrics:
        try:
            re.compile(metric.regex)
        except re.error as error:
            raise Invalid(f"The Regex of metric '{metric.name}' is not a regular expression: {error}.") from None
    _check_script(spec)


def _check_channels(channels: tuple[Channel, ...]) -> None:
    names = [channel.name for channel in channels]
    for channel in channels:
        if names.count(channel.name) > 1:
            raise Invalid(f"The channel '{channel.name}' is given more than once in InputDataConfig.")
        if channel.name in (".", ".."):
            raise Invalid(f"A channel cannot be named '{channel.name}'.")
        if not channel.s3_uri.startswith("s3://"):
            raise Invalid(f"Value '{channel.s3_uri}' at S3Uri of channel '{channel.name}' is not an s3:// address.")
        if channel.input_mode not in ("", "File"):
            raise NotServed(f"InputMode {channel.input_mode} of channel '{channel.name}'", "Use File mode.")
        if channel.data_type not in ("S3Prefix", "ManifestFile"):
            raise NotServed(
                f"S3DataType {channel.data_type} of channel '{channel.name}'", "Give S3Prefix or ManifestFile."
            )
        if channel.compression not in ("", "None"):
            raise NotServed(
                f"CompressionType {channel.compression} of channel '{channel.name}' (it belongs to Pipe mode)",
                "Upload the files unpacked, and leave CompressionType out.",
            )
        if channel.record_wrapper not in ("", "None"):
            raise NotServed(
                f"RecordWrapperType {channel.record_wrapper} of channel '{channel.name}' (it belongs to Pipe mode)",
                "Leave it out.",
            )


def _check_script(spec: TrainingSpec) -> None:
    if spec.driven:
        if DRIVERS not in [channel.name for channel in spec.channels]:
            raise Invalid(f"ContainerArguments name the driver of a channel '{DRIVERS}', which InputDataConfig lacks.")
        return
    if not spec.program:
        if spec.runtime != "xgboost":
            raise Invalid(
                f"The image {spec.image} trains by a script: give the hyperparameters {PROGRAM} (its name) and "
                f"{SUBMIT_DIRECTORY} (the s3:// address of a sourcedir.tar.gz that holds it)."
            )
        if not spec.channels:
            raise Invalid("InputDataConfig is missing: the XGBoost algorithm needs a channel named 'train'.")
        return
    if ".." in spec.program.split("/") or spec.program.startswith("/"):
        raise Invalid(f"The entry point '{spec.program}' is not a path below the submitted folder.")
    where = spec.submit_directory
    if not where:
        raise Invalid(f"{PROGRAM} is given without {SUBMIT_DIRECTORY}, the s3:// address of its sourcedir.tar.gz.")
    if where.startswith("/opt/ml/input/data/"):
        if where.split("/")[5] not in [channel.name for channel in spec.channels]:
            raise Invalid(f"{SUBMIT_DIRECTORY} '{where}' is in a channel that InputDataConfig does not have.")
    elif not where.startswith("s3://"):
        raise Invalid(
            f"{SUBMIT_DIRECTORY} '{where}' is neither the s3:// address of a tar.gz nor a folder of a channel, "
            "/opt/ml/input/data/CHANNEL."
        )


@dataclass(frozen=True)
class Metric:
    """The last value of a metric."""

    name: str
    value: float
    at_us: int


@dataclass(frozen=True)
class Transition:
    """One entry of SecondaryStatusTransitions."""

    status: str
    started_us: int
    ended_us: Optional[int] = None  # noqa: UP045
    message: str = ""


@dataclass(frozen=True)
class TrainingRecord:
    """What reconcile noted of a job, apart from its phase."""

    transitions: tuple[Transition, ...] = ()
    training_started_us: Optional[int] = None  # noqa: UP045
    training_ended_us: Optional[int] = None  # noqa: UP045
    metrics: tuple[Metric, ...] = ()
    artifacts: str = ""
    """`s3://.../output/model.tar.gz`, once it is there."""
    failure_reason: str = ""


def moved(
    record: TrainingRecord, status: str, message: str, at_us: int, *, ends: bool = False
) -> tuple[Transition, ...]:
    """The transitions with one more; the one before ends where it begins. An end is both at once."""
    if record.transitions and record.transitions[-1].status == status:
        return record.transitions
    closed = tuple(
        Transition(t.status, t.started_us, at_us if t.ended_us is None else t.ended_us, t.message)
        for t in record.transitions
    )
    return (*closed, Transition(status, at_us, at_us if ends else None, message))


def output_key(output_path: str, job: str, name: str) -> tuple[str, str]:
    """Bucket and key of a file of a job's output."""
    bucket, _, prefix = output_path[len("s3://") :].partition("/")
    prefix = prefix.rstrip("/")
    return bucket, f"{prefix}/{job}/output/{name}" if prefix else f"{job}/output/{name}"


def threads_of(cores: int, parallel: int, vcpus: int) -> int:
    """A training's share of `cores`, at least 1, at most what its instance type has (0: unknown)."""
    share = max(1, cores // max(1, min(parallel, cores)))
    return min(share, vcpus) if vcpus else share


BUILT_IN_METRICS = (
    "accuracy", "auc", "aucpr", "balanced_accuracy", "f1", "f1_binary", "f1_macro", "map", "ndcg", "precision", "r2",
    "recall", "precision_macro", "precision_micro", "recall_macro", "recall_micro", "aft-nloglik", "cox-nloglik",
    "error", "gamma-deviance", "gamma-nloglik", "interval-regression-accuracy", "logloss", "mae", "mape", "merror",
    "mlogloss", "mphe", "mse", "poisson-nloglik", "rmse", "rmsle", "tweedie-nloglik",
)  # fmt: skip
"""Of the XGBoost algorithm (developer guide, "Metrics computed by the XGBoost algorithm", and the container)."""


def metrics_of(spec: TrainingSpec) -> dict[str, str]:
    """Metric name to regular expression: the job's own, and before them those that the algorithm brings along."""
    own = {metric.name: metric.regex for metric in spec.metrics}
    if spec.scripted:
        return own
    number = r"([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)"
    built_in = {
        f"{data}:{name}": rf".*\[[0-9]+\].*#011{data}-{name}:{number}.*"
        for name in BUILT_IN_METRICS
        for data in ("train", "validation")
    }
    return {**built_in, **own}
