"""A model's own script: where it is, and its functions once it is imported.

Where the toolkits look (aws/sagemaker-inference-toolkit `environment.py`, aws/sagemaker-containers `_env.py`): the
program SAGEMAKER_PROGRAM, `inference.py` where unset, in the folder SAGEMAKER_SUBMIT_DIRECTORY, `code/` of the artifact
where unset. A submit directory on S3 is fetched as the folder `code/` of the pinned artifact (`artifacts.fetch`).
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Mapping  # noqa: UP035 - Python 3.9

from clary.domain.model import SUBMIT_DIRECTORY
from clary.runtimes.base import LoadError, LoadOptions

PROGRAM = "SAGEMAKER_PROGRAM"
DEFAULT_PROGRAM = "inference.py"
_MOUNT = "/opt/ml/model"
_LISTED_MAX = 8
_PACKAGES: Mapping[str, str] = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


@dataclass(frozen=True)
class Source:
    """A script that is there."""

    folder: Path
    """Comes first on the path of imports."""
    program: Path


def find_source(options: LoadOptions) -> Source | None:
    """The script of a model; None where it brings none. LoadError where it names one that is not there."""
    program = options.env.get(PROGRAM, "")
    submit = options.env.get(SUBMIT_DIRECTORY, "")
    name = program or DEFAULT_PROGRAM
    if not name.endswith(".py"):
        name = name.replace(".", "/") + ".py"
    if submit:
        folders = [_submitted(options, submit)]
    else:
        folders = [options.model_dir / "code", *([options.model_dir] if program else [])]
    for folder in folders:
        path = folder / name
        if path.is_file() and _within(path, folder):
            return Source(folder, path)
    scripts = [path.relative_to(folder).as_posix() for folder in folders for path in sorted(folder.rglob("*.py"))]
    if not (program or submit or scripts):
        return None
    where = submit or ("the artifact" if program else "code/")
    listed = ", ".join(scripts[:_LISTED_MAX]) or "no script"
    raise LoadError(
        f"There is no script {name} in {where}; it holds {listed}.",
        f"Set {PROGRAM} to the script's name, or name it {DEFAULT_PROGRAM}.",
    )


def _submitted(options: LoadOptions, submit: str) -> Path:
    """The folder that SAGEMAKER_SUBMIT_DIRECTORY names."""
    if submit.startswith("s3://"):
        return options.model_dir / "code"  # fetched and put there before the replica started
    path = submit[len("file://") :] if submit.startswith("file://") else submit
    if path == _MOUNT or path.startswith(_MOUNT + "/"):
        folder = options.model_dir / path[len(_MOUNT) :].lstrip("/")
    elif path.startswith("/"):
        raise LoadError(
            f"{SUBMIT_DIRECTORY} {submit!r} is no folder of the artifact.",
            f"Use {_MOUNT}/code for the folder code/ of model.tar.gz, or s3://BUCKET/sourcedir.tar.gz.",
        )
    else:
        folder = options.model_dir / path
    if not folder.is_dir() or not _within(folder, options.model_dir):
        raise LoadError(
            f"{SUBMIT_DIRECTORY} {submit!r} names no folder of the artifact.",
            "Pack the scripts into the folder code/ of model.tar.gz, or give s3://BUCKET/sourcedir.tar.gz.",
        )
    return folder


def _within(path: Path, folder: Path) -> bool:
    return folder.resolve() in (path.resolve(), *path.resolve().parents)


def import_script(source: Source) -> ModuleType:
    """Run the script's module code. LoadError with the place in it where it fails."""
    for folder in (source.folder / "lib", source.program.parent, source.folder):
        if folder.is_dir() and str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    name = re.sub(r"\W", "_", source.program.stem)
    spec = importlib.util.spec_from_file_location(name, source.program)
    assert spec is not None, "a .py file has a loader"
    assert spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    # Under its own name, so that pickles that were made with its classes find them.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (LoadError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise load_error(error, f"Importing {source.program.name}", source) from error
    return module


def load_error(error: BaseException, doing: str, source: Source | None = None) -> LoadError:
    """What to tell the owner of a script that raised `error` before it served."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        module = error.name.partition(".")[0]
        package = _PACKAGES.get(module, module)
        return LoadError(
            f"{doing} needs the module {error.name!r}, which is not installed.",
            f"Add {package} to requirements.txt beside the script, or install it in the model's environment.",
        )
    place = "" if source is None else _place(error, source)
    text = " ".join(str(error).split())
    return LoadError(
        f"{doing} raised {type(error).__name__}: {text}{place}.".replace("..", "."),
        "Correct the script; the replica's log holds the traceback (clary logs).",
    )


def _place(error: BaseException, source: Source) -> str:
    """The last line of the user's own code in a traceback."""
    if isinstance(error, SyntaxError) and error.filename:
        return ""  # its text names file and line
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if str(source.folder) in frame.filename:
            return f" ({Path(frame.filename).name}, line {frame.lineno})"
    return ""


def run(function: Callable[..., Any], arguments: tuple[Any, ...], context: object) -> Any:
    """Call a user's function, with `context` after the arguments where it takes one more.

    TypeError for any other number, in the toolkit's words (sagemaker_inference `Transformer._run_handler_function`).
    """
    count = arity(function)
    if count == len(arguments):
        return function(*arguments)
    if count == len(arguments) + 1:
        return function(*arguments, context)
    raise TypeError(f"{function.__name__} takes {count} arguments but {len(arguments)} were given.")


def arity(function: Callable[..., Any]) -> int:
    """Parameters of a function."""
    return len(inspect.signature(function).parameters)
