"""Each check of the machine, of HOME's contents and of the shell, well and unwell."""

from __future__ import annotations

import resource
import sqlite3
from pathlib import Path

import pytest

from clary.cli import machine_checks
from clary.cli.checks import State


@pytest.mark.parametrize(
    ("hard", "state"), [(1 << 20, State.OK), (resource.RLIM_INFINITY, State.OK), (1024, State.WARNING)]
)
def test_open_files(monkeypatch: pytest.MonkeyPatch, hard: int, state: State) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (512, hard))
    assert machine_checks.open_files().state is state


@pytest.mark.parametrize(
    ("free", "limit", "state"),
    [(8 << 30, "max", State.OK), (8 << 30, str(512 << 20), State.WARNING), (512 << 20, "", State.WARNING)],
)
def test_memory(tmp_path: Path, free: int, limit: str, state: State) -> None:
    if limit:
        (tmp_path / "memory.max").write_text(limit + "\n")
    assert machine_checks.memory(free, tmp_path / "memory.max").state is state


def test_this_machines_own_facts_are_told() -> None:
    assert "GiB available" in machine_checks.memory().found
    assert machine_checks.builder().name == "uv"


def test_a_home_on_a_shared_file_system_or_of_a_newer_clary_is_a_problem(tmp_path: Path) -> None:
    home = tmp_path / "a home"
    mounts = tmp_path / "mounts"
    point = str(tmp_path).replace(" ", "\\040")
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nbroken\nserver:/x {point} nfs4 rw 0 0\n")
    assert list(machine_checks.home_contents(home, mounts)) == []
    home.mkdir()
    (home / "format").write_text("999\n")
    found = {check.name: check.state for check in machine_checks.home_contents(home, mounts)}
    assert found == {"file system": State.PROBLEM, "format": State.PROBLEM}
    (home / "format").write_text("1\n")
    mounts.write_text("/dev/sda / ext4 rw 0 0\n")
    assert list(machine_checks.home_contents(home, mounts)) == []
    assert machine_checks.file_system(home, tmp_path / "none") == ""


def test_a_damaged_store_is_told_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "clary.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 500,)] * 200)
    connection.close()
    assert machine_checks.database(path).state is State.OK
    raw = bytearray(path.read_bytes())
    raw[5000:9000] = b"\xff" * 4000
    path.write_bytes(raw)
    damaged = machine_checks.database(path)
    assert damaged.state is State.PROBLEM
    assert "backup" in damaged.remedy
    (tmp_path / "telemetry.db").write_bytes(b"no database at all, whatever its name says")
    assert "only the history" in machine_checks.database(tmp_path / "telemetry.db").remedy


URL = "http://127.0.0.1:8430"


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({}, []),
        ({"http_proxy": "http://p"}, ["proxy"]),
        ({"http_proxy": "http://p", "NO_PROXY": "x, 127.0.0.1"}, []),
        ({"AWS_ENDPOINT_URL_S3": "http://other"}, []),
        ({"AWS_ENDPOINT_URL": URL + "/", "AWS_ENDPOINT_URL_S3": "http://other"}, ["environment"]),
        ({"AWS_ENDPOINT_URL": URL, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}, ["environment"]),
        ({"AWS_ENDPOINT_URL": URL, "AWS_ENDPOINT_URL_S3": URL}, []),
    ],
)
def test_the_shell(environ: dict[str, str], names: list[str]) -> None:
    assert [check.name for check in machine_checks.shell(environ, URL)] == names


def test_a_clock_that_went_back_is_told(tmp_path: Path) -> None:
    assert list(machine_checks.clock(tmp_path)) == []
    (tmp_path / "clary.db").touch()
    written_s = (tmp_path / "clary.db").stat().st_mtime
    assert list(machine_checks.clock(tmp_path, written_s - 60)) == []
    assert [check.name for check in machine_checks.clock(tmp_path, written_s - 3600)] == ["clock"]


def test_the_address_of_a_server() -> None:
    assert machine_checks.own_url("0.0.0.0", 1) == "http://127.0.0.1:1"
    assert machine_checks.own_url("::1", 1) == "http://[::1]:1"
