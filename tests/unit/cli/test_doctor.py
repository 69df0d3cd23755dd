"""Each check of `clary doctor`, well and unwell."""

from __future__ import annotations

import json
import socket
from collections import namedtuple
from pathlib import Path

import pytest

from clary.cli import doctor
from clary.cli.doctor import State
from clary.cli.exit_codes import Exit
from clary.cli.main import main
from clary.placement.forks import ForkVerdict, write_verdicts
from tests.unit.cli.conftest import Scripted


def test_python() -> None:
    assert doctor.python_version((3, 11, 0)).state is State.OK
    old = doctor.python_version((3, 10, 9))
    assert old.state is State.PROBLEM
    assert old.remedy


def test_libraries_are_found_under_either_name_and_missing_ones_have_their_extra() -> None:
    found = {
        check.name: check for check in doctor.libraries({"xgboost": "x", "numpy": "x", "no-such-library": "extra"})
    }
    assert found["xgboost"].state is State.OK
    assert found["numpy"].found.endswith("(numpy)")
    assert "clary[extra]" in found["no-such-library"].found
    assert "libraries" not in found


def test_without_any_model_library_there_is_a_warning() -> None:
    assert next(doctor.libraries({"numpy": "x", "no-such-library": "extra"})).state is State.WARNING


def test_home_that_others_can_enter_is_a_problem_with_the_command_to_repair_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert doctor.home_permissions(home).state is State.OK
    home.mkdir(mode=0o700)
    assert doctor.home_permissions(home).state is State.OK
    home.chmod(0o755)
    assert doctor.home_permissions(home).remedy == f"chmod 700 {home}"


def test_a_secret_that_others_can_read_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    kek = tmp_path / "secrets" / "kek"
    kek.touch(0o600)
    assert list(doctor.private_files(tmp_path)) == []
    kek.chmod(0o640)
    assert [check.remedy for check in doctor.private_files(tmp_path)] == [f"chmod 600 {kek}"]


@pytest.mark.parametrize(("free", "state"), [(10 << 30, State.OK), (1 << 30, State.WARNING), (1 << 20, State.PROBLEM)])
def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: State) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage(0, 0, free))
    assert doctor.disk(tmp_path / "not" / "there" / "yet").state is state


def test_a_port_that_another_holds_is_a_problem_and_a_clary_on_it_is_not(tmp_path: Path, scripted: Scripted) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken.settimeout(0)
        port = taken.getsockname()[1]
        assert doctor.server_or_port(tmp_path, "127.0.0.1", port).state is State.PROBLEM
    assert doctor.server_or_port(tmp_path, "127.0.0.1", port).state is State.OK
    port = int(scripted.url.rpartition(":")[2])
    scripted.say("GET /clary/health", 200, {"status": "ok", "version": doctor.__version__})
    assert doctor.server_or_port(tmp_path, "127.0.0.1", port).name == "server"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "server.json").write_text(json.dumps({"url": scripted.url}))
    assert doctor.server_or_port(tmp_path, "127.0.0.1", 1).name == "server"  # HOME's own comes first
    scripted.say("GET /clary/health", 200, {"status": "ok", "version": "0.0.1"})
    assert doctor.server_or_port(tmp_path, "127.0.0.1", port).state is State.WARNING


def test_sockets_whose_names_are_too_long_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr("clary.settings.runtime_dir", lambda _: Path("/x" * 60))
    assert doctor.socket_folder(tmp_path).state is State.PROBLEM


def test_fork_verdicts_are_shown_with_what_they_mean(tmp_path: Path) -> None:
    assert list(doctor.fork_safety(tmp_path)) == []
    (tmp_path / "run").mkdir()
    write_verdicts(
        tmp_path / "run" / "forks.json",
        {
            "a": ForkVerdict("xgboost", "/py", "safe", "both predicts answered", {"xgboost": "3.2.0"}),
            "b": ForkVerdict("onnx", "/py", "unsafe", "a child hung"),
        },
    )
    safe, unsafe = doctor.fork_safety(tmp_path)
    assert (safe.name, safe.state) == ("fork xgboost", State.OK)
    assert "xgboost 3.2.0" in safe.found
    assert (unsafe.name, unsafe.state) == ("fork onnx", State.WARNING)
    assert "a child hung" in unsafe.found


def test_the_status_says_whether_a_problem_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("CLARY_PORT", str(probe.getsockname()[1]))
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    assert main(["doctor", "--home", str(home), "--json"]) == Exit.OK
    document = json.loads(capsys.readouterr().out)
    assert document["healthy"]
    assert {"python", "xgboost", "home", "disk", "port"} <= {check["name"] for check in document["checks"]}
    home.chmod(0o777)
    assert main(["doctor", "--home", str(home)]) == Exit.UNHEALTHY
    assert f"chmod 700 {home}" in capsys.readouterr().out
    assert home.stat().st_mode & 0o777 == 0o777  # it tells, and changes nothing
