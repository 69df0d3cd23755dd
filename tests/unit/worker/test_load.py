"""Why a model cannot serve is always a sentence with a remedy; a slow load is told in time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clary.runtimes.base import Joins, LoadError
from clary.worker import load as loading
from clary.worker.boot import Replica
from clary.worker.load import Loaded, Refused, load
from clary.worker.options import VARIABLE, WorkerOptions, read_options
from clary.worker.report import WorkerLog
from clary.worker.server import listen
from tests.support.processes import Peer
from tests.support.worker import Doubler

OPTIONS = WorkerOptions(uid="u", socket="/s", runtime="doubler", model_dir="/m", threads=2, env={"A": "1"})


class Probed(Doubler):
    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._body = body

    def probe(self) -> Any:
        return self._body, "text/csv"


class Runtime:
    name = "doubler"
    joins = Joins.EXACT
    pure = True
    modules = ()

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self.load = make


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any], Any]], None]:
    def use(make: Callable[[Any], Any]) -> None:
        monkeypatch.setattr(loading, "runtime_named", lambda _name: Runtime(make))

    return use


def test_a_model_that_answers_its_probe_is_ready(runtime: Any) -> None:
    seen = []
    runtime(lambda options: seen.append(options) or Probed(b"1,2"))
    outcome = load(OPTIONS, 7)
    assert isinstance(outcome, Loaded)
    assert (outcome.report.state, outcome.report.joins, outcome.report.pure, outcome.report.pid) == (
        "ready", "exact", True, 7,
    )  # fmt: skip
    assert outcome.model.batches == [["1,2"]]  # type: ignore[attr-defined]
    assert (seen[0].model_dir, seen[0].threads, seen[0].env) == (Path("/m"), 2, {"A": "1"})


def raising(error: BaseException) -> Callable[[Any], Any]:
    def make(_options: Any) -> Any:
        raise error

    return make


@pytest.mark.parametrize(
    ("make", "cause", "remedy"),
    [
        (raising(LoadError("It is torn.", "Save it again.")), "It is torn.", "Save it again."),
        (raising(ModuleNotFoundError("No module named 'xgboost'", name="xgboost.core")), "library 'xgboost'",
         "pip install 'clary[doubler]'"),
        (raising(MemoryError()), "did not fit into memory", "larger instance type"),
        (raising(ZeroDivisionError("by zero")), "Loading the model raised ZeroDivisionError: by zero.", "log"),
        (lambda _: Probed(b"bad data"), "does not answer a probe row: bad data.", "artifact"),
        (lambda _: Probed(b"poison"), "raised RuntimeError: poisoned", "log"),
    ],
)  # fmt: skip
def test_why_it_cannot_serve(runtime: Any, make: Callable[[Any], Any], cause: str, remedy: str) -> None:
    runtime(make)
    outcome = load(OPTIONS, 7)
    assert isinstance(outcome, Refused)
    assert outcome.report.state == "failed"
    assert cause in outcome.report.cause
    assert remedy in outcome.report.remedy


def test_an_unknown_runtime_is_named() -> None:
    outcome = load(OPTIONS, 7)
    assert isinstance(outcome, Refused)
    assert "doubler" in outcome.report.cause
    assert outcome.report.remedy


def test_a_slow_load_is_told_in_time_and_does_not_become_ready(runtime: Any, tmp_path: Path) -> None:
    go_on = threading.Event()
    runtime(lambda _: go_on.wait(20) and Probed(b"1"))
    options = WorkerOptions("u", str(tmp_path / "w.sock"), "doubler", "/m", load_timeout_s=0.05)
    replica = Replica(options, listen(options.socket), "n", WorkerLog("", "", ""))
    threading.Thread(target=replica.run, daemon=True).start()
    for _ in range(2):
        with Peer(options.socket) as peer:
            assert peer.report["state"] == "failed"
            assert "did not load within 0.05 s" in peer.report["cause"]
        go_on.set()


def test_options_survive_the_environment() -> None:
    assert read_options({VARIABLE: OPTIONS.to_json()}) == OPTIONS


HANG = """
import time
from clary.worker import watchdog
from clary.worker.report import WorkerLog
class Hung:
    overrun_ns = 1
watchdog.watch(Hung(), WorkerLog("", "", "replica"), check_s=0.01)
def stuck_in_a_predict():
    time.sleep(60)
stuck_in_a_predict()
"""


def test_a_hung_predict_ends_the_worker_with_its_stack_in_the_log() -> None:
    ended = subprocess.run([sys.executable, "-c", HANG], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 70
    assert "stuck_in_a_predict" in ended.stderr
    assert "far past its deadline" in ended.stderr


def test_boot_and_zygote_import_the_standard_library_only() -> None:
    names = "{m.partition('.')[0] for m in sys.modules} - set(sys.stdlib_module_names)"
    code = f"import sys, clary.worker.boot, clary.worker.zygote; print(*{names})"
    found = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": os.pathsep.join(["src"])},
        cwd=Path(__file__).parents[3],
    )
    assert set(found.stdout.split()) == {"__main__", "clary"}, found.stderr


def test_code_of_the_models_own_is_never_joined_and_never_run_twice(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference.py").write_text(
        "def model_fn(model_dir): return None\ndef transform_fn(model, data, content_type, accept): return data\n"
    )
    outcome = load(WorkerOptions(uid="u", socket="/s", runtime="sklearn", model_dir=str(tmp_path)), 7)
    assert isinstance(outcome, Loaded), outcome
    assert (outcome.report.joins, outcome.report.pure) == ("never", False)
