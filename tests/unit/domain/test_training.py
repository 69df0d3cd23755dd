"""Rules of training jobs, and what follows from what was noted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clary.domain.errors import Invalid, NotServed
from clary.domain.training import (
    ENDED,
    MESSAGES,
    Channel,
    IllegalPhaseError,
    JobStatus,
    MetricDefinition,
    Phase,
    TrainingRecord,
    TrainingSpec,
    check_training,
    metrics_of,
    moved,
    output_key,
    plain,
    status_of,
    step,
    threads_of,
)

SPEC = TrainingSpec(
    image="xgboost:1.7-1",
    runtime="xgboost",
    image_tag="1.7-1",
    output_path="s3://b/out",
    role_arn="arn",
    instance_type="ml.m5.large",
    volume_gb=1,
    hyperparameters={"num_round": "5"},
    channels=(Channel("train", "s3://b/train"),),
)
SCRIPT = {"sagemaker_program": '"train.py"', "sagemaker_submit_directory": '"s3://b/code.tar.gz"'}


def test_a_plain_job_passes() -> None:
    check_training(SPEC)
    check_training(replace(SPEC, runtime="sklearn", hyperparameters=SCRIPT, channels=()))
    check_training(replace(SPEC, runtime="sklearn", driven=True, channels=(Channel("sm_drivers", "s3://b/d"),)))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"instance_count": 2}, "distributed training"),
        ({"output_path": "https://b/out"}, "not an s3:// address"),
        ({"channels": ()}, "needs a channel named 'train'"),
        ({"channels": (Channel("a", "s3://b"), Channel("a", "s3://c"))}, "more than once"),
        ({"channels": (Channel("a", "https://b"),)}, "not an s3:// address"),
        ({"driven": True}, "the driver of a channel 'sm_drivers', which InputDataConfig lacks"),
        ({"channels": (Channel("..", "s3://b"),)}, "cannot be named"),
        ({"channels": (Channel("a", "s3://b", input_mode="FastFile"),)}, "InputMode FastFile"),
        ({"channels": (Channel("a", "s3://b", input_mode="Pipe"),)}, "InputMode Pipe"),
        ({"channels": (Channel("a", "s3://b", data_type="AugmentedManifestFile"),)}, "AugmentedManifestFile"),
        ({"channels": (Channel("a", "s3://b", compression="Gzip"),)}, "CompressionType Gzip"),
        ({"channels": (Channel("a", "s3://b", record_wrapper="RecordIO"),)}, "RecordWrapperType RecordIO"),
        ({"spot": True}, "MaxWaitTimeInSeconds must be given"),
        ({"max_wait_s": 5}, "only for jobs with EnableManagedSpotTraining"),
        ({"metrics": (MetricDefinition("m", "("),)}, "not a regular expression"),
        ({"hyperparameters": {"a": "x" * 2501}}, "longer than 2500"),
        ({"runtime": "sklearn"}, "trains by a script"),
        ({"hyperparameters": {"sagemaker_program": "train.py"}}, "without sagemaker_submit_directory"),
        ({"hyperparameters": {**SCRIPT, "sagemaker_program": "../x.py"}}, "not a path below"),
        ({"hyperparameters": {**SCRIPT, "sagemaker_submit_directory": "/tmp/x"}}, "neither the s3:// address"),
        ({"hyperparameters": {**SCRIPT, "sagemaker_submit_directory": "/opt/ml/input/data/no"}}, "does not have"),
        ({"environment": {"A=": "b"}}, "Environment"),
    ],
)
def test_what_breaks_a_rule_is_named(change: dict[str, object], text: str) -> None:
    with pytest.raises((Invalid, NotServed), match=text):
        check_training(replace(SPEC, **change))  # type: ignore[arg-type]


def test_values_of_sdks_and_of_people_are_one() -> None:
    assert [plain(text) for text in ('"a"', "a", '"', '""', '"a\\u00e9"', '"a" or "b"')] == [
        "a", "a", '"', "", "aé", '"a" or "b"',
    ]  # fmt: skip


def test_the_status_follows_from_the_phase() -> None:
    assert status_of(Phase.TRAINING, False) is JobStatus.IN_PROGRESS
    assert status_of(Phase.TRAINING, True) is JobStatus.STOPPING
    assert status_of(Phase.MAX_RUNTIME_EXCEEDED, False) is JobStatus.STOPPED
    assert status_of(Phase.COMPLETED, True) is JobStatus.COMPLETED
    assert set(MESSAGES) == set(Phase)


def test_a_phase_that_ended_goes_nowhere() -> None:
    for ended in ENDED:
        for phase in Phase:
            if phase is not ended:
                with pytest.raises(IllegalPhaseError):
                    step(ended, phase)
        assert step(ended, ended) is ended


def test_transitions_end_where_the_next_begins() -> None:
    record = TrainingRecord()
    for at_us, status in ((1, "Starting"), (2, "Downloading"), (2, "Downloading")):
        record = replace(record, transitions=moved(record, status, status, at_us))
    record = replace(record, transitions=moved(record, "Failed", "no", 5, ends=True))
    assert [(t.status, t.started_us, t.ended_us) for t in record.transitions] == [
        ("Starting", 1, 2), ("Downloading", 2, 5), ("Failed", 5, 5),
    ]  # fmt: skip


def test_output_goes_below_the_jobs_name() -> None:
    assert output_key("s3://b/out/", "j", "model.tar.gz") == ("b", "out/j/output/model.tar.gz")
    assert output_key("s3://b", "j", "model.tar.gz") == ("b", "j/output/model.tar.gz")


def test_threads_are_shared_and_bounded() -> None:
    assert [threads_of(8, parallel, vcpus) for parallel, vcpus in ((1, 0), (1, 2), (2, 0), (100, 0))] == [8, 2, 4, 1]
    assert threads_of(1, 4, 4) == 1


def test_the_algorithm_brings_its_metrics_and_a_script_its_own() -> None:
    import re

    found = metrics_of(SPEC)
    line = "[10]#011train-rmse:1.25000#011validation-rmse:1.5e-05"
    values = {name: found_[1] for name, regex in found.items() if (found_ := re.search(regex, line))}
    assert values == {"train:rmse": "1.25000", "validation:rmse": "1.5e-05"}
    own = (MetricDefinition("loss", "loss=(.*)"),)
    assert metrics_of(replace(SPEC, hyperparameters=SCRIPT, metrics=own)) == {"loss": "loss=(.*)"}
