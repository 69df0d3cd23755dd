"""Environments on disk: `ROOT/<key>/`, each whole or not there, built once for all who want it, removed when unused.

The key is a digest of everything that decides what is built: the requirements' text, the runtime's needs, the Python.
An environment is built in `ROOT/.new-*` and renamed; so a kill at any moment leaves whole ones and rests.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from clary.domain.errors import ArtifactError
from clary.domain.model import SUBMIT_DIRECTORY
from clary.environments.build import Recipe, build
from clary.environments.declared import Declared, declared_by
from clary.environments.needs import lean, needs_of
from clary.runtimes.versions import allowed

VARIABLE = "CLARY_ENVIRONMENT"
"""Of a model's Environment: `own` runs it in Clary's own environment whatever its files ask for."""
OWN = "own"
FORMAT = 1
"""Of an environment's folder and of its key."""
_NEW, _OLD = ".new-", ".old-"
_USED = "used"
Log = Callable[[str], None]
"""Gets a line of progress."""


@dataclass(frozen=True)
class EnvironmentOptions:
    """Options of Environments."""

    root: Path
    environ: Mapping[str, str]
    """The server's own: configuration of uv, pip, proxies and certificates is taken from it."""
    build_s: float = 1800.0
    """A build that takes longer has failed: an index that does not answer must not hold an endpoint for ever."""
    unused_s: float = 24 * 3600.0
    """An environment that no endpoint stands on is kept so long: the next deployment of the same list is quick."""
    python: str = sys.executable
    """Interpreter where the artifact asks for none."""
    refused: bool = False
    """Refuse every list: a package is code, and so is not for servers that take models of strangers."""


class _Flight:
    """One build and the logs of all who wait for it."""

    def __init__(self) -> None:
        self.result: Future[Path] = Future()
        self._lock = threading.Lock()
        self._lines: list[str] = []
        self._logs: list[Log] = []

    def join(self, log: Log) -> None:
        """Say what was said already, then what follows."""
        with self._lock:
            for line in self._lines:
                log(line)
            self._logs.append(log)

    def say(self, line: str) -> None:
        """A line to every log."""
        with self._lock:
            self._lines.append(line)
            for log in self._logs:
                log(line)


class Environments:
    """The environments of one HOME. Blocking; threads may call all at once."""

    def __init__(self, options: EnvironmentOptions, now_s: Callable[[], float] = time.time) -> None:
        self._options = options
        self._now_s = now_s
        self._lock = threading.Lock()
        self._flying: dict[str, _Flight] = {}
        self._keys: dict[tuple[Path, str, str, str, bool], str] = {}
        options.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for rest in options.root.iterdir():
            if rest.name.startswith((_NEW, _OLD)):
                shutil.rmtree(rest, ignore_errors=True)

    def ensure(self, model_dir: Path, runtime: str, env: Mapping[str, str], log: Log) -> str:
        """The interpreter that the artifact needs, built where it is missing; empty where Clary's own will do.

        `env`: the model's Environment. Raises ArtifactError with the solver's last lines.
        """
        recipe = self._recipe(model_dir, runtime, env)
        if recipe is None:
            return ""
        if self._options.refused:
            raise ArtifactError(
                f"The model brings a list of packages ({recipe.source}); this server trusts no model (--untrusted).",
                f"Leave it out, or set the Environment variable {VARIABLE}={OWN} to use the server's libraries.",
            )
        key = _key(recipe)
        with self._lock:
            flight = self._flying.get(key)
            mine = flight is None
            if flight is None:
                flight = self._flying[key] = _Flight()
        flight.join(log)
        if mine:
            self._fly(key, recipe, flight)
        return str(_python_of(flight.result.result()))

    def python_of(self, model_dir: Path, runtime: str, env: Mapping[str, str]) -> str | None:
        """What `ensure` gave, without building: empty for Clary's own interpreter, None where it must be built."""
        key = self.key_of(model_dir, runtime, env)
        if not key:
            return ""
        python = _python_of(self._options.root / key)
        return str(python) if python.exists() else None

    def key_of(self, model_dir: Path, runtime: str, env: Mapping[str, str]) -> str:
        """The environment's name on disk, empty where the artifact needs none. Artifacts never change: remembered."""
        told = (env.get(VARIABLE, ""), env.get(SUBMIT_DIRECTORY, ""))
        about = (model_dir, runtime, *told, "python" in allowed(env))
        found = self._keys.get(about)
        if found is None:
            recipe = self._recipe(model_dir, runtime, env)
            found = self._keys[about] = _key(recipe) if recipe is not None else ""
        return found

    def sweep(self, keep: Collection[str]) -> set[str]:
        """Remove environments that are not in `keep` and were not for a while; the keys removed."""
        removed = set()
        for folder in list(self._options.root.iterdir()):
            if folder.name.startswith(".") or folder.name in self._flying:
                continue
            if folder.name in keep:
                _touch(folder, self._now_s())
            elif self._now_s() - _used_s(folder) > self._options.unused_s:
                rest = self._options.root / f"{_OLD}{folder.name}"
                folder.rename(rest)
                shutil.rmtree(rest, ignore_errors=True)
                removed.add(folder.name)
        return removed

    def _recipe(self, model_dir: Path, runtime: str, env: Mapping[str, str]) -> Recipe | None:
        declared = None if _wants_own(env) else declared_by(model_dir, env.get(SUBMIT_DIRECTORY, ""))
        if declared is None:
            return None
        requirements, notes = lean(runtime, declared)
        own = "python" in allowed(env)
        return Recipe(
            source=declared.source,
            requirements=requirements,
            constraints=declared.constraints,
            options=declared.options,
            needs=needs_of(runtime, declared),
            python=self._python(declared, own=own),
            notes=(*declared.notes, *notes),
            digest=declared.digest,
        )

    def _python(self, declared: Declared, *, own: bool) -> str:
        """The interpreter or the version that uv is asked for."""
        mine = f"{sys.version_info.major}.{sys.version_info.minor}"
        return self._options.python if own or declared.python in ("", mine) else declared.python

    def _fly(self, key: str, recipe: Recipe, flight: _Flight) -> None:
        try:
            folder = self._made(key, recipe, flight)
        except BaseException as error:
            self._land(key)
            flight.result.set_exception(error)
        else:
            self._land(key)
            flight.result.set_result(folder)

    def _land(self, key: str) -> None:
        with self._lock:
            del self._flying[key]

    def _made(self, key: str, recipe: Recipe, flight: _Flight) -> Path:
        folder = self._options.root / key
        if _python_of(folder).exists():
            _touch(folder, self._now_s())
            flight.say(f"The environment of {recipe.source} is there already ({key[:12]}).")
            return folder
        if folder.exists():  # its interpreter was removed from the machine
            shutil.rmtree(folder, ignore_errors=True)
        building = Path(tempfile.mkdtemp(prefix=_NEW, dir=self._options.root))
        started_s = self._now_s()
        flight.say(f"Building the environment of {recipe.source} ({key[:12]}).")
        for note in recipe.notes:
            flight.say(note)
        try:
            packages = build(recipe, building, self._options.environ, self._options.build_s, flight.say)
            took_s = round(self._now_s() - started_s, 1)
            facts = {"format": FORMAT, "source": recipe.source, "packages": packages, "seconds": took_s}
            (building / "environment.json").write_text(json.dumps(facts, indent=1))
            _touch(building, self._now_s())
            os.sync()
            building.rename(folder)
        except ArtifactError as error:
            flight.say(f"{error.cause} {error.remedy}")
            raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
        flight.say(f"The environment is ready after {took_s} s: {len(packages)} packages.")
        return folder


def _wants_own(env: Mapping[str, str]) -> bool:
    """Whether the model runs in Clary's own environment whatever its files say. Raises ArtifactError for a typo."""
    wanted = env.get(VARIABLE, "")
    if wanted not in ("", OWN):
        raise ArtifactError(f"{VARIABLE}={wanted!r} is no choice.", f"Leave it out, or set it to {OWN!r}.")
    return wanted == OWN


def _key(recipe: Recipe) -> str:
    machine = f"{sys.platform}-{platform.machine()}"
    base = recipe.python if recipe.python != sys.executable else f"{sys.base_prefix} {platform.python_version()}"
    facts = [FORMAT, machine, base, recipe.requirements, recipe.constraints, recipe.options, recipe.needs]
    return hashlib.sha256(json.dumps([*facts, recipe.digest]).encode()).hexdigest()


def _python_of(folder: Path) -> Path:
    return folder / "bin" / "python"


def _touch(folder: Path, now_s: float) -> None:
    (folder / _USED).write_text(f"{now_s:.0f}")


def _used_s(folder: Path) -> float:
    try:
        return float((folder / _USED).read_text())
    except (OSError, ValueError):
        return 0.0
