"""Real environments by a real uv, from wheels made here: no index is asked."""

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from clary.domain.errors import ArtifactError
from clary.environments.store import EnvironmentOptions, Environments
from tests.support.wheels import wheel

RUNTIME = "script"


class Bench:
    """Environments of one folder, and artifacts that bring their wheels."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "environments"
        self.now_s = 1000.0
        self.lines: list[str] = []
        self.it = self.anew()

    def anew(self, **options: object) -> Environments:
        environ = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.folder),
            "UV_CACHE_DIR": str(self.folder / "cache"),
            "UV_PYTHON_DOWNLOADS": "never",
        }
        return Environments(EnvironmentOptions(self.root, environ, **options), lambda: self.now_s)  # type: ignore[arg-type]

    def artifact(self, name: str, requirements: str = "tiny==1.0", **files: str) -> Path:
        code = self.folder / name / "code"
        for package in ("setproctitle", "threadpoolctl"):
            wheel(code / "wheels", package, "9")
        wheel(code / "wheels", "tiny", "1.0", "ANSWER = 42\n")
        (code / "requirements.txt").write_text(f"--no-index\n--find-links wheels\n{requirements}\n")
        for path, text in files.items():
            (code / path).write_text(text)
        return code.parent

    def ensure(self, artifact: Path, **env: str) -> str:
        return self.it.ensure(artifact, RUNTIME, env, self.lines.append)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def answer(python: str) -> str:
    done = subprocess.run(
        [python, "-I", "-c", "import tiny; print(tiny.ANSWER)"], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_an_environment_is_built_once_and_found_again(bench: Bench) -> None:
    artifact = bench.artifact("a")
    assert bench.it.python_of(artifact, RUNTIME, {}) is None
    python = bench.ensure(artifact)
    assert answer(python) == "42"
    assert bench.it.python_of(artifact, RUNTIME, {}) == python
    assert bench.lines[0].startswith("Building the environment of code/requirements.txt (")
    assert bench.lines[-1].startswith("The environment is ready after ")
    assert " + tiny==1.0" in bench.lines
    built = Path(python).stat().st_mtime_ns
    assert bench.anew().ensure(artifact, RUNTIME, {}, bench.lines.append) == python
    assert Path(python).stat().st_mtime_ns == built
    assert bench.lines[-1].startswith("The environment of code/requirements.txt is there already")


def test_other_wheels_of_the_same_name_are_another_environment(bench: Bench) -> None:
    first = bench.ensure(bench.artifact("a"))
    other = bench.artifact("b")
    wheel(other / "code/wheels", "tiny", "1.0", "ANSWER = 43\n")
    assert answer(bench.ensure(other)) in ("42", "43")  # uv may keep what it knows by this name and version
    assert bench.it.key_of(other, RUNTIME, {}) != Path(first).parent.parent.name


def test_an_artifact_without_a_list_needs_none(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    assert bench.ensure(tmp_path / "plain") == ""
    assert bench.it.python_of(tmp_path / "plain", RUNTIME, {}) == ""
    assert bench.lines == []


def test_a_model_may_be_run_in_clarys_own_environment(bench: Bench) -> None:
    artifact = bench.artifact("a")
    assert bench.ensure(artifact, CLARY_ENVIRONMENT="own") == ""
    with pytest.raises(ArtifactError, match="CLARY_ENVIRONMENT='mine' is no choice"):
        bench.ensure(artifact, CLARY_ENVIRONMENT="mine")


def test_a_server_that_trusts_no_model_builds_nothing(bench: Bench) -> None:
    bench.it = bench.anew(refused=True)
    artifact = bench.artifact("a")
    with pytest.raises(ArtifactError, match=r"list of packages \(code/requirements.txt\); this server trusts no model"):
        bench.ensure(artifact)
    assert bench.ensure(artifact, CLARY_ENVIRONMENT="own") == ""


def test_the_solvers_last_lines_are_the_cause(bench: Bench) -> None:
    artifact = bench.artifact("a", "tiny==1.0\nmissing-package==2")
    with pytest.raises(ArtifactError) as failed:
        bench.ensure(artifact)
    assert failed.value.cause.startswith(
        "The environment of code/requirements.txt could not be built. The requirements"
    )
    assert "missing-package" in failed.value.cause
    assert "clary logs" in failed.value.remedy
    assert any("missing-package" in line for line in bench.lines)
    assert [path.name for path in bench.root.iterdir()] == []


def test_a_conflict_is_told_as_the_solver_tells_it(bench: Bench) -> None:
    artifact = bench.artifact("a", "needy==1")
    wheel(artifact / "code/wheels", "needy", "1", requires=["tiny>=2"])
    with pytest.raises(ArtifactError, match=r"only tiny==1\.0 is available and all versions of needy depend"):
        bench.ensure(artifact)


def test_a_python_that_is_not_there_is_named(bench: Bench) -> None:
    artifact = bench.artifact("a", **{"python_env.yaml": "python: 3.99\ndependencies: [-r requirements.txt]\n"})
    with pytest.raises(ArtifactError, match="Python cannot be found") as failed:
        bench.ensure(artifact)
    assert "Install Python 3.99" in failed.value.remedy
    assert answer(bench.ensure(artifact, CLARY_ALLOW_VERSION_MISMATCH="python")) == "42"


def test_a_build_that_takes_too_long_has_failed(bench: Bench) -> None:
    bench.it = bench.anew(build_s=0.0)
    with pytest.raises(ArtifactError, match="could not be built within 0 s"):
        bench.ensure(bench.artifact("a"))


def test_all_who_want_it_at_once_share_one_build(bench: Bench) -> None:
    artifact = bench.artifact("a")
    logs: list[list[str]] = [[] for _ in range(8)]
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda log=log: found.append(bench.it.ensure(artifact, RUNTIME, {}, log.append)))
        for log in logs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 8
    for log in logs:
        assert sum(line.startswith("Building the environment") for line in log) <= 1
        assert log[-1].startswith(("The environment is ready", "The environment of code/requirements.txt is there"))
    assert sum(any(line == " + tiny==1.0" for line in log) for log in logs) >= 1


def test_a_failure_reaches_all_who_wait_and_the_next_one_tries_anew(bench: Bench) -> None:
    artifact = bench.artifact("a", "later==1")
    with pytest.raises(ArtifactError):
        bench.ensure(artifact)
    wheel(artifact / "code/wheels", "later", "1")
    assert bench.anew().ensure(artifact, RUNTIME, {}, bench.lines.append)


def test_what_a_kill_left_is_removed_and_no_environment(bench: Bench) -> None:
    (bench.root / ".new-abc" / "bin").mkdir(parents=True)
    (bench.root / ".old-abc").mkdir()
    bench.anew()
    assert list(bench.root.iterdir()) == []


def test_an_environment_whose_interpreter_is_gone_is_built_again(bench: Bench) -> None:
    artifact = bench.artifact("a")
    python = Path(bench.ensure(artifact))
    python.unlink()
    assert bench.it.python_of(artifact, RUNTIME, {}) is None
    assert bench.ensure(artifact) == str(python)
    assert answer(str(python)) == "42"


def test_unused_environments_go_after_a_day(bench: Bench) -> None:
    kept, dropped = bench.artifact("a"), bench.artifact("b", "tiny")
    bench.ensure(kept)
    bench.ensure(dropped)
    keys = [bench.it.key_of(path, RUNTIME, {}) for path in (kept, dropped)]
    bench.now_s += 23 * 3600
    assert bench.it.sweep({keys[0]}) == set()
    bench.now_s += 2 * 3600
    assert bench.it.sweep({keys[0]}) == {keys[1]}
    assert [path.name for path in bench.root.iterdir()] == [keys[0]]


def test_a_key_tells_environments_apart(bench: Bench) -> None:
    one = bench.artifact("a")
    keys: dict[str, str] = {}
    cases: dict[str, Callable[[], str]] = {
        "itself": lambda: bench.it.key_of(one, RUNTIME, {}),
        "runtime": lambda: bench.it.key_of(one, "sklearn", {}),
        "list": lambda: bench.it.key_of(bench.artifact("b", "tiny"), RUNTIME, {}),
    }
    for name, key in cases.items():
        keys[name] = key()
    assert len(set(keys.values())) == len(keys)
    assert bench.it.key_of(one, RUNTIME, {"OTHER": "x"}) == keys["itself"]
