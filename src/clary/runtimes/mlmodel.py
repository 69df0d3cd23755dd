"""An MLflow model's folder as its files tell, without MLflow: what `MLmodel` says of flavours, Python and signature.

Read by Clary itself before any environment exists, and by a worker, whose environment has what MLflow needs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clary.runtimes.base import LoadError

NAME = "MLmodel"
_BYTES_MAX = 8 * 1024 * 1024


@dataclass(frozen=True)
class MlModel:
    """What the file says."""

    flavors: tuple[str, ...]
    python: str = ""
    """Version that saved it: `3.11.9`; empty where it does not say."""
    mlflow: str = ""
    width: int | None = None
    """Columns of its signature, or the last dimension of its one tensor."""
    names: tuple[str, ...] = ()
    """Columns by name, in order."""
    kinds: tuple[str, ...] = ()
    """What each column holds, as JSON Schema names it; empty where the signature does not say."""
    optional: tuple[str, ...] = ()
    """Columns that a row may leave out."""


def model_folder(model_dir: Path) -> Path:
    """The folder with the `MLmodel`: the artifact's top, or the one folder in it that has one. LoadError otherwise."""
    if (model_dir / NAME).is_file():
        return model_dir
    found = sorted(path.parent for path in model_dir.glob(f"*/{NAME}"))
    if len(found) == 1:
        return found[0]
    listed = ", ".join(sorted(path.name for path in model_dir.iterdir())[:5]) or "nothing"
    raise LoadError(
        f"The artifact holds {listed}; the folder of one MLflow model, with its {NAME}, is expected.",
        "Pack what mlflow.<flavor>.save_model wrote: `tar czf model.tar.gz -C FOLDER .`.",
    )


def read_mlmodel(folder: Path) -> MlModel:
    """`MLmodel` of a folder. Raises LoadError where it cannot be read or has no python_function flavour."""
    try:
        with (folder / NAME).open("rb") as file:
            return mlmodel_of(file.read(_BYTES_MAX))
    except OSError as error:
        raise LoadError(f"{NAME} cannot be read: {error.strerror}.", "Pack the folder again.") from None


def parse_yaml(raw: bytes) -> Any:
    """A YAML document with every scalar as text, so that a version 3.10 is not 3.1. ValueError where it is none."""
    import yaml

    try:
        return yaml.load(raw, Loader=yaml.BaseLoader)  # noqa: S506 - makes texts, lists and mappings only
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None


def mlmodel_of(raw: bytes) -> MlModel:
    """The document's facts. Raises LoadError."""
    try:
        document = parse_yaml(raw)
        flavors = document["flavors"]
        told = flavors.get("python_function")
        signature = document.get("signature") or {}
        inputs = signature.get("inputs")
        width, names = _columns(inputs)
        kinds, optional = _kinds(inputs) if names else ((), ())
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise LoadError(f"{NAME} is not as MLflow writes it: {error}.", "Save the model again with MLflow.") from None
    if not isinstance(told, dict):
        raise LoadError(
            f"The model has the flavours {', '.join(flavors) or 'none'}, and no python_function.",
            "Save it with a flavour that MLflow can serve.",
        )
    mlflow = str(document.get("mlflow_version") or "")
    return MlModel(tuple(flavors), str(told.get("python_version") or ""), mlflow, width, names, kinds, optional)


def _columns(inputs: Any) -> tuple[int | None, tuple[str, ...]]:
    columns = json.loads(inputs) if isinstance(inputs, str) else None
    if not columns:
        return None, ()
    tensors = [column["tensor-spec"] for column in columns if column.get("type") == "tensor"]
    if len(tensors) == 1 and len(columns) == 1:
        shape = tensors[0]["shape"]
        return (int(shape[-1]) if len(shape) == 2 and shape[-1] > 0 else None), ()
    names = tuple(str(column["name"]) for column in columns if column.get("name") is not None)
    return len(columns), names if len(names) == len(columns) else ()


_KINDS = {
    "boolean": "boolean",
    "integer": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "string": "string",
}
"""MLflow's DataType (mlflow/types/schema.py) in the words of JSON Schema; all others are `any`."""


def _kinds(inputs: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of named columns: what each holds, and the names of those that are not required."""
    columns = json.loads(inputs)
    kinds = tuple(_KINDS.get(str(column.get("type")), "any") for column in columns)
    return kinds, tuple(str(column["name"]) for column in columns if column.get("required") is False)
