"""`clary exec`: the environment, the status and the signals of what it runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clary.cli.connect import Keys, Target
from clary.cli.exec import environment, run
from clary.cli.exit_codes import CliError, Exit

CLARY = [sys.executable, "-m", "clary.cli.main"]
TARGET = Target("http://127.0.0.1:1", "--url", "us-east-1", Keys("K", "S", "", "test"), Path("/h"))


def clary(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CLARY, *argv], env={**os.environ, **env}, capture_output=True, text=True, check=False)


def test_the_command_replaces_clary_and_has_the_variables(tmp_path: Path) -> None:
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    done = clary(
        *("exec", "--url", "http://127.0.0.1:1", "--region", "eu-west-1", "--home", str(tmp_path)),
        *("--", sys.executable, "-c", code),
        AWS_PROFILE="work",
        AWS_ENDPOINT_URL_S3="http://elsewhere",
    )
    seen = json.loads(done.stdout)
    assert seen["AWS_ENDPOINT_URL"] == seen["CLARY_URL"] == "http://127.0.0.1:1"
    assert seen["AWS_REGION"] == "eu-west-1"
    assert "AWS_PROFILE" not in seen
    assert "AWS_ENDPOINT_URL_S3" not in seen
    assert "no server answers at http://127.0.0.1:1" in done.stderr


def test_options_of_the_command_are_the_commands_own() -> None:
    done = clary("exec", sys.executable, "-c", "import sys; print(sys.argv[1:]); sys.exit(7)", "--json", "--help", "--")
    assert done.stdout == "['--json', '--help', '--']\n"
    assert done.returncode == 7


def test_a_command_that_is_not_there_is_127_and_one_that_may_not_run_126(tmp_path: Path) -> None:
    assert clary("exec", "--", "no-such-command-at-all").returncode == Exit.NO_COMMAND
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o755)
    done = clary("exec", "--", str(broken))
    assert done.returncode == Exit.CANNOT_RUN
    assert "Traceback" not in done.stderr
    with pytest.raises(CliError) as refused:
        run([str(broken)], {})
    assert refused.value.code is Exit.CANNOT_RUN


def test_serve_takes_no_other_server() -> None:
    done = clary("exec", "--serve", "--url", "http://x", "--", "true")
    assert done.returncode == Exit.USAGE
    assert "--serve starts a server of its own" in done.stderr


def test_the_environment_of_the_command_is_the_callers_with_clarys_on_top() -> None:
    found = environment(TARGET, {"PATH": "/bin", "AWS_REGION": "x", "AWS_SESSION_TOKEN": "t"})
    assert found["PATH"] == "/bin"
    assert found["AWS_REGION"] == "us-east-1"
    assert found["CLARY_HOME"] == "/h"
    assert "AWS_SESSION_TOKEN" not in found


@pytest.fixture
def handlers() -> Iterator[None]:
    """The signal handlers of the test run, back after it."""
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.mark.usefixtures("handlers")
def test_the_status_is_the_commands_or_128_and_its_signal() -> None:
    assert run([sys.executable, "-c", "raise SystemExit(3)"], os.environ) == 3
    assert run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], os.environ) == 128 + 9


@pytest.mark.usefixtures("handlers")
def test_a_signal_goes_to_the_command_and_its_end_is_waited_for() -> None:
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n"
        "os.kill(os.getppid(), signal.SIGTERM)\n"
        "signal.pause()"
    )
    assert run([sys.executable, "-c", code], os.environ) == 5
