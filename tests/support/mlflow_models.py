"""MLflow model folders."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own type hints, while importing
    import mlflow.pyfunc
    import mlflow.sklearn
    from mlflow import types
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import PythonModel
    from mlflow.types import ColSpec, Schema

__all__ = ["ModelSignature", "PythonModel", "save", "save_python", "signature", "types"]


def signature(columns: dict[str, str], **more: Any) -> ModelSignature:
    """Columns by name as MLflow types (`double`, `string`)."""
    return ModelSignature(inputs=Schema([ColSpec(kind, name) for name, kind in columns.items()]), **more)


def save(folder: Path, estimator: Any, names: Sequence[str], **more: Any) -> None:
    """A scikit-learn estimator over double columns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.sklearn.save_model(
            estimator,
            str(folder),
            signature=signature(dict.fromkeys(names, "double")),
            pip_requirements=["scikit-learn"],
            serialization_format="cloudpickle",
            **more,
        )


def save_python(folder: Path, model: Any, given: ModelSignature | None = None, **more: Any) -> None:
    """A python_function of the test's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(
            str(folder), python_model=model, signature=given, pip_requirements=["mlflow-skinny"], **more
        )
