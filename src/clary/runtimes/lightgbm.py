"""The LightGBM runtime: a booster's text file, or a pickled booster or scikit-learn wrapper.

SageMaker has no inference image of this kind that works without a script, so formats are Clary's own:
docs/reference/lightgbm.md lists them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping, Sequence  # noqa: UP035 - Python 3.9

import joblib
import lightgbm
import numpy as np

from clary.runtimes import rows
from clary.runtimes.base import Input, Joins, LoadError, LoadOptions, Model, ModelError, Signature
from clary.runtimes.files import model_file
from clary.runtimes.pickles import unpickled

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RESAVE = "Save it again by `Booster.save_model` and pack that file."
_HEAD = b"tree\n"


class LightgbmModel:
    """One booster; behind a classifier's wrapper it answers labels, else what `Booster.predict` gives."""

    def __init__(self, model: Any, options: LoadOptions, notes: Sequence[str]) -> None:
        booster = model if isinstance(model, lightgbm.Booster) else model.booster_
        if booster.pandas_categorical:
            raise LoadError(
                "The model was trained on pandas columns of dtype category, which rows of CSV and JSON do not carry.",
                "Train on the categories' codes, or serve it as an MLflow model.",
            )
        self._booster = booster
        self._classes: NDArray[Any] | None = None
        if isinstance(model, lightgbm.LGBMClassifier) and not callable(model.objective_):
            self._classes = np.asarray(model.classes_)
        self._threads = options.threads
        self._width = int(booster.num_feature())
        self._outputs = int(booster.num_model_per_iteration())
        self._default_accept = rows.default_accept(options.env)
        linear = b"\nis_linear=1" in booster.model_to_string(num_iteration=1).encode()
        self.joins = Joins.ROUNDING if linear else Joins.EXACT
        outputs = 1 if self._classes is not None else self._outputs
        self.signature = Signature(
            self._width, _names(booster), outputs, accepts=rows.TYPES, answers=rows.TYPES, json_body="rows"
        )
        self.libraries: Mapping[str, str] = {"lightgbm": lightgbm.__version__, "numpy": np.__version__}
        self.notes = notes

    def decode(self, body: memoryview, content_type: str) -> Input:
        """Rows of float64, NaN where a value is missing. ModelError 415 or 400."""
        kind = rows.content_type_of(content_type)
        raw = bytes(body)
        if not raw:
            raise ModelError(400, "The body is empty.")
        table = rows.read(raw, kind)
        if table.dtype.kind not in "biuf":
            raise ModelError(400, "The body holds texts; the model takes numbers.")
        if table.ndim == 1:
            table = table.reshape(1, -1)
        if table.ndim != 2 or not table.size:
            raise ModelError(400, f"The body has the shape {table.shape}; rows of {self._width} numbers are expected.")
        if table.shape[1] != self._width:
            raise ModelError(
                400, f"The body has {table.shape[1]} columns; the model was trained with {self._width} features."
            )
        return Input(np.ascontiguousarray(table, dtype=np.float64), len(table), ("float64", self._width))

    def check_accept(self, accept: str) -> str:
        """JSON, CSV or npy; ModelError 406 for others."""
        return rows.accept_of(accept, self._default_accept)

    def predict(self, inputs: Sequence[Input]) -> Sequence[NDArray[Any]]:
        """One predict over all rows. ModelError 400 with the library's words."""
        table = inputs[0].data if len(inputs) == 1 else np.concatenate([one.data for one in inputs])
        try:
            found = np.asarray(self._booster.predict(table, num_threads=self._threads))
        except (lightgbm.basic.LightGBMError, ValueError, TypeError) as error:
            raise ModelError(400, f"{type(error).__name__}: {error}") from None
        if self._classes is not None:
            chosen = found.argmax(axis=1) if found.ndim == 2 else (found > 0.5).astype(np.intp)
            found = self._classes[chosen]
        answers, at = [], 0
        for one in inputs:
            answers.append(found[at : at + one.rows])
            at += one.rows
        return answers

    def encode(self, result: NDArray[Any], accept: str) -> tuple[bytes, str]:
        """One value a row, or one list of them a row."""
        return rows.write(result, accept)

    def probe(self) -> tuple[bytes, str] | None:
        """A row of zeros."""
        return ",".join(["0"] * self._width).encode(), rows.CSV


def _names(booster: Any) -> tuple[str, ...]:
    names = tuple(str(name) for name in booster.feature_name())
    return () if names == tuple(f"Column_{at}" for at in range(len(names))) else names


class LightgbmRuntime:
    """Loads boosters."""

    name = "lightgbm"
    joins = Joins.EXACT
    """At most: a model of linear trees is not."""
    pure = True
    modules = ("numpy", "joblib", "lightgbm")

    def load(self, options: LoadOptions) -> Model:
        """The booster of the artifact. Raises LoadError with cause and remedy."""
        lightgbm.register_logger(_Silent())
        path = model_file(options.model_dir, (".txt", ".lgb", ".model", ".joblib", ".pkl", ".pickle"), "model.txt")
        with path.open("rb") as file:
            head = file.read(len(_HEAD))
        if head == _HEAD:
            return LightgbmModel(_from_text(path), options, ())
        model, notes = unpickled(path, options.env, joblib.load)
        if not isinstance(model, (lightgbm.Booster, lightgbm.LGBMModel)):
            kind = f"{type(model).__module__}.{type(model).__qualname__}"
            raise LoadError(f"{path.name} holds a {kind}, not a LightGBM model.", _RESAVE)
        return LightgbmModel(model, options, notes)


def _from_text(path: Path) -> Any:
    try:
        return lightgbm.Booster(model_file=str(path))
    except (lightgbm.basic.LightGBMError, ValueError, IndexError) as error:
        raise LoadError(
            f"{path.name} is no model that LightGBM {lightgbm.__version__} reads: {error}.", _RESAVE
        ) from None


class _Silent:
    """LightGBM prints what it does; only warnings are worth a line."""

    def info(self, message: str) -> None:
        """Dropped."""

    def warning(self, message: str) -> None:
        """To the replica's log."""
        print(message, flush=True)


RUNTIME = LightgbmRuntime()
