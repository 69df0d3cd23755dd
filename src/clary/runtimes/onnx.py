"""The ONNX runtime: one graph through onnxruntime on the CPU.

SageMaker has no image of this kind, so formats are Clary's own: docs/reference/onnx.md lists them. What a request may
hold follows from the graph's inputs: one input of rows takes rows; several inputs of one column each take those
columns in order; any graph takes arrays by input name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping, Sequence  # noqa: UP035 - Python 3.9

import numpy as np
import onnxruntime

from clary.runtimes import rows, tensors
from clary.runtimes.base import Input, Joins, LoadError, LoadOptions, Model, ModelError, Signature
from clary.runtimes.files import model_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

OUTPUTS_VARIABLE = "CLARY_ONNX_OUTPUTS"
"""Names of the outputs that are answered, parted by commas; all where unset."""
_DTYPES: Mapping[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
    "tensor(string)": object,
}
_RESAVE = "Export the model again and pack the whole .onnx file, with its external data beside it."


@dataclass(frozen=True)
class _Slot:
    """One input of the graph."""

    name: str
    dtype: Any
    shape: tuple[int | None, ...]
    """None for a dimension that the request decides."""

    @property
    def width(self) -> int | None:
        """Columns that it takes of a table of rows; None where it is no such input, or any number of them."""
        if len(self.shape) == 1:
            return 1
        return self.shape[1] if len(self.shape) == 2 else None


class Answer(Sequence[Any]):
    """Several outputs of one predict; its length is the number of rows."""

    def __init__(self, outputs: Mapping[str, Any], rows_: int) -> None:
        self.outputs = outputs
        self._rows = rows_

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, at: Any) -> Any:
        return {name: value[at] for name, value in self.outputs.items()}


class OnnxModel:
    """One session."""

    joins = Joins.ROUNDING
    """Kernels choose their order of adding by the batch's size."""

    def __init__(self, session: Any, options: LoadOptions) -> None:
        self._session = session
        self._slots = tuple(_slot(one) for one in session.get_inputs())
        self._outputs = _chosen([one.name for one in session.get_outputs()], options.env)
        self._default_accept = rows.default_accept(options.env)
        self._batch = self._slots[0].shape[0] if self._slots and self._slots[0].shape else None
        """Rows of one run where the graph fixes them."""
        columns = [slot.width for slot in self._slots]
        self._width = None if None in columns else sum(width or 0 for width in columns)
        self._table = len(self._slots) == 1 or all(width == 1 for width in columns)
        names = tuple(slot.name for slot in self._slots) if len(self._slots) > 1 and self._table else ()
        self.signature = Signature(
            self._width if self._table else None,
            names,
            kinds=tuple("any" if s.dtype is object else "number" for s in self._slots for _ in range(s.width or 0)),
            accepts=rows.TYPES,
            answers=rows.TYPES,
            json_body="rows" if self._table else "",
        )
        self.libraries: Mapping[str, str] = {"onnxruntime": onnxruntime.__version__, "numpy": np.__version__}
        self.notes: Sequence[str] = ()

    def decode(self, body: memoryview, content_type: str) -> Input:
        """Arrays by input name. ModelError 415 or 400."""
        kind = rows.content_type_of(content_type)
        raw = bytes(body)
        if not raw:
            raise ModelError(400, "The body is empty.")
        try:
            feeds = self._feeds(raw, kind)
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
            raise ModelError(400, f"The body is not {kind} that this model reads: {error}") from None
        counts = {len(array) for array in feeds.values() if array.ndim}
        if len(counts) > 1 or 0 in counts:
            raise ModelError(400, f"Inputs have {sorted(counts)} rows; all must have the same number, at least one.")
        count = counts.pop() if counts else 1
        if self._batch not in (None, 1, count):
            raise ModelError(400, f"The model takes exactly {self._batch} rows at once; the body has {count}.")
        return Input(feeds, count, tuple((a.dtype.str, a.shape[1:]) for a in feeds.values()))

    def _feeds(self, raw: bytes, kind: str) -> dict[str, NDArray[Any]]:
        if kind == rows.CSV:
            return self._from_table(self._csv(raw))
        if kind == rows.NPY:
            return self._from_table(rows.read(raw, kind))
        value = rows.document(raw)
        if isinstance(value, dict):
            return self._by_name(value.get("inputs", value) if len(value) == 1 else value)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return self._by_name({slot.name: [row[slot.name] for row in value] for slot in self._slots})
        return self._from_table(_array(value, self._slots[0] if len(self._slots) == 1 else None))

    def _csv(self, raw: bytes) -> NDArray[Any]:
        if not self._table or any(len(slot.shape) > 2 for slot in self._slots):
            raise ValueError("its inputs are no rows of numbers; send JSON by input name")
        if all(slot.dtype is np.float32 for slot in self._slots):
            return tensors.csv_rows(raw)
        found = rows.cells(raw)
        numeric = all(slot.dtype is not object for slot in self._slots)
        return rows.numbers_of(found) if numeric else np.array(found, dtype=object)

    def _from_table(self, table: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """One array for one input; the columns of a table for inputs of one column each."""
        if table.ndim == 0:
            raise ValueError("a list of rows is expected")
        if len(self._slots) == 1:
            slot = self._slots[0]
            if table.ndim == 1 and len(slot.shape) == 2:
                table = table.reshape(1, -1)
            elif table.ndim == 2 and table.shape[1] == 1 and len(slot.shape) == 1:
                table = table.reshape(-1)
            return {slot.name: _fitted(table, slot)}
        if not self._table:
            raise ValueError(f"it has the inputs {self._names()}; send them by name")
        if table.ndim == 1:
            table = table.reshape(1, -1)
        if table.ndim != 2 or table.shape[1] != len(self._slots):
            raise ValueError(f"{table.shape[-1]} columns where the model has {len(self._slots)}: {self._names()}")
        return {
            slot.name: _fitted(table[:, [at]] if len(slot.shape) == 2 else table[:, at], slot)
            for at, slot in enumerate(self._slots)
        }

    def _by_name(self, value: Any) -> dict[str, NDArray[Any]]:
        if not isinstance(value, dict) or set(value) != {slot.name for slot in self._slots}:
            given = ", ".join(map(str, value)) if isinstance(value, dict) else type(value).__name__
            raise ValueError(f"the model has the inputs {self._names()}; given are {given}")
        found = {}
        for slot in self._slots:
            array = _array(value[slot.name], slot)
            if array.ndim == 1 and slot.shape[1:] == (1,):
                array = array.reshape(-1, 1)
            found[slot.name] = _fitted(array, slot)
        return found

    def _names(self) -> str:
        return ", ".join(slot.name for slot in self._slots)

    def check_accept(self, accept: str) -> str:
        """JSON, CSV or npy; ModelError 406 for others."""
        return rows.accept_of(accept, self._default_accept)

    def predict(self, inputs: Sequence[Input]) -> Sequence[Any]:
        """One run a request; one a row where the graph is fixed to one. ModelError 400 with the library's words."""
        return [self._run(one) for one in inputs]

    def _run(self, one: Input) -> Any:
        feeds: dict[str, NDArray[Any]] = one.data
        names = list(self._outputs)
        try:
            if self._batch == 1 and one.rows > 1:
                runs = [
                    self._session.run(names, {n: a[at : at + 1] for n, a in feeds.items()}) for at in range(one.rows)
                ]
                found = [_joined(parts) for parts in zip(*runs)]
            else:
                found = self._session.run(names, feeds)
        except Exception as error:  # the library's classes share no base but this
            raise ModelError(400, f"{type(error).__name__}: {error}") from None
        if len(found) == 1 and isinstance(found[0], np.ndarray) and found[0].ndim:
            return found[0]
        return Answer(dict(zip(names, found)), one.rows)

    def encode(self, result: Any, accept: str) -> tuple[bytes, str]:
        """One output as it is; several by name in JSON, else the first. ModelError 406 for what has no rows."""
        if not isinstance(result, Answer):
            return rows.write(result, accept)
        if accept == rows.JSON:
            import json

            return json.dumps({name: _plain(value) for name, value in result.outputs.items()}).encode(), rows.JSON
        name, first = next(iter(result.outputs.items()))
        if not isinstance(first, np.ndarray) or not first.ndim:
            raise ModelError(406, f"The output {name} is no array of rows; ask for {rows.JSON}.")
        return rows.write(first, accept)

    def probe(self) -> tuple[bytes, str] | None:
        """Zeros where every input is of numbers and of a known shape."""
        import json

        if any(slot.dtype is object or None in slot.shape[1:] for slot in self._slots):
            return None
        zeros = {s.name: np.zeros([size or 1 for size in s.shape], s.dtype) for s in self._slots}
        return json.dumps({"inputs": {name: array.tolist() for name, array in zeros.items()}}).encode(), rows.JSON


def _array(value: Any, slot: _Slot | None) -> NDArray[Any]:
    """JSON's value for one input, as `rows.array_of`; mixed columns stay Python's own for `_fitted` to convert."""
    if slot is None or slot.dtype is object:
        array = np.array(value, dtype=object)
    else:
        array = np.array(value)
        if array.dtype == object:
            array = np.array(value, dtype=np.float64)
    if not array.size or (array.dtype == object and any(isinstance(one, (list, dict)) for one in array.reshape(-1))):
        raise ValueError("a list of rows of equal length is expected")
    return array


def _fitted(array: NDArray[Any], slot: _Slot) -> NDArray[Any]:
    """`array` in the input's own type and shape. ValueError where values would change or dimensions differ."""
    if len(array.shape) != len(slot.shape) or any(
        wanted not in (None, has) for wanted, has in zip(slot.shape[1:], array.shape[1:])
    ):
        wanted = "x".join("?" if size is None else str(size) for size in slot.shape)
        given = "x".join(map(str, array.shape))
        raise ValueError(f"input {slot.name} has the shape {wanted}; the body has {given}")
    if slot.dtype is object:
        return np.array([str(one) for one in array.reshape(-1)], dtype=object).reshape(array.shape)
    if array.dtype.kind in "OUS":
        array = array.astype(np.float64)
    if np.issubdtype(slot.dtype, np.floating):
        return tensors.to_float32(array) if slot.dtype is np.float32 else array.astype(slot.dtype)
    with np.errstate(invalid="ignore"):
        exact = array.astype(slot.dtype)
    if not np.array_equal(exact.astype(np.float64), array.astype(np.float64)):
        raise ValueError(f"input {slot.name} takes {np.dtype(slot.dtype).name}; a value of the body does not fit")
    return exact


def _joined(parts: Sequence[Any]) -> Any:
    """One output of runs of a row each, as one run of all rows would give it."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts) if parts[0].ndim else np.stack(parts)
    return [item for part in parts for item in part]


def _plain(value: Any) -> Any:
    """What a graph gives, as JSON holds it: arrays, sequences, maps (keys become texts)."""
    if isinstance(value, np.ndarray):
        return rows.plain(value)
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _slot(declared: Any) -> _Slot:
    dtype = _DTYPES.get(declared.type)
    if dtype is None:
        raise LoadError(
            f"The input {declared.name} is a {declared.type}, which no request can carry.",
            "Export the model with tensors as inputs.",
        )
    return _Slot(declared.name, dtype, tuple(size if isinstance(size, int) else None for size in declared.shape))


def _chosen(names: Sequence[str], env: Mapping[str, str]) -> Sequence[str]:
    wanted = [name.strip() for name in env.get(OUTPUTS_VARIABLE, "").split(",") if name.strip()]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise LoadError(
            f"{OUTPUTS_VARIABLE} names {unknown[0]!r}, which is no output of the model.",
            f"It has {', '.join(names)}.",
        )
    return wanted or names


class OnnxRuntime:
    """Loads graphs."""

    name = "onnx"
    joins = Joins.ROUNDING
    pure = True
    modules = ("numpy", "onnxruntime")

    def load(self, options: LoadOptions) -> Model:
        """The graph of the artifact. Raises LoadError with cause and remedy."""
        path = model_file(options.model_dir, (".onnx", ".ort"), "model.onnx")
        return OnnxModel(_session(path, max(1, options.threads)), options)


def _session(path: Path, threads: int) -> Any:
    wanted = onnxruntime.SessionOptions()
    wanted.intra_op_num_threads = threads
    wanted.inter_op_num_threads = 1
    wanted.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), wanted, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library's classes share no base but this
        said = " ".join(str(error).split())
        raise LoadError(
            f"{path.name} is no model that onnxruntime {onnxruntime.__version__} runs: {said[:600]}.", _RESAVE
        ) from None


RUNTIME = OnnxRuntime()
