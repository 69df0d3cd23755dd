"""Which runtimes there are. Standard library only: naming a runtime imports nothing of it.

Modules are named by text, so that neither a reader of this table nor import-linter drags a model library in.
"""

from __future__ import annotations

import importlib
from typing import Mapping  # noqa: UP035 - Python 3.9

from clary.runtimes.base import Runtime

_MODULES: Mapping[str, str] = {
    "xgboost": "clary.runtimes.xgboost",
    "sklearn": "clary.runtimes.sklearn",
    "lightgbm": "clary.runtimes.lightgbm",
    "onnx": "clary.runtimes.onnx",
    "pyfunc": "clary.runtimes.pyfunc",
    "pytorch": "clary.runtimes.pytorch",
    "tensorflow": "clary.runtimes.tensorflow",
    "huggingface": "clary.runtimes.huggingface",
}

_PRELOADED: Mapping[str, tuple[str, ...]] = {
    "xgboost": ("numpy", "xgboost", "clary.runtimes.xgboost"),
    "sklearn": (
        "numpy",
        "joblib",
        "sklearn.pipeline",
        "sklearn.linear_model",
        "sklearn.ensemble",
        "clary.runtimes.sklearn",
    ),
    "lightgbm": ("numpy", "joblib", "lightgbm", "clary.runtimes.lightgbm"),
    "onnx": ("numpy", "onnxruntime", "clary.runtimes.onnx"),
    "pyfunc": ("numpy", "pandas", "mlflow.pyfunc", "clary.runtimes.pyfunc"),
    # Not their frameworks: a script may need none, and none is proven to fork well.
    "pytorch": ("clary.runtimes.pytorch",),
    "tensorflow": ("clary.runtimes.tensorflow",),
    "huggingface": ("clary.runtimes.huggingface",),
}


class UnknownRuntimeError(LookupError):
    """No runtime of that name is served."""


def names() -> tuple[str, ...]:
    """Every runtime's name, in the order they are documented."""
    return tuple(_MODULES)


def modules_of(name: str) -> tuple[str, ...]:
    """What a zygote imports before any fork, without importing it here. Raises UnknownRuntimeError."""
    try:
        return _PRELOADED[name]
    except KeyError:
        raise _unknown(name) from None


def runtime_named(name: str) -> Runtime:
    """The runtime; imports its module and with it the model library.

    Raises UnknownRuntimeError for a name that is not served, and ImportError where its library is not installed.
    """
    try:
        module = _MODULES[name]
    except KeyError:
        raise _unknown(name) from None
    runtime: Runtime = importlib.import_module(module).RUNTIME
    return runtime


def _unknown(name: str) -> UnknownRuntimeError:
    return UnknownRuntimeError(f"no runtime is named {name!r}; there are {', '.join(_MODULES)}")
