"""The MLflow runtime: a model folder (`MLmodel`) behind MLflow's scoring protocol, without its server.

Sources: mlflow/pyfunc/scoring_server (requests, answers, errors) and mlflow/models/model.py (the folder). Parsing and
the schema's enforcement are MLflow's own functions, which it keeps compatible because its server runs them in models'
environments of any version. docs/reference/mlflow.md lists deviations.
"""

from __future__ import annotations

import inspect
import json
import logging
import traceback
import warnings
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, Mapping, Sequence  # noqa: UP035 - Python 3.9

import numpy as np
import pandas as pd

from clary.runtimes.base import Input, Joins, LoadError, LoadOptions, Model, ModelError, Signature
from clary.runtimes.mlmodel import MlModel, model_folder, read_mlmodel
from clary.runtimes.pickles import note_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns of its own type hints
    import mlflow
    import mlflow.pyfunc
    from mlflow.exceptions import MlflowException
    from mlflow.utils.proto_json_utils import (
        NumpyEncoder,
        _get_jsonable_obj,
        dataframe_from_parsed_json,
        parse_tf_serving_input,
    )

CSV = "text/csv"
JSON = "application/json"
PARQUET = "application/vnd.apache.parquet"
_TYPES = (CSV, JSON, PARQUET)
_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_LLM_KEYS = frozenset({"messages", "prompt", "input"})
_STACK_CHARS_MAX = 4000
_EXAMPLES = ("serving_input_example.json", "serving_input_payload.json")
_RESAVE = "Save it again with the versions of its requirements.txt, or correct those."


@dataclass(frozen=True)
class _Request:
    """One parsed body."""

    data: Any
    params: Mapping[str, Any] | None
    bare: bool = False
    """An LLM's own form: passed as it is, and the answer is not wrapped."""


@dataclass(frozen=True)
class _Answer:
    """What `predict` gave."""

    value: Any
    rows: int
    bare: bool

    def __len__(self) -> int:
        return self.rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.asarray(self.value, dtype)


class PyfuncModel:
    """One loaded folder."""

    joins = Joins.NEVER

    def __init__(self, model: Any, folder: Path, told: MlModel, notes: Sequence[str]) -> None:
        self._model = model
        self._folder = folder
        self._schema = model.metadata.get_input_schema() if model.metadata is not None else None
        self._takes_params = "params" in inspect.signature(model.predict).parameters
        self.signature = Signature(
            width=told.width,
            names=told.names,
            kinds=told.kinds or ("any",) * (told.width or 0),
            optional=told.optional,
            accepts=_TYPES,
            answers=(JSON,),
            json_body="mlflow",
        )
        self.libraries: Mapping[str, str] = {
            "mlflow": mlflow.__version__,
            "pandas": pd.__version__,
            "numpy": np.__version__,
        }
        self.notes = notes

    def decode(self, body: memoryview, content_type: str) -> Input:
        """A frame, an array or a dict of arrays, cast to the signature. ModelError 415 or 400, as MLflow words them."""
        kind = _kind(content_type)
        raw = bytes(body)
        if not raw:
            raise _bad("The body is empty.")
        try:
            request = self._json(raw) if kind == JSON else _Request(self._table(raw, kind), None)
        except MlflowException as error:
            raise _bad(error.message, error) from None
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError, ImportError) as error:
            raise _bad(f"Failed to parse the body as {kind}. Error: {error}") from None
        return Input(request, _rows(request.data), kind)

    def _json(self, raw: bytes) -> _Request:
        try:
            document = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise _bad(
                f"Failed to parse input from JSON. Ensure that input is a valid JSON formatted string. {error}"
            ) from None
        if not isinstance(document, dict):
            raise _bad(f"{_ONE_OF} Received list or scalar input.", code="BAD_REQUEST")
        params = document.pop("params", None)
        found = [form for form in _FORMS if form in document]
        if not found and _LLM_KEYS & set(document) and "signature_name" not in document:
            return _Request(document, params, bare=True)
        if len(found) != 1:
            raise _bad(f"{_ONE_OF} Received dictionary with input fields: {list(document)}.", code="BAD_REQUEST")
        if found[0].startswith("dataframe_"):
            data = dataframe_from_parsed_json(document[found[0]], found[0][len("dataframe_") :], self._schema)
        else:
            data = parse_tf_serving_input(document, self._schema)
        return _Request(data, params)

    def _table(self, raw: bytes, kind: str) -> Any:
        if kind == PARQUET:
            return pd.read_parquet(BytesIO(raw))
        text = StringIO(raw.decode("utf-8"))
        schema = self._schema
        if schema is None or not schema.has_input_names():
            return pd.read_csv(text)
        return pd.read_csv(text, dtype=dict(zip(schema.input_names(), schema.pandas_types())))

    def check_accept(self, accept: str) -> str:  # noqa: ARG002 - MLflow answers JSON whatever is asked for
        """JSON."""
        return JSON

    def predict(self, inputs: Sequence[Input]) -> Sequence[_Answer]:
        """One predict a request. ModelError with MLflow's code, 400 with the stack for what the model raises."""
        return [self._one(one) for one in inputs]

    def _one(self, one: Input) -> _Answer:
        request: _Request = one.data
        try:
            if self._takes_params:
                found = self._model.predict(request.data, params=request.params)
            else:
                found = self._model.predict(request.data)
        except MlflowException as error:
            raise _bad(f"Failed to predict the given data. Error: {error.message}", error) from None
        except Exception:
            raise _bad(
                "Encountered an unexpected error while evaluating the model. Verify that the serialized input Dataframe"
                " is compatible with the model for inference.",
                code="BAD_REQUEST",
                stack=traceback.format_exc()[-_STACK_CHARS_MAX:],
            ) from None
        return _Answer(found, one.rows, request.bare)

    def encode(self, result: _Answer, accept: str) -> tuple[bytes, str]:  # noqa: ARG002 - always JSON
        """`{"predictions": ...}`, as MLflow writes it: a NaN stays a bare NaN. ModelError 500 for what is no JSON."""
        plain = _get_jsonable_obj(result.value, pandas_orient="records")
        try:
            return json.dumps(plain if result.bare else {"predictions": plain}, cls=NumpyEncoder).encode(), JSON
        except (TypeError, ValueError) as error:
            raise _failed(500, "INTERNAL_ERROR", f"The prediction cannot be written as JSON: {error}") from None

    def probe(self) -> tuple[bytes, str] | None:
        """The example that was saved with the model, or zeros where its signature is of numbers only."""
        for name in _EXAMPLES:
            if (self._folder / name).is_file():
                return (self._folder / name).read_bytes(), JSON
        schema = self._schema
        if schema is None:
            return None
        if schema.is_tensor_spec():
            shapes = {spec.name: [max(1, size) for size in spec.shape] for spec in schema.inputs}
            if any(np.dtype(spec.type).kind not in "biuf" for spec in schema.inputs):
                return None
            zeros = {name: np.zeros(shape).tolist() for name, shape in shapes.items()}
            return json.dumps({"inputs": zeros if schema.has_input_names() else zeros.popitem()[1]}).encode(), JSON
        kinds = {str(getattr(column.type, "name", "")) for column in schema.inputs}
        if not kinds <= {"integer", "long", "float", "double"}:
            return None
        split: dict[str, Any] = {"data": [[0] * len(schema.inputs)]}
        if schema.has_input_names():
            split["columns"] = list(schema.input_names())
        return json.dumps({"dataframe_split": split}).encode(), JSON


_ONE_OF = (
    "The input must be a JSON dictionary with exactly one of the input fields "
    "{'dataframe_split', 'dataframe_records', 'instances', 'inputs'}."
)


def _kind(content_type: str) -> str:
    """The media type; ModelError 415 for another one, another charset or another parameter."""
    name, *pairs = [part.strip() for part in content_type.split(";")]
    kind = name.lower()
    parameters = {
        key.strip().lower(): value.strip().lower() for key, _, value in (pair.partition("=") for pair in pairs)
    }
    if kind not in _TYPES:
        raise ModelError(
            415, f"This predictor only supports the following content types: {list(_TYPES)}. Got '{content_type}'."
        )
    if parameters.get("charset", "utf-8") != "utf-8":
        raise ModelError(415, f"The scoring server only supports UTF-8. Got '{content_type}'.")
    unknown = sorted(set(parameters) - {"charset"})
    if unknown:
        raise ModelError(415, f"Unrecognized content type parameters: {', '.join(unknown)}. Got '{content_type}'.")
    return kind


def _rows(data: Any) -> int:
    """Rows of what was parsed: 1 where it has no length that means rows."""
    if isinstance(data, dict):
        data = next(iter(data.values()), None)
    if isinstance(data, np.ndarray):
        return len(data) if data.ndim else 1
    return len(data) if isinstance(data, (pd.DataFrame, list)) else 1


def _bad(message: str, error: Any = None, *, code: str = "", stack: str = "") -> ModelError:
    """MLflow's error: its own code and status where `error` brings them, else INVALID_PARAMETER_VALUE and 400."""
    status = 400
    if error is not None:
        code = str(error.error_code)
        status = int(error.get_http_status_code())
    return _failed(status, code or "INVALID_PARAMETER_VALUE", message, stack)


def _failed(status: int, code: str, message: str, stack: str = "") -> ModelError:
    document = {"error_code": code, "message": message}
    if stack:
        document["stack_trace"] = stack
    return ModelError(status, json.dumps(document))


class PyfuncRuntime:
    """Loads model folders."""

    name = "pyfunc"
    joins = Joins.NEVER
    pure = False
    """A python_function may be anything."""
    modules = ("numpy", "pandas", "mlflow.pyfunc")

    def load(self, options: LoadOptions) -> Model:
        """The folder with an `MLmodel`: the artifact's top, or the one folder in it. Raises LoadError."""
        folder = model_folder(options.model_dir)
        told = read_mlmodel(folder)
        # It compares requirements with what is installed and says so in many lines; what matters is checked by loading.
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                model = mlflow.pyfunc.load_model(str(folder))
            except MlflowException as error:
                raise LoadError(
                    f"MLflow {mlflow.__version__} does not load the model: {error.message}.", _RESAVE
                ) from None
            except ModuleNotFoundError as error:
                raise LoadError(
                    f"The model needs the module {error.name!r}, which is not installed.",
                    f"Name {error.name} in its requirements.txt, so that it gets an environment of its own.",
                ) from None
            except MemoryError:
                raise
            except Exception as error:
                raise LoadError(f"The model does not load: {type(error).__name__}: {error}.", _RESAVE) from None
        warnings.filterwarnings("ignore", module=r"(mlflow|sklearn|pandas)\b")
        found = [note_of(folder.name, one.message, options.env) for one in caught if _about_versions(one.message)]
        return PyfuncModel(model, folder, told, tuple(dict.fromkeys(found)))


def _about_versions(warning: Warning | str) -> bool:
    return hasattr(warning, "original_sklearn_version")


RUNTIME = PyfuncRuntime()
