"""The XGBoost runtime: what the built-in SageMaker image does, on the XGBoost of this environment.

Behaviour (statuses, texts, formats) is that of aws/sagemaker-xgboost-container in the version that the image tag names;
docs/reference/xgboost.md lists it with every deviation.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Mapping, Sequence  # noqa: UP035

import numpy as np
import xgboost
from xgboost import core

from clary.runtimes import recordio, tensors, xgboost_output
from clary.runtimes.base import Input, Joins, LoadError, LoadOptions, Model, ModelError, Signature
from clary.runtimes.script import load_script
from clary.runtimes.script_source import find_source
from clary.runtimes.xgboost_files import Loaded, first_line, load_file, model_files
from clary.runtimes.xgboost_output import ACCEPTS, CSV, JSON, JSON_LINES, ONE_LINE_TAGS, RECORDIO, Score
from clary.runtimes.xgboost_predict import ByMatrix, Ensemble, InPlace
from clary.runtimes.xgboost_script import XGBoostToolkit, is_script_mode
from clary.runtimes.xgboost_select import VARIABLE, Selection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clary.runtimes.xgboost_predict import Predict

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
_READ = ("text/csv", "text/libsvm", "application/x-recordio-protobuf")
_PARQUET = frozenset({"parquet", "application/x-parquet"})
"""Training input: known to the image, and refused by it for inference."""


class XGBoostModel:
    """One booster, or several that vote or are averaged."""

    def __init__(self, loaded: Sequence[Loaded], options: LoadOptions, notes: Sequence[str] = ()) -> None:
        """Raises LoadError for settings in `options.env` that cannot be honoured."""
        configs = [json.loads(one.booster.save_config())["learner"] for one in loaded]
        objective = str(configs[0]["objective"]["name"])
        params = configs[0]["learner_model_param"]
        classes = int(params.get("num_class", 0))
        self._width = _width(loaded, configs)
        self._predict = _predictor(loaded, configs, options.threads)
        exact = all(config["gradient_booster"]["name"] == "gbtree" for config in configs)
        self.joins = Joins.EXACT if exact else Joins.ROUNDING
        outputs = 1 if objective == "multi:softmax" else max(classes, int(params.get("num_target", 1)), 1)
        names = tuple(loaded[0].booster.feature_names or ())
        self.signature = Signature(self._width, names, outputs, accepts=_READ, answers=ACCEPTS)
        self.libraries: Mapping[str, str] = {"xgboost": xgboost.__version__, "numpy": np.__version__}
        self.notes: Sequence[str] = (*notes, *(note for one in loaded for note in one.notes))
        self._one_line = options.image_tag in ONE_LINE_TAGS
        self._batch = bool(options.env.get("SAGEMAKER_BATCH"))
        self._default_accept = _default_accept(options.env)
        self._selection = _selection(options, objective, classes)
        self._default_kind = "csv" if options.image_tag.startswith("0.90") else "libsvm"
        self._kinds: dict[str, str] = {}
        self._key = ("float32", self._width)

    def decode(self, body: memoryview, content_type: str) -> Input:
        """Rows as float32 of the model's width, NaN where a value is missing. ModelError 204, 415 or 400."""
        raw = bytes(body)
        if not raw:
            raise ModelError(204, "")
        kind = self._kinds.get(content_type) or self._kind(content_type)
        try:
            if kind == "csv":
                rows = tensors.csv_rows(raw)
            elif kind == "libsvm":
                rows, needed = tensors.libsvm_rows(raw, self._width)
                if needed > self._width:
                    raise self._too_wide(needed)
            else:
                rows = recordio.recordio_rows(raw)
        except ValueError as error:
            raise _unreadable(kind, error) from None
        if rows.shape[1] != self._width:
            rows = self._widened(rows, kind)
        return Input(rows, len(rows), self._key)

    def _kind(self, content_type: str) -> str:
        """csv, libsvm or recordio-protobuf; remembered for the content types seen most."""
        name = content_type.split(";", maxsplit=1)[0].strip().lower()
        kind = _KINDS.get(name) if name else self._default_kind
        if name in _PARQUET:
            raise ModelError(415, f"Content-type {content_type} is not supported.")
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

    def _too_wide(self, needed: int) -> ModelError:
        return ModelError(
            400,
            f"Unable to evaluate payload provided: Feature size of libsvm inference data {needed} is larger "
            f"than feature size of trained model {self._width}.",
        )

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
        if self._one_line and self._selection is None:
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
            scores = self._predict(rows)
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
        if self._selection is not None:
            return self._selection.encode(result, accept, batch=self._batch), accept
        if self._batch:
            return xgboost_output.batch_lines(result), accept
        if self._one_line:
            return xgboost_output.one_line(result), CSV
        if accept == CSV:
            return xgboost_output.lines(result), CSV
        if accept == JSON:
            return xgboost_output.as_json([{"score": score} for score in result]), JSON
        if accept == JSON_LINES:
            return xgboost_output.as_json_lines(result), JSON_LINES
        labels = [{"score": score if isinstance(score, list) else [score]} for score in result]
        return recordio.encode_labels(labels), RECORDIO

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
        """The boosters of the artifact, or its script. Raises LoadError with cause and remedy."""
        if is_script_mode(options):
            return load_script(XGBoostToolkit(), options, find_source(options))
        paths = model_files(options.model_dir)
        notes: tuple[str, ...] = ()
        if len(paths) > 1 and options.env.get(_ENSEMBLE, "true").strip().lower() == "false":
            notes = (f"{_ENSEMBLE}=false: {paths[0].name} alone serves, of {len(paths)} files.",)
            paths = paths[:1]
        return XGBoostModel([load_file(path) for path in paths], options, notes)


_ENSEMBLE = "SAGEMAKER_INFERENCE_ENSEMBLE"
_CLASS_OBJECTIVES = frozenset({"multi:softmax", "binary:hinge"})
_UNSELECTABLE_TAGS = frozenset({"1", "latest", "0.90-1", "0.90-2"})


def _width(loaded: Sequence[Loaded], configs: Sequence[Mapping[str, Any]]) -> int:
    """Features of a row, which all members of an ensemble must share, as they must their outputs."""
    widths = [int(config["learner_model_param"]["num_feature"]) for config in configs]
    kinds = {(width, config["objective"]["name"]) for width, config in zip(widths, configs)}
    if len(kinds) > 1:
        listed = ", ".join(f"{one.path.name} ({w} features)" for one, w in zip(loaded, widths))
        raise LoadError(
            f"The artifact's models do not make an ensemble: {listed}, objectives {sorted({k[1] for k in kinds})}.",
            "Put one model into the artifact, as xgboost-model.",
        )
    if widths[0] == 0:
        raise LoadError(f"{loaded[0].path.name} says nothing of its features.", "Save a model that was trained.")
    return widths[0]


def _predictor(loaded: Sequence[Loaded], configs: Sequence[Mapping[str, Any]], threads: int) -> Predict:
    members: list[Predict] = []
    for one, config in zip(loaded, configs):
        rounds = _rounds(one.booster)
        trees = config["gradient_booster"]["name"] == "gbtree"
        members.append((InPlace if trees else ByMatrix)(one.booster, rounds, threads))
    if len(members) == 1:
        return members[0]
    return Ensemble(members, vote=configs[0]["objective"]["name"] in _CLASS_OBJECTIVES)


def _rounds(booster: Any) -> int:
    """Rounds to predict with: up to the best one where training stopped early, else 0 for all."""
    best = booster.attr("best_iteration")
    if best is None or not best.isdigit():
        return 0
    rounds = int(best) + 1
    return rounds if rounds < booster.num_boosted_rounds() else 0


def _default_accept(env: Mapping[str, str]) -> str:
    name = "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT"
    accept = env.get(name, CSV)
    if accept not in ACCEPTS:
        raise LoadError(f"{name}={accept!r} is no type that this image answers.", f"Use one of {', '.join(ACCEPTS)}.")
    return accept


def _selection(options: LoadOptions, objective: str, classes: int) -> Selection | None:
    """What SAGEMAKER_INFERENCE_OUTPUT selects; the images before 1.0-1 do not know the variable."""
    variable = options.env.get(VARIABLE)
    if variable is None or options.image_tag in _UNSELECTABLE_TAGS:
        return None
    return Selection(variable, objective, classes)


_BUILTIN_ERROR = ValueError
"""What a BodyError shows as: the image's own parsers raise this."""


def _unreadable(kind: str, error: Exception) -> ModelError:
    between = " " if kind == "recordio-protobuf" else "\n "
    return ModelError(
        415,
        f"Loading {kind} data failed with Exception, please ensure data is in {kind} format:"
        f"{between}{_BUILTIN_ERROR if isinstance(error, tensors.BodyError) else type(error)}{between}{error}",
    )


RUNTIME = XGBoostRuntime()
