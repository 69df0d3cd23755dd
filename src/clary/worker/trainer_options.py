"""What a training process is told (`job.json`) and what it says when it is done (`result.json`), as files of its job.

The folder of a job, `HOME/jobs/<uid>`:

    job.json        what to do; written last, so that its presence says that all input is there
    ml/             stands for /opt/ml: input/config, input/data/CHANNEL, code, model, output/data, checkpoints
    starts          one line for each start of the process
    stop            control's order to stop
    result.json     the outcome; model.tar.gz and output.tar.gz lie beside it
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Optional

from clary.kit.durable import replace_file

JOB, RESULT, STOP, STARTS, ML = "job.json", "result.json", "stop", "starts", "ml"
MODEL_ARCHIVE, OUTPUT_ARCHIVE = "model.tar.gz", "output.tar.gz"

COMPLETED, FAILED, STOPPED, MAX_RUNTIME = "completed", "failed", "stopped", "max_runtime"
"""Outcomes."""


@dataclass(frozen=True)
class TrainerOptions:
    """One training process."""

    uid: str
    job: str
    arn: str
    region: str
    runtime: str
    image_tag: str
    program: str
    """Entry point of script mode, below the code folder; empty in algorithm mode."""
    code: str
    """Folder of the code, below `ml`; empty in algorithm mode."""
    submit_directory: str
    """As the user gave it: SM_MODULE_DIR."""
    python: str
    instance_type: str
    threads: int
    max_runtime_s: float
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    """As given: values are JSON or plain text."""
    channels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """inputdataconfig.json: channel name to its description."""
    metrics: Mapping[str, str] = field(default_factory=dict)
    """Metric name to its regular expression."""
    environment: Mapping[str, str] = field(default_factory=dict)
    starts_max: int = 3
    """Starts without a result (the machine went down, the process was killed) before the job fails."""
    stop_wait_s: float = 120.0
    """Between SIGTERM and SIGKILL of a job that is stopped (StopTrainingJob, API reference)."""


@dataclass(frozen=True)
class TrainerResult:
    """How it ended."""

    outcome: str
    reason: str = ""
    """FailureReason of a job that failed."""
    metrics: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    """Name to last value and its instant in UTC microseconds."""
    started_us: int = 0
    ended_us: int = 0
    output: bool = False
    """Whether there is an output.tar.gz."""


def write_json(path: Path, document: object) -> None:
    """Replace a file durably."""
    replace_file(path, json.dumps(document).encode())


def write_options(folder: Path, options: TrainerOptions) -> None:
    """Write job.json: from now on the job may run."""
    write_json(folder / JOB, asdict(options))


def read_options(folder: Path) -> TrainerOptions:
    """job.json. OSError or ValueError where it is not there or of no use."""
    return TrainerOptions(**json.loads((folder / JOB).read_text()))


def write_result(folder: Path, result: TrainerResult) -> None:
    """Write result.json: nothing of the job changes after it."""
    write_json(folder / RESULT, asdict(result))


def read_result(folder: Path) -> Optional[TrainerResult]:  # noqa: UP045 - Python 3.9
    """The result, None where there is none yet."""
    try:
        document = json.loads((folder / RESULT).read_text())
    except FileNotFoundError:
        return None
    metrics = {name: (float(value), int(at_us)) for name, (value, at_us) in document.pop("metrics").items()}
    return TrainerResult(**document, metrics=metrics)


def read_starts(folder: Path) -> list[int]:
    """Instants at which the process was started, in UTC microseconds."""
    try:
        return [int(line) for line in (folder / STARTS).read_text().split()]
    except FileNotFoundError:
        return []
