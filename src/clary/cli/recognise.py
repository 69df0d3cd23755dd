"""What `clary deploy` was given: which image serves it, and how its files go into the archive.

A folder with a script is script mode's: `inference.py` (or the one script there is, or `--entry-point`) beside the
model or in `code/`. Scripts and lists of requirements beside the model are packed into `code/`, where the containers
look for them; everything else stays where it is.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from clary.cli.exit_codes import CliError, Exit
from clary.cli.pack import files_of

if TYPE_CHECKING:
    from clary.runtimes.detect import Detected

PROGRAM = "inference.py"
CODE = "code"
_SCRIPT_BYTES_MAX = 4 * 1024 * 1024
_BESIDE = frozenset({"requirements.txt", "conda.yaml", "python_env.yaml", "Pipfile.lock"})
_FRAMEWORKS = {
    "xgboost": "xgboost",
    "torch": "pytorch",
    "tensorflow": "tensorflow",
    "keras": "tensorflow",
    "transformers": "huggingface",
}
_IMPORT = re.compile(r"^\s*(?:import|from)\s+(\w+)", re.MULTILINE)
_TITLES = {
    "sklearn": "scikit-learn",
    "xgboost": "XGBoost",
    "pytorch": "PyTorch",
    "tensorflow": "TensorFlow",
    "huggingface": "Hugging Face",
}


@dataclass(frozen=True)
class Recognised:
    """A model that can be deployed."""

    image: str
    found: Detected
    environment: dict[str, str] = field(default_factory=dict)
    """Of its container."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Names in the archive that differ from those in the folder."""


@dataclass(frozen=True)
class _Script:
    program: str
    """Relative to `code/`."""
    text: str
    names: Mapping[str, str]


def recognised(
    path: Path, image: str | None = None, entry_point: str | None = None, env: Sequence[str] = ()
) -> Recognised:
    """The image that serves what is at `path`, or `image` itself. Raises CliError where none does.

    `env`: NAME=VALUE each, for the container's environment; they win over what script mode sets.
    """
    from clary.domain.errors import Invalid
    from clary.runtimes.images import image_for, parse_image

    script = _script(path, entry_point)
    try:
        runtime = parse_image(image).runtime if image is not None else ""
    except Invalid as error:
        raise CliError(Exit.USAGE, error.message, "`clary images` lists what is served.") from None
    found = _detected(path, script, runtime)
    try:
        uri = image or image_for(found.runtime)
    except KeyError:
        raise CliError(
            Exit.REFUSED, f"{path} is a {found.runtime} model, which this release does not deploy."
        ) from None
    given = dict(_variable(text) for text in env)
    if script is None:
        return Recognised(uri, found, given)
    own = {"SAGEMAKER_PROGRAM": script.program, "SAGEMAKER_SUBMIT_DIRECTORY": f"/opt/ml/model/{CODE}"}
    return Recognised(uri, found, {**own, **given}, script.names)


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CliError(Exit.USAGE, f"--env {text!r} is not NAME=VALUE.")
    return name, value


def _detected(path: Path, script: _Script | None, runtime: str) -> Detected:
    """What the files are; of a script's, only what their pickles would import is of interest."""
    from dataclasses import replace

    from clary.runtimes.base import LoadError, Signature
    from clary.runtimes.detect import Detected, detect

    try:
        found = detect(path)
    except LoadError as error:
        if script is None and not runtime:
            raise CliError(Exit.REFUSED, error.cause, error.remedy) from None
        found = Detected("", "a model of a kind of its own", ())
    if script is None:
        return replace(found, runtime=runtime) if runtime else found
    runtime = runtime or _framework(script.text)
    why = f"a model with its own script ({script.program}), for the {_TITLES.get(runtime, runtime)} image"
    return replace(found, runtime=runtime, why=why, signature=Signature())


def _framework(text: str) -> str:
    """The image whose toolkit a script is written for: of the framework that it imports, else scikit-learn's."""
    imported = set(_IMPORT.findall(text))
    return next((runtime for module, runtime in reversed(_FRAMEWORKS.items()) if module in imported), "sklearn")


def _script(path: Path, entry_point: str | None) -> _Script | None:
    """The script of a folder, of a file that is one, or of an archive; None where it brings none."""
    files = {name: file for file, name in files_of(path)} if not _is_archive(path) else None
    names = list(files) if files is not None else _members(path)
    inside = [name for name in names if _is_script(name) and name.startswith(f"{CODE}/")]
    beside = [name for name in names if _is_script(name) and "/" not in name] if files is not None else []
    mlflow = any(name.count("/") <= 1 and PurePosixPath(name).name == "MLmodel" for name in names)
    if mlflow or not (inside or beside):
        if entry_point is not None:
            raise CliError(Exit.USAGE, f"--entry-point {entry_point!r}: {path} holds no script.")
        return None
    if inside:
        program = _program([name.removeprefix(f"{CODE}/") for name in inside], entry_point, path)
        return _Script(program, _read(path, f"{CODE}/{program}", files), {})
    program = _program(beside, entry_point, path)
    moved = {name: f"{CODE}/{name}" for name in names if _goes_along(name)}
    return _Script(program, _read(path, program, files), moved)


def _goes_along(name: str) -> bool:
    """Modules in packages beside the script, and lists of requirements at the top."""
    return _is_script(name) or name in _BESIDE


def _program(scripts: Sequence[str], entry_point: str | None, path: Path) -> str:
    if entry_point is not None:
        if entry_point not in scripts:
            listed = ", ".join(scripts)
            raise CliError(Exit.USAGE, f"--entry-point {entry_point!r} is not in {path}; it holds {listed}.")
        return entry_point
    if PROGRAM in scripts:
        return PROGRAM
    if len(scripts) == 1:
        return scripts[0]
    raise CliError(
        Exit.USAGE,
        f"{path} holds several scripts, none of them {PROGRAM}: {', '.join(scripts)}.",
        "Name the one with model_fn: --entry-point FILE.",
    )


def _read(path: Path, name: str, files: Mapping[str, Path] | None) -> str:
    if files is not None:
        with files[name].open("rb") as source:
            return source.read(_SCRIPT_BYTES_MAX).decode("utf-8", "replace")
    with tarfile.open(path, "r:*") as archive:
        for entry in archive:
            if entry.name.removeprefix("./") == name and (content := archive.extractfile(entry)) is not None:
                return content.read(_SCRIPT_BYTES_MAX).decode("utf-8", "replace")
    return ""


def _is_archive(path: Path) -> bool:
    return path.is_file() and path.suffix != ".py" and tarfile.is_tarfile(path)


def _members(path: Path) -> list[str]:
    with tarfile.open(path, "r:*") as archive:
        return [entry.name.removeprefix("./") for entry in archive if entry.isreg()]


def _is_script(name: str) -> bool:
    return PurePosixPath(name).suffix == ".py"
