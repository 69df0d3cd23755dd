"""Estimators saved by skops: an archive that names types, of which none is made that is not trusted.

Source: skops documentation, "Secure persistence with skops": `get_untrusted_types` before `load`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Mapping  # noqa: UP035 - Python 3.9

from clary.runtimes.base import LoadError

VARIABLE = "CLARY_TRUSTED_TYPES"
"""Environment variable of a model: types beyond those that skops trusts, as `module.Class`, parted by commas."""


def load_skops(path: Path, env: Mapping[str, str]) -> Any:
    """The estimator. LoadError where skops is missing or a type is not trusted; skops's own errors otherwise."""
    try:
        io: Any = importlib.import_module("skops.io")
    except ModuleNotFoundError:
        raise LoadError(
            f"{path.name} needs the module 'skops', which is not installed.",
            "Install skops beside the server, or name it in code/requirements.txt.",
        ) from None
    trusted = [name.strip() for name in env.get(VARIABLE, "").split(",") if name.strip()]
    untrusted = [name for name in io.get_untrusted_types(file=path) if name not in trusted]
    if untrusted:
        raise LoadError(
            f"{path.name} holds types that skops does not trust: {', '.join(untrusted)}.",
            f"If you do, set the Environment variable {VARIABLE}={','.join([*trusted, *untrusted])}.",
        )
    return io.load(path, trusted=trusted)
