"""Durations and command lines of `clary actions add`."""

from __future__ import annotations

from pathlib import Path

import pytest

from clary.cli.actions import _seconds, _words
from clary.cli.exit_codes import CliError


@pytest.mark.parametrize(("text", "seconds"), [("60s", 60), ("2m", 120), ("1.5s", 1.5), ("7", 7), ("0.1h", 360)])
def test_durations(text: str, seconds: float) -> None:
    assert _seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "1w", "-1s", "1m30"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(CliError, match="is no length of time"):
        _seconds(text)


def test_a_command_is_split_as_a_shell_does_and_a_path_is_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _words("python -c 'print(1)'") == ["python", "-c", "print(1)"]
    assert _words("./run.sh ./x") == [str(tmp_path / "run.sh"), "./x"]
    assert _words("/bin/true") == ["/bin/true"]
    with pytest.raises(CliError, match="cannot be read"):
        _words("a 'b")
