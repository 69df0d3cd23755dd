"""Reading the `console` blocks of a page, and running them in one shell."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
TUTORIALS = ROOT / "docs" / "tutorials"
_BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
NEEDS = {"churn": ("mlflow", "pandas"), "tweets": ("sklearn_crfsuite",)}
"""Modules of tutorials that are no part of every environment."""
SLOW = frozenset({"tweets"})
"""Tutorials that `make check-all` runs, and `make check` does not."""
PAGE_S = 240
"""Seconds for the commands of one page, on a machine that has much else to do."""
SERVED_AT = "http://127.0.0.1:8430"
"""What pages call the server; replaced by where the test's one is."""


@dataclass
class Step:
    """One command of a page, and the lines that must appear in its output."""

    command: str
    output: list[str] = field(default_factory=list)


def pages() -> list[Path]:
    """The pages with commands to run."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs" / "how-to").glob("*.md")), *sorted(TUTORIALS.glob("*.md"))]
    return [page for page in found if steps(page.read_text())]


def prepare(page: Path, folder: Path) -> None:
    """Make the folder that the page's commands run in: a tutorial finds its own files there."""
    folder.mkdir()
    if page.parent == TUTORIALS:
        for name in ("data", page.stem):
            shutil.copytree(TUTORIALS / name, folder / name)


def steps(text: str) -> list[Step]:
    """The commands of a page in order. `clary serve` is left out: it runs already."""
    found: list[Step] = []
    for block in _BLOCK.findall(text):
        for line in block.splitlines():
            if found and not line.startswith("$ ") and _unfinished(found[-1].command):
                found[-1].command += "\n" + line
            elif line.startswith("$ "):
                found.append(Step(line.removeprefix("$ ")))
            elif line.strip():
                found[-1].output.append(line.strip())
    return [step for step in found if not step.command.startswith("clary serve")]


def _unfinished(command: str) -> bool:
    if command.endswith("\\"):
        return True
    try:
        shlex.split(command)
    except ValueError:
        return True
    return False


def run(text: str, url: str, env: Mapping[str, str], folder: Path) -> list[str]:
    """Run a page's commands in one shell; what did not hold, in words."""
    todo = steps(text.replace(SERVED_AT, url))
    script = "exec 2>&1\n" + "".join(f"{step.command}\nprintf '\\n@@@ %d\\n' $?\n" for step in todo)
    done = subprocess.run(
        ["bash", "-c", script],
        stdin=subprocess.DEVNULL,
        env=dict(env),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PAGE_S,
        check=False,
    )
    said = re.split(r"\n@@@ (\d+)\n", done.stdout)
    problems: list[str] = []
    for step, output, status in zip(todo, said[::2], said[1::2], strict=False):
        if status != "0":
            problems.append(f"status {status} of: {step.command}\n{output}")
        for line in step.output:
            wanted = ".*".join(re.escape(part) for part in line.split("..."))
            if not re.search(wanted, output):
                problems.append(f"{line!r} is missing in the output of: {step.command}\n{output}")
    if len(said) // 2 < len(todo):
        problems.append(f"the shell ended before: {todo[len(said) // 2].command}\n{done.stdout[-2000:]}")
    return problems
