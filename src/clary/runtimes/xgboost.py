"""The XGBoost runtime: what the built-in SageMaker image does, on the XGBoost of this environment.

Behaviour (statuses, texts, formats) is that of aws/sagemaker-xgboost-container in the version that the image tag names;
docs/reference/xgboost.md lists it with every deviation.
"""

from __future__ import annotations

import ctypes
import json
from typing import TYPE_CHECKING, Any, Callable, Mapping, Sequence  # noqa: UP035

import numpy as np
import xgboost
from xgboost import core

from clary.runtimes import tensors, xgboost_output
from clary.runtimes.base import Input, Joins, LoadError, LoadOptions, Model, ModelError, Signature
from clary.runtimes.xgboost_files import Loaded, first_line, load_file, model_files
from clary.runtimes.xgboost_output import ACCEPTS, CSV, JSON, JSON_LINES, ONE_LINE_TAGS, Score

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TYPES_LISTED = (
    "csv, libsvm, parquet, recordio-protobuf, text/csv, text/libsvm, text/x-libsvm, "
    "application/x-parquet, application/x-recordio-protobuf"
)
_KINDS: Mapping[str, str] = {
    "csv": "csv",
    "text/csv": "csv",
    "libsvm": "libsvm",
    "text/libsvm": "libsvm",
    "text/x-libsvm": "libsvm",
    "recordio-protobuf": "recordio-protobuf",
    "application/x-recordio-protobuf": "recordio-protobuf",
}


class Predictor:
    """`Booster.inplace_predict` on float32 rows without its Python side: half the time for one row, the same bits.

    Only for tree boosters. Not for two threads at once: the pointers that XGBoost fills are kept.
    """

    def __init__(self, booster: Any, trees_end: int) -> None:
        self._booster = booster
        self._handle = booster.handle
        self._config = core.make_jcargs(
            type=0,
            training=False,
            iteration_begin=0,
            iteration_end=trees_end,
            missing=float("nan"),
            strict_shape=False,
            cache_id=0,
        )
        self._call: Callable[..., int] = core._LIB.XGBoosterPredictFromDense
        self._shape = ctypes.POINTER(ctypes.c_uint64)()
        self._dims = ctypes.c_uint64()
        self._scores = ctypes.POINTER(ctypes.c_float)()
        self._out = (ctypes.byref(self._shape), ctypes.byref(self._dims), ctypes.byref(self._scores))
        self._no_proxy = ctypes.c_void_p()

    def __call__(self, rows: NDArray[np.float32]) -> list[Score]:
        """Scores of C-contiguous float32 `rows`: a float a row, or a list of floats where there are several."""
        count, width = rows.shape
        interface = b'{"data": [%d, true], "shape": [%d, %d], "typestr": "<f4", "version": 3, "strides": null}' % (
            rows.ctypes.data,
            count,
            width,
        )
        if self._call(self._handle, interface, self._config, self._no_proxy, *self._out) != 0:
            raise core.XGBoostError(core._LIB.XGBGetLastError().decode("utf-8", "replace"))
        outputs = 1
        for axis in range(1, self._dims.value):
            outputs *= self._shape[axis]
        if count * outputs <= _SLICED_SCORES_MAX:
            flat: list[float] = self._scores[: count * outputs]
            if self._dims.value == 1:
                return list(flat)
            return [flat[at : at + outputs] for at in range(0, count * outputs, outputs)]
        scores = np.ctypeslib.as_array(self._scores, shape=(count, outputs))
        answer: list[Score] = (scores[:, 0] if self._dims.value == 1 else scores).tolist()
        return answer


_SLICED_SCORES_MAX = 64


class MatrixPredictor:
    """`Booster.predict` through a DMatrix: for linear boosters and dart, as the image predicts."""

    def __init__(self, booster: Any, trees_end: int, threads: int) -> None:
        self._booster = booster
        self._range = (0, trees_end)
        self._threads = threads

    def __call__(self, rows: NDArray[np.float32]) -> list[Score]:
        matrix = xgboost.DMatrix(rows, nthread=self._threads)
        scores = self._booster.predict(matrix, iteration_range=self._range, validate_features=False)
        answer: list[Score] = scores.tolist()
        return answer


class XGBoostModel:
    """One booster, or several whose scores are averaged."""

    def __init__(self, loaded: Sequence[Loaded], options: LoadOptions) -> None:
        configs = [json.loads(one.booster.save_config())["learner"] for one in loaded]
        self._width = int(configs[0]["learner_model_param"]["num_feature"])
        self._predictors: list[Callable[[NDArray[np.float32]], list[Score]]] = []
        exact = True
        for one, config in zip(loaded, configs):
            one.booster.set_param({"nthread": options.threads})
            trees = config["gradient_booster"]["name"] == "gbtree"
            exact = exact and trees
            end = _trees_end(one.booster)
            self._predictors.append(
                Predictor(one.booster, end) if trees else MatrixPredictor(one.booster, end, options.threads)
            )
        self.joins = Joins.EXACT if exact else Joins.ROUNDING
        self.signature = Signature(
            width=self._width, names=tuple(loaded[0].booster.feature_names or ()), outputs=_outputs(configs[0])
        )
        self.libraries: Mapping[str, str] = {"xgboost": xgboost.__version__, "numpy": np.__version__}
        self.notes: Sequence[str] = tuple(note for one in loaded for note in one.notes)
        self._one_line = options.image_tag in ONE_LINE_TAGS
        self._batch = bool(options.env.get("SAGEMAKER_BATCH"))
        self._default_accept = options.env.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", CSV)
        self._default_kind = "csv" if options.image_tag.startswith("0.90") else "libsvm"
        self._kinds: dict[str, str] = {}
        self._key = ("float32", self._width)

    def decode(self, body: memoryview, content_type: str) -> Input:
        """Rows as float32 of the model's width, NaN where a value is missing. ModelError 204, 415 or 400."""
        raw = bytes(body)
        if not raw:
            raise ModelError(204, "")
        kind = self._kinds.get(content_type) or self._kind(content_type)
        if kind == "csv":
            try:
                rows = tensors.csv_rows(raw)
            except ValueError as error:
                raise _unreadable("csv", error) from None
        else:
            try:
                rows, needed = tensors.libsvm_rows(raw, self._width)
            except ValueError as error:
                raise _unreadable("libsvm", error) from None
            if needed > self._width:
                raise ModelError(
                    400,
                    f"Unable to evaluate payload provided: Feature size of libsvm inference data {needed} is larger "
                    f"than feature size of trained model {self._width}.",
                )
        if rows.shape[1] != self._width:
            rows = self._widened(rows, kind)
        return Input(rows, len(rows), self._key)

    def _kind(self, content_type: str) -> str:
        """csv, libsvm or recordio-protobuf; remembered for the content types seen most."""
        name = content_type.split(";", maxsplit=1)[0].strip().lower()
        kind = _KINDS.get(name) if name else self._default_kind
        if kind is None:
            raise ModelError(415, f"{content_type} is not an accepted ContentType: {_TYPES_LISTED}.")
        if kind == "csv" and "label_size" in content_type.lower():
            sizes = [p.split("=")[-1].strip() for p in content_type.lower().split(";") if "label_size" in p]
            if sizes != ["1"]:
                raise ModelError(
                    415,
                    f"{content_type} is not an accepted csv ContentType. "
                    "Optional parameter label_size must be equal to 1",
                )
        if len(self._kinds) < _KINDS_MAX:
            self._kinds[content_type] = kind
        return kind

    def _widened(self, rows: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
        """Rows with one column fewer than the model get a NaN at the end, as in the image; others are refused."""
        width = rows.shape[1]
        if width != self._width - 1:
            raise ModelError(
                400,
                f"Unable to evaluate payload provided: Feature size of {kind} inference data {width} is not "
                f"consistent with feature size of trained model {self._width}.",
            )
        wide = np.full((len(rows), self._width), np.nan, dtype=np.float32)
        wide[:, :width] = rows
        return wide

    def check_accept(self, accept: str) -> str:
        """The type of the answer; ModelError 406 for one that the image does not give."""
        if self._one_line:
            return CSV
        name = accept.split(";", maxsplit=1)[0].strip()
        if not name or name == "*/*":
            return self._default_accept
        if name.lower() not in ACCEPTS:
            raise ModelError(
                406,
                f"Accept type {name} is not supported. Please use supported accept types: {list(ACCEPTS)}.",
            )
        return name.lower()

    def predict(self, inputs: Sequence[Input]) -> Sequence[list[Score]]:
        """Scores for each input from one call over all rows. ModelError 400 with the image's text."""
        rows = inputs[0].data if len(inputs) == 1 else np.concatenate([one.data for one in inputs])
        try:
            scores = self._predictors[0](rows)
        except core.XGBoostError as error:
            raise ModelError(400, f"Unable to evaluate payload provided: {first_line(error)}") from None
        if len(inputs) == 1:
            return [scores]
        answers, at = [], 0
        for one in inputs:
            answers.append(scores[at : at + one.rows])
            at += one.rows
        return answers

    def encode(self, result: list[Score], accept: str) -> tuple[bytes, str]:
        """The answer as the image of this version prints it."""
        if self._batch:
            return xgboost_output.batch_lines(result), accept
        if self._one_line:
            return xgboost_output.one_line(result), CSV
        if accept == CSV:
            return xgboost_output.lines(result), CSV
        scored = [{"score": score} for score in result]
        if accept == JSON:
            return xgboost_output.as_json(scored), JSON
        return xgboost_output.as_json_lines(scored), JSON_LINES

    def probe(self) -> tuple[bytes, str] | None:
        """One row of zeros."""
        return (",".join(["0"] * self._width)).encode(), CSV


_KINDS_MAX = 64


class XGBoostRuntime:
    """Loads boosters."""

    name = "xgboost"
    joins = Joins.EXACT
    pure = True
    modules = ("numpy", "xgboost", "clary.runtimes.xgboost")

    def load(self, options: LoadOptions) -> Model:
        """The booster of the artifact. Raises LoadError with cause and remedy."""
        loaded = [load_file(path) for path in model_files(options.model_dir)]
        if len(loaded) > 1:
            raise LoadError("several model files", "one")
        return XGBoostModel(loaded, options)


def _trees_end(booster: Any) -> int:
    """Rounds to predict with: up to the best one where training stopped early, else 0 for all."""
    best = booster.attr("best_iteration")
    return int(best) + 1 if best is not None else 0


def _outputs(config: Mapping[str, Any]) -> int | None:
    params = config["learner_model_param"]
    if config["objective"]["name"] == "multi:softmax":
        return 1
    return max(int(params.get("num_class", 0)), int(params.get("num_target", 1)), 1)


def _unreadable(kind: str, error: Exception) -> ModelError:
    return ModelError(
        415,
        f"Loading {kind} data failed with Exception, please ensure data is in {kind} format:\n {type(error)}\n {error}",
    )


RUNTIME = XGBoostRuntime()
