"""The training runner on real processes, and what a script is given."""

from __future__ import annotations

import json
import os
import sys
import tarfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from clary.worker import trainer, trainer_env
from clary.worker import trainer_options as told
from tests.support.server import wait_until

OPTIONS = told.TrainerOptions(
    uid="u",
    job="My-Job",
    arn="arn:job",
    region="eu-west-1",
    runtime="sklearn",
    image_tag="1.2-1",
    program="train.py",
    code="code",
    submit_directory="s3://b/code.tar.gz",
    python=sys.executable,
    instance_type="ml.m5.large",
    threads=2,
    max_runtime_s=100,
    channels={"train": {"TrainingInputMode": "File"}, "my-data": {}},
    metrics={"loss": "loss=([0-9.]+)", "word": "word"},
    stop_wait_s=0.3,
)
Run = Callable[..., told.TrainerResult | None]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(trainer, "_end_group", lambda: None)  # the group is pytest's own here

    def started(code: str, stopping: list[int] | None = None, **more: object) -> told.TrainerResult | None:
        options = replace(OPTIONS, **more)  # type: ignore[arg-type]
        (tmp_path / "ml" / "code").mkdir(parents=True, exist_ok=True)
        (tmp_path / "ml" / "code" / "train.py").write_text(code)
        return trainer.Training(tmp_path, options, stopping if stopping is not None else []).run()

    return started


def test_a_script_that_ends_well(run: Run, tmp_path: Path) -> None:
    code = """
import os, sys
print("loss=0.5"); print("loss=0.25 and more", file=sys.stderr); print("loss=none", "word")
open(os.environ["SM_MODEL_DIR"] + "/m.txt", "w").write("model")
"""
    result = run(code)
    assert result is not None
    assert (result.outcome, result.reason, result.output) == (told.COMPLETED, "", False)
    assert {name: value for name, (value, _) in result.metrics.items()} == {"loss": 0.25}
    assert result.started_us < result.ended_us
    with tarfile.open(tmp_path / told.MODEL_ARCHIVE) as archive:
        assert [member.name for member in archive] == ["m.txt"]
    told.write_result(tmp_path, result)
    assert told.read_result(tmp_path) == result


def test_the_reason_of_a_failure(run: Run) -> None:
    result = run("print('a'); raise KeyError('x' * 2000)", hyperparameters={"depth": "3", "name": '"a b"'})
    assert result is not None
    assert result.outcome == told.FAILED
    assert result.reason.startswith('AlgorithmError: ExecuteUserScriptError:\nExitCode 1\nErrorMessage "')
    assert result.reason.endswith('Command "python train.py --depth 3 --name a b", exit code: 1')
    assert len(result.reason) <= 1024
    own = run("import os; open(os.environ['SM_OUTPUT_DIR'] + '/failure', 'w').write('no rows'); raise SystemExit(3)")
    assert own is not None
    assert own.reason == "AlgorithmError: no rows, exit code: 3"
    killed = run("import os; os.kill(os.getpid(), 9)")
    assert killed is not None
    assert "killed by SIGKILL (perhaps out of memory)" in killed.reason
    assert killed.reason.endswith("exit code: 137")


def test_a_program_that_cannot_be_started(run: Run) -> None:
    result = run("", python="/no/such/python")
    assert result is not None
    assert (result.outcome, "could not be started" in result.reason) == (told.FAILED, True)


def test_a_stubborn_script_is_killed_after_its_time(run: Run, tmp_path: Path) -> None:
    (tmp_path / told.STOP).touch()
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    result = run(code)
    assert result is not None
    assert result.outcome == told.STOPPED


def test_a_script_that_runs_too_long(run: Run) -> None:
    result = run("import time; time.sleep(60)", max_runtime_s=0)
    assert result is not None
    assert result.outcome == told.MAX_RUNTIME


def test_children_of_the_script_do_not_hold_it_up(run: Run) -> None:
    code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(5)'])"
    result = run(code)
    assert result is not None
    assert result.outcome == told.COMPLETED
    assert result.ended_us - result.started_us < 4_500_000


def test_a_server_that_stops_leaves_the_job_to_start_anew(run: Run, tmp_path: Path) -> None:
    stopping: list[int] = []
    log = tmp_path / "ml" / "model" / "waiting"
    asked = threading.Thread(target=lambda: (wait_until(log.exists, "the script to wait"), stopping.append(15)))
    asked.start()
    assert run("import os, time; open(os.environ['SM_MODEL_DIR'] + '/waiting', 'w'); time.sleep(60)", stopping) is None
    asked.join()
    again = run("import os; print(os.listdir(os.environ['SM_MODEL_DIR']))")
    assert again is not None
    assert again.outcome == told.COMPLETED
    assert len(told.read_starts(tmp_path)) == 2


def test_a_job_that_is_interrupted_again_and_again_fails(run: Run, tmp_path: Path) -> None:
    (tmp_path / told.STARTS).write_text("1\n2\n3\n")
    result = run("")
    assert result is not None
    assert (result.outcome, result.reason.startswith("InternalServerError: The training was interrupted 3 times")) == (
        told.FAILED, True,
    )  # fmt: skip


def test_an_archive_holds_files_and_nothing_from_outside(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a").write_text("a")
    (folder / "inside").symlink_to("sub/a")
    (folder / "outside").symlink_to("/etc/hostname")
    os.mkfifo(folder / "pipe")
    trainer.pack(folder, tmp_path / "m.tar.gz")
    with tarfile.open(tmp_path / "m.tar.gz") as archive:
        found = {member.name: member for member in archive}
    assert sorted(found) == ["inside", "sub", "sub/a"]
    assert found["inside"].isfile()


def test_what_a_script_is_given(tmp_path: Path) -> None:
    given = {
        "sagemaker_program": '"train.py"',
        "sagemaker_container_log_level": "30",
        "depth": "3",
        "rate": "0.5",
        "name": '"tree"',
        "plain": "as it is",
        "flag": "true",
        "layers": "[1, 2]",
        "k": "7",
        "my-option": "1",
    }
    options = replace(OPTIONS, hyperparameters=given)
    assert trainer_env.command(options, tmp_path, []) == [
        sys.executable, "-u", str(tmp_path / "code" / "train.py"), "--depth", "3", "--flag", "True", "-k", "7",
        "--layers", "[1, 2]", "--my-option", "1", "--name", "tree", "--plain", "as it is", "--rate", "0.5",
    ]  # fmt: skip
    found = trainer_env.variables(options, tmp_path)
    assert found["SM_MODEL_DIR"] == str(tmp_path / "model")
    assert found["SM_CHANNEL_TRAIN"] == str(tmp_path / "input" / "data" / "train")
    assert found["SM_CHANNEL_MY_DATA"] == str(tmp_path / "input" / "data" / "my-data")
    assert (found["SM_HP_DEPTH"], found["SM_HP_NAME"], found["SM_HP_MY_OPTION"]) == ("3", "tree", "1")
    assert (found["SM_NUM_CPUS"], found["SM_NUM_GPUS"], found["SM_LOG_LEVEL"]) == ("2", "0", "30")
    assert json.loads(found["SM_HOSTS"]) == ["algo-1"]
    assert json.loads(found["SM_HPS"])["layers"] == [1, 2]
    assert "sagemaker_program" not in json.loads(found["SM_HPS"])
    assert json.loads(found["SM_FRAMEWORK_PARAMS"])["sagemaker_program"] == "train.py"
    everything = json.loads(found["SM_TRAINING_ENV"])
    assert everything["hyperparameters"]["rate"] == 0.5
    assert everything["channel_input_dirs"]["train"] == found["SM_CHANNEL_TRAIN"]
    shell = replace(options, program="run.sh", hyperparameters={})
    assert trainer_env.command(shell, tmp_path, [])[0] == "/bin/sh"
    algorithm = replace(options, program="", code="")
    assert trainer_env.command(algorithm, tmp_path, ["python", "boot"]) == ["python", "boot"]
