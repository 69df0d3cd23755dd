"""One environment, built by uv: a virtual environment, one resolution, one installation."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from clary.domain.errors import ArtifactError
from clary.environments.index import redacted, uv_environ

_TAIL_LINES = 8
"""Of uv's words, in FailureReason."""
_TAIL_CHARS = 700
_LINES_KEPT = 200
_REMEDY = "Correct the list and deploy again; the whole output is in the endpoint's log (clary logs)."
_STAGES = {
    "venv": "Python cannot be found",
    "compile": "The requirements have no solution",
    "install": "Installing failed",
}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is built."""

    source: str
    """The file that asked for it: `code/requirements.txt`."""
    requirements: tuple[str, ...]
    constraints: tuple[str, ...]
    options: tuple[str, ...]
    needs: tuple[str, ...]
    """What the worker needs besides."""
    python: str
    """An interpreter's path, or a version for uv to find: `3.10`."""
    notes: tuple[str, ...] = ()
    digest: str = ""
    """Of local packages' contents."""


def build(
    recipe: Recipe, target: Path, environ: Mapping[str, str], limit_s: float, say: Callable[[str], None]
) -> list[str]:
    """Fill `target`; the packages as `name==version`. Raises ArtifactError with the solver's last lines.

    What the requirements leave open becomes the version that Clary itself has, where that fits: a model that works
    without requirements works the same with one more.
    """
    run = _Uv(recipe, environ, limit_s, say)
    run("venv", "--relocatable", "--allow-existing", "--python", recipe.python, str(target))
    python = str(target / "bin" / "python")
    wanted, lock, constraints = target / "wanted.txt", target / "lock.txt", target / "constraints.txt"
    wanted.write_text("\n".join([*recipe.options, *recipe.requirements, *recipe.needs, ""]))
    lock.write_text("\n".join(_installed_here()) + "\n")
    limited = []
    if recipe.constraints:
        constraints.write_text("\n".join([*recipe.constraints, ""]))
        limited = ["--constraints", str(constraints)]
    run(
        *("pip", "compile", "--python", python, "--no-header", "--no-annotate"),
        *(*limited, "--output-file", str(lock), str(wanted)),
    )
    packages = [line.strip() for line in lock.read_text().splitlines() if line.strip() and line[0] not in "-# "]
    lock.write_text("\n".join([*recipe.options, *packages, ""]))
    run("pip", "install", "--python", python, "--no-deps", "--compile-bytecode", "--requirements", str(lock))
    return packages


def _installed_here() -> list[str]:
    """What Clary's own environment has, as preferences for the solver."""
    found = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name and re.fullmatch(r"[A-Za-z0-9._-]+", name) and name != "clary":
            found[name] = f"{name}=={distribution.version}"
    return sorted(found.values())


class _Uv:
    """Runs uv, one stage after the other, within one time limit."""

    def __init__(self, recipe: Recipe, environ: Mapping[str, str], limit_s: float, say: Callable[[str], None]) -> None:
        self._recipe = recipe
        self._environ = uv_environ(environ)
        self._limit_s = limit_s
        self._say = say

    def __call__(self, *arguments: str) -> None:
        """Run one stage. Raises ArtifactError where it fails."""
        lines: list[str] = []
        stage = arguments[1] if arguments[0] == "pip" else arguments[0]
        try:
            status = self._run([_uv(), *arguments], lines)
        except OSError as error:
            raise ArtifactError(
                f"uv, which builds environments, cannot be started: {error}.", "Install it: pip install uv."
            ) from None
        if status == 0:
            return
        what = f"The environment of {self._recipe.source} could not be built"
        if status is None:
            raise ArtifactError(f"{what} within {self._limit_s:.0f} s.", f"{_last(lines)} {_REMEDY}".strip())
        raise ArtifactError(f"{what}. {_STAGES.get(stage, stage)}: {_last(lines)}", _remedy(self._recipe, stage))

    def _run(self, argv: Sequence[str], lines: list[str]) -> int | None:
        """The exit status; None where the time was over."""
        process = subprocess.Popen(
            argv,
            env=self._environ,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=False,  # what ends control ends its builds
        )
        over = threading.Event()

        def stop() -> None:
            over.set()
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)

        timer = threading.Timer(self._limit_s, stop)
        timer.start()
        try:
            assert process.stdout is not None
            for raw in process.stdout:
                line = redacted(raw.decode("utf-8", "replace").rstrip())
                if line and not line.startswith(("warning: `VIRTUAL_ENV", "Activate with")):
                    lines.append(line)
                    del lines[:-_LINES_KEPT]
                    if argv[1:3] != ["pip", "compile"] or "==" not in line:
                        self._say(line)
            process.stdout.close()
            status = process.wait()
        finally:
            timer.cancel()
        return None if over.is_set() else status


def _last(lines: Sequence[str]) -> str:
    text = " ".join(line.strip() for line in lines[-_TAIL_LINES:])
    return text if len(text) <= _TAIL_CHARS else "..." + text[-_TAIL_CHARS:]


def _remedy(recipe: Recipe, stage: str) -> str:
    if stage == "venv":
        return (
            f"Install Python {recipe.python} on the server, or set the Environment variable "
            "CLARY_ALLOW_VERSION_MISMATCH=python to use Clary's own."
        )
    return _REMEDY


def _uv() -> str:
    """uv's own program, beside this interpreter or on PATH."""
    import uv

    return str(uv.find_uv_bin())
