"""The reference pages are complete: a command, flag, status or setting without words there fails here."""

from __future__ import annotations

import inspect
import re

import pytest

from clary.cli.exit_codes import Exit
from clary.cli.reference import commands, documents
from tests.docs.pages import ROOT


@pytest.mark.parametrize("path", list(documents()))
def test_generated_pages_are_what_the_code_says(path: str) -> None:
    assert (ROOT / path).read_text() == documents()[path], "run: python -m clary.cli.reference"


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_command_and_option_has_words(name: str, command: object) -> None:
    assert len(command.help.strip()) > 10, name  # type: ignore[attr-defined]
    for param in command.params:  # type: ignore[attr-defined]
        assert param.help, f"{name}: {param.name} has no help"


def test_every_command_with_json_has_its_shape_documented() -> None:
    page = (ROOT / "docs" / "reference" / "json.md").read_text()
    for name, command in commands():
        if any("--json" in param.opts for param in command.params):
            assert re.search(rf"^\| `{name.removeprefix('clary ')}[` ]", page, re.MULTILINE), name


def test_every_exit_status_is_documented_beside_its_number() -> None:
    page = (ROOT / "docs" / "reference" / "exit-codes.md").read_text()
    for code in Exit:
        assert f"| {int(code)} | {code.name} |" in page
    assert inspect.getdoc(Exit)


def test_commands_that_pages_mention_exist() -> None:
    known = {name for name, _ in commands()}
    known |= {name.rpartition(" ")[0] for name in known}
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for found in re.findall(r"(?:^|[`$(] ?)clary ((?:keys )?[a-z]+)\b", page.read_text(), re.MULTILINE):
            assert f"clary {found}" in known, f"{page}: clary {found}"
