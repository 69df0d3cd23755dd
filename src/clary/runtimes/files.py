"""Which file of an artifact is the model."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence  # noqa: UP035 - Python 3.9

from clary.runtimes.base import LoadError

_PASSED_OVER = frozenset({"code", "__MACOSX"})
_ENVIRONMENT = frozenset({"requirements.txt", "conda.yaml", "python_env.yaml", "Pipfile", "Pipfile.lock"})
"""Files that say what a model needs; see clary/environments."""


def model_file(model_dir: Path, suffixes: Sequence[str], example: str) -> Path:
    """The one file of the artifact, or of several the one that ends so. LoadError, with what there is, otherwise."""
    files = [p for p in sorted(model_dir.rglob("*")) if p.is_file() and not passed_over(p.relative_to(model_dir))]
    if len(files) > 1:
        files = [p for p in files if p.suffix in suffixes] or files
    if len(files) != 1:
        listed = ", ".join(p.relative_to(model_dir).as_posix() for p in files[:5]) or "nothing"
        raise LoadError(f"The artifact holds {listed}; one model file is expected.", f"Pack one {example}.")
    return files[0]


def passed_over(relative: Path) -> bool:
    """Whether a file within an artifact is no model: hidden, a script, or a list of what to install."""
    hidden = any(part.startswith(".") for part in relative.parts)
    return hidden or bool(_PASSED_OVER & set(relative.parts)) or relative.name in _ENVIRONMENT
