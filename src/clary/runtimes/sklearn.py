"""The scikit-learn runtime: an estimator saved by joblib, pickle or skops behind the defaults of SageMaker's container.

Sources: aws/sagemaker-scikit-learn-container, `serving.py` (default input, predict and output functions), and
aws/sagemaker-containers, `_encoders.py`. The real container has no default for loading and needs a script; an artifact
that brings one is served by it (`sklearn_script`). docs/reference/sklearn.md lists every deviation.
"""

from __future__ import annotations

import functools
import io
import json
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping, Sequence  # noqa: UP035 - Python 3.9

import joblib
import numpy as np
import sklearn

from clary.runtimes import tensors
from clary.runtimes.base import Input, Joins, LoadError, LoadOptions, Model, ModelError, Signature
from clary.runtimes.files import passed_over
from clary.runtimes.pickles import unpickled
from clary.runtimes.script import load_script
from clary.runtimes.script_source import find_source
from clary.runtimes.sklearn_frames import Frames, names_of, needs_frame, takes_dicts
from clary.runtimes.sklearn_joins import joins_of_estimator
from clary.runtimes.sklearn_script import SklearnToolkit
from clary.runtimes.skops_file import load_skops

if TYPE_CHECKING:
    from numpy.typing import NDArray

CSV = "text/csv"
JSON = "application/json"
NPY = "application/x-npy"
_TYPES = (JSON, CSV, NPY)


class SklearnModel:
    """One estimator or pipeline with `predict`."""

    def __init__(self, estimator: Any, options: LoadOptions, notes: Sequence[str]) -> None:
        self._estimator = estimator
        self._width: int | None = _width(estimator)
        names = names_of(estimator)
        self._framed = bool(names) and needs_frame(estimator)
        self._frames = Frames(names, framed=self._framed) if names else None
        self._dicts = takes_dicts(estimator)
        self.signature = Signature(
            self._width,
            names,
            kinds=("any",) * len(names) if self._framed else (),
            accepts=_TYPES,
            answers=_TYPES,
            json_body="records" if self._framed else "rows" if self._width else "",
        )
        self.libraries: Mapping[str, str] = {"scikit-learn": sklearn.__version__, "numpy": np.__version__}
        self.joins: Joins = joins_of_estimator(estimator)
        self.notes = notes
        self._default_accept = options.env.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", JSON)
        if self._default_accept not in _TYPES:
            raise LoadError(
                f"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT={self._default_accept!r} is no type that is answered.",
                f"Use one of {', '.join(_TYPES)}.",
            )

    def decode(self, body: memoryview, content_type: str) -> Input:
        """JSON and CSV as float32, npy as it is; one row becomes an array of one row. ModelError 415 or 400.

        Of an estimator that was fitted on a frame columns are taken by name, see `sklearn_frames`.
        """
        name = content_type.split(";", maxsplit=1)[0].strip().lower() or JSON
        if name not in _TYPES:
            raise ModelError(415, f"Content type {name} is not supported by this framework.")
        raw = bytes(body)
        try:
            rows = self._rows(raw, name)
        except (ValueError, RecursionError, OverflowError, EOFError, OSError) as error:
            raise ModelError(400, f"The body is not {name}: {error}") from None
        if self._framed:
            return Input(rows, len(rows), None)
        rows = self._shaped(rows)
        return Input(rows, len(rows), (rows.dtype.str, rows.shape[1:]))

    def _rows(self, raw: bytes, name: str) -> Any:
        if self._frames is None:
            return _from_dicts(raw) if self._dicts and name == JSON else _DECODERS[name](raw)
        if name == CSV:
            return self._frames.from_csv(raw)
        return self._frames.from_json(raw) if name == JSON else self._frames.from_array(_from_npy(raw))

    def _shaped(self, rows: NDArray[Any]) -> NDArray[Any]:
        """At least one dimension of rows; numbers in one dimension are one row."""
        if rows.ndim == 0 or rows.size == 0:
            raise ModelError(400, "The body holds no row.")
        if rows.ndim == 1 and rows.dtype.kind not in "OUS":
            rows = rows.reshape(1, -1)
        if self._width is not None and rows.ndim == 2 and rows.shape[1] != self._width:
            kind = type(self._estimator).__name__
            raise ModelError(
                400, f"X has {rows.shape[1]} features, but {kind} is expecting {self._width} features as input."
            )
        return rows

    def check_accept(self, accept: str) -> str:
        """JSON, CSV or npy; ModelError 406 for others."""
        name = accept.split(";", maxsplit=1)[0].strip().lower()
        if name in ("", "*/*"):
            return self._default_accept
        if name not in _TYPES:
            raise ModelError(406, f"Accept type {name} is not supported by this framework.")
        return name

    def predict(self, inputs: Sequence[Input]) -> Sequence[NDArray[Any]]:
        """`predict` of the estimator, once for all rows. ModelError 400 with the estimator's words."""
        rows = inputs[0].data if len(inputs) == 1 else np.concatenate([one.data for one in inputs])
        try:
            found = np.asarray(self._estimator.predict(rows))
        except Exception as error:
            raise ModelError(400, f"{type(error).__name__}: {error}") from None
        if len(inputs) == 1:
            return [found]
        answers, at = [], 0
        for one in inputs:
            answers.append(found[at : at + one.rows])
            at += one.rows
        return answers

    def encode(self, result: NDArray[Any], accept: str) -> tuple[bytes, str]:
        """As the container's default `output_fn`."""
        if accept == JSON:
            return json.dumps(result.tolist()).encode(), JSON
        if accept == CSV:
            return _csv(result), CSV
        out = io.BytesIO()
        np.save(out, result, allow_pickle=False)
        return out.getvalue(), NPY

    def probe(self) -> tuple[bytes, str] | None:
        """A row of zeros where the width is known and columns hold numbers."""
        return None if self._width is None or self._framed else (",".join(["0"] * self._width).encode(), CSV)


def _from_json(raw: bytes) -> NDArray[Any]:
    value = json.loads(raw)
    if not isinstance(value, list):
        raise tensors.BodyError("a list of rows is expected")
    array = np.array(value)
    if array.dtype.kind in "biuf":
        return tensors.to_float32(array)
    if array.dtype.kind == "U" and all(isinstance(one, str) for one in value):
        return np.array(value, dtype=object)
    raise tensors.BodyError("rows of numbers, or a list of texts, are expected")


def _from_dicts(raw: bytes) -> NDArray[Any]:
    value = json.loads(raw)
    rows = [value] if isinstance(value, dict) else value
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise tensors.BodyError("an object, or a list of objects, is expected")
    found = np.empty(len(rows), dtype=object)
    found[:] = rows
    return found


def _from_npy(raw: bytes) -> NDArray[Any]:
    array = np.load(io.BytesIO(raw), allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise tensors.BodyError("an archive of arrays is not expected")
    return array


_DECODERS = {CSV: tensors.csv_rows, JSON: _from_json, NPY: _from_npy}


def _csv(result: NDArray[Any]) -> bytes:
    """What `numpy.savetxt(fmt='%s', delimiter=',')` writes: a row a line; the values of one dimension a line each."""
    if result.ndim == 1:
        return "".join([str(value) + "\n" for value in _printable(result)]).encode()
    return "".join([",".join([str(value) for value in _printable(row)]) + "\n" for row in result]).encode()


def _printable(values: NDArray[Any]) -> Sequence[Any]:
    """Python numbers where they print alike; float32 prints shorter than the double it equals."""
    found: Sequence[Any] = list(values) if values.dtype == np.float32 else values.tolist()
    return found


class SklearnRuntime:
    """Loads estimators."""

    name = "sklearn"
    joins = Joins.EXACT
    """At most: each loaded model says what holds for it."""
    pure = True
    modules = ("numpy", "joblib", "sklearn.pipeline", "sklearn.linear_model", "sklearn.ensemble")

    def load(self, options: LoadOptions) -> Model:
        """The estimator of the artifact, or its script. Raises LoadError with cause and remedy."""
        source = find_source(options)
        if source is not None:
            return load_script(SklearnToolkit(), options, source)
        path = _model_file(options.model_dir)
        load = functools.partial(load_skops, env=options.env) if zipfile.is_zipfile(path) else joblib.load
        estimator, notes = unpickled(path, options.env, load)
        if not hasattr(estimator, "predict"):
            kind = f"{type(estimator).__module__}.{type(estimator).__qualname__}"
            raise LoadError(
                f"{path.name} holds a {kind}, which has no predict.", "Save a fitted estimator or pipeline."
            )
        _use_one_job(estimator)
        # Rows come without column names, which is no news worth a line a request.
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return SklearnModel(estimator, options, notes)


def _model_file(model_dir: Path) -> Path:
    files = [p for p in sorted(model_dir.rglob("*")) if p.is_file() and not passed_over(p.relative_to(model_dir))]
    if len(files) > 1:
        files = [p for p in files if p.suffix in (".joblib", ".pkl", ".pickle", ".sav", ".skops")] or files
    if len(files) != 1:
        listed = ", ".join(p.relative_to(model_dir).as_posix() for p in files[:5]) or "nothing"
        raise LoadError(f"The artifact holds {listed}; one model file is expected.", "Pack one model.joblib.")
    return files[0]


def _use_one_job(estimator: Any) -> None:
    """Workers are the parallelism; a forest with more than one job sums in a different order on each call."""
    if hasattr(estimator, "get_params") and hasattr(estimator, "set_params"):
        jobs = [key for key in estimator.get_params(deep=True) if key.rpartition("__")[2] == "n_jobs"]
        estimator.set_params(**dict.fromkeys(jobs, 1))


def _width(estimator: Any) -> int | None:
    try:
        return int(estimator.n_features_in_)
    except (AttributeError, TypeError, ValueError):
        return None  # text pipelines, and estimators of other libraries, do not say


RUNTIME = SklearnRuntime()
