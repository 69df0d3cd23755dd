"""The AWS CLI, as published: what a shell script does with it; its s3 commands at length are in tests/system."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.conftest import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_shell_script_hosts_asks_reads_logs_and_deletes(run: Run, regressor: Path) -> None:
    said = run("awscli", "awscli_calls.sh", str(regressor))
    assert "done" in said, said


def test_a_shell_script_that_names_no_endpoint(run: Run, regressor: Path) -> None:
    said = run("awscli", "awscli_bare.sh", str(regressor), bare=True)
    assert "done" in said, said
