"""Rows of the process table: nothing inherited, zygotes shared, uids that name what they are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from clary.placement import forks
from clary.placement.base import ReplicaSpec
from clary.placement.specs import Ground, bundles_of, told_of, unused, worker_of, zygote_of

GROUND = Ground(Path("/run/c"), Path("/home/logs"), Path("/home/bundles/abc"), "/usr/bin:/bin")
SPEC = ReplicaSpec(
    "W1", "Ridge", "AllTraffic", "EU", "xgboost", "1.7-1", Path("/home/artifacts/d"), "d", env={"LANG": "de", "X": "1"},
    threads=2, memory_bytes_max=5, load_timeout_s=60.0,
)  # fmt: skip


def test_a_worker_gets_its_own_environment_and_nothing_else() -> None:
    row = worker_of(SPEC, "/usr/bin/python3", "", GROUND)
    assert row.argv == ("/usr/bin/python3", "-I", "-B", "/home/bundles/abc/boot.py", "worker")
    assert set(row.env) == {
        "PATH", "LANG", "X", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "SM_MODEL_DIR",
        "SM_NUM_CPUS", "SAGEMAKER_BASE_DIR", "CLARY_WORKER", "AWS_EMF_ENVIRONMENT", "AWS_EMF_LOG_GROUP_NAME",
        "AWS_EMF_SERVICE_NAME", "AWS_EMF_SERVICE_TYPE",
    }  # fmt: skip
    assert (row.env["LANG"], row.env["OMP_NUM_THREADS"]) == ("de", "2")
    assert row.log == "/home/logs/endpoints/EU/AllTraffic/W1.log"
    assert row.memory_bytes_max == 5
    told = told_of(row)
    assert (told.uid, told.socket, told.runtime, told.image_tag) == ("W1", "/run/c/w-W1.sock", "xgboost", "1.7-1")
    assert (told.env, told.threads, told.load_timeout_s) == ({"LANG": "de", "X": "1"}, 2, 60.0)


def test_a_container_cannot_replace_what_the_worker_is_told() -> None:
    spec = ReplicaSpec(**{**SPEC.__dict__, "env": {"CLARY_WORKER": "{}"}})
    assert told_of(worker_of(spec, "/p", "", GROUND)).uid == "W1"


def test_zygotes_are_shared_by_equal_needs_only() -> None:
    one = zygote_of("xgboost", "/p", "env1", "", GROUND)
    assert zygote_of("xgboost", "/p", "env1", "", GROUND).uid == one.uid
    others = [
        zygote_of("sklearn", "/p", "env1", "", GROUND),
        zygote_of("xgboost", "/q", "env1", "", GROUND),
        zygote_of("xgboost", "/p", "env2", "", GROUND),
        zygote_of("xgboost", "/p", "env1", "", Ground(GROUND.runtime_dir, GROUND.logs, Path("/b/def"), "")),
    ]
    assert len({one.uid, *(other.uid for other in others)}) == 5
    assert one.env["OMP_NUM_THREADS"] == "1"
    assert json.loads(one.env["CLARY_ZYGOTE"]) == {"runtime": "xgboost", "fork": ""}


def test_what_the_table_uses() -> None:
    zygote, idle = zygote_of("xgboost", "/p", "e", "", GROUND), zygote_of("sklearn", "/p", "e", "", GROUND)
    rows = [zygote, idle, worker_of(SPEC, "/p", zygote.uid, GROUND)]
    assert unused(rows) == {idle.uid}
    assert bundles_of({row.uid: row for row in rows}) == {"abc"}


def test_verdicts_are_kept_and_broken_files_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "forks.json"
    assert forks.read_verdicts(path) == {}
    verdict = forks.ForkVerdict("xgboost", "/p", "safe", "it predicted", {"xgboost": "3.2.0"})
    forks.write_verdicts(path, {forks.key_of("e", "xgboost"): verdict})
    assert forks.read_verdicts(path) == {"e:xgboost": verdict}
    path.write_text("{")
    assert forks.read_verdicts(path) == {}


def test_an_environment_is_its_interpreter_and_what_is_installed(tmp_path: Path) -> None:
    assert forks.environment_of(sys.executable) == forks.environment_of(sys.executable)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "v")], check=True)
    python = str(tmp_path / "v" / "bin" / "python")
    bare = forks.environment_of(python)
    (packages,) = (tmp_path / "v" / "lib").glob("python3.*/site-packages")
    (packages / "xgboost-3.2.0.dist-info").mkdir()
    assert forks.environment_of(python) != bare
    assert bare != forks.environment_of(sys.executable)
