"""Unpickling an artifact: what goes wrong is told with cause and remedy, and so is a library of another version."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence  # noqa: UP035 - Python 3.9

from clary.runtimes.base import LoadError
from clary.runtimes.versions import check_version

_RESAVE = "Install the versions that saved it in the model's environment, or save it again with these."


def unpickled(path: Path, env: Mapping[str, str], load: Callable[[Path], Any]) -> tuple[Any, Sequence[str]]:
    """What `load` makes of a pickle, with notes for the log. Raises LoadError.

    A scikit-learn estimator of another major or minor version is refused, unless `env` allows it (`versions`).
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value = load(path)
        except LoadError:
            raise
        except ModuleNotFoundError as error:
            raise LoadError(
                f"{path.name} needs the module {error.name!r}, which is not installed.",
                f"Install {error.name} in the model's environment: name it in code/requirements.txt.",
            ) from None
        except MemoryError:
            raise
        except Exception as error:
            _check_kind(path)
            raise LoadError(f"{path.name} cannot be loaded: {type(error).__name__}: {error}.", _RESAVE) from None
    return value, tuple(dict.fromkeys(note_of(path.name, warning.message, env) for warning in caught))


def _check_kind(path: Path) -> None:
    """LoadError for a file that is a model and no pickle: what the unpickler says of it would mislead."""
    from clary.runtimes.detect import detect

    try:
        found = detect(path)
    except LoadError:
        return
    if not found.imports:
        raise LoadError(
            f"{path.name} is {found.why}, which this image does not serve.",
            f"Use an image of {found.runtime} for it; this image takes pickles.",
        )


def note_of(name: str, warning: Warning | str, env: Mapping[str, str]) -> str:
    """What a warning while loading says; LoadError where it says that another minor version saved the estimator."""
    saved = getattr(warning, "original_sklearn_version", None)
    if saved is None:
        return f"{name}: {(str(warning).splitlines() or [''])[0]}"
    here = str(getattr(warning, "current_sklearn_version", ""))
    return check_version(f"{name} was saved by", "scikit-learn", str(saved), here, env)
