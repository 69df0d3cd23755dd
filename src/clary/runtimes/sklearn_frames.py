"""Requests to an estimator that was fitted on a frame: columns by name, and a frame again where one is needed.

A frame is needed by what selects columns by name (ColumnTransformer) or runs code that may (FunctionTransformer,
classes outside scikit-learn). Everything else gets numbers in the order of its names, which is the same to it and much
faster. pandas is imported where a frame is needed, and only there.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
from typing import TYPE_CHECKING, Any, Sequence  # noqa: UP035 - Python 3.9

import numpy as np

from clary.runtimes import tensors
from clary.runtimes.base import LoadError
from clary.runtimes.tensors import BodyError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BY_NAME = frozenset({"ColumnTransformer", "FunctionTransformer"})
_OF_DICTS = frozenset({"DictVectorizer", "FeatureHasher"})
_LISTED = 5


def names_of(estimator: Any) -> tuple[str, ...]:
    """`feature_names_in_`; empty where the estimator was not fitted on a frame."""
    try:
        return tuple(str(name) for name in estimator.feature_names_in_)
    except (AttributeError, TypeError):
        return ()


def takes_dicts(estimator: Any) -> bool:
    """Whether rows are dictionaries: the first step is a DictVectorizer or a FeatureHasher."""
    steps: Any = getattr(estimator, "steps", None)
    return bool(steps) and type(steps[0][1]).__name__ in _OF_DICTS


def needs_frame(estimator: Any) -> bool:
    """Whether some part of a fitted estimator may select columns by name."""
    return any(
        type(part).__name__ in _BY_NAME or not type(part).__module__.startswith("sklearn.")
        for part in _parts(estimator)
    )


def _parts(estimator: Any) -> list[Any]:
    params = estimator.get_params(deep=True).values() if hasattr(estimator, "get_params") else ()
    return [estimator, *(value for value in params if hasattr(value, "get_params"))]


class Frames:
    """Bodies as rows of named columns."""

    def __init__(self, names: Sequence[str], *, framed: bool) -> None:
        """`framed`: rows become a frame of pandas, else an array of float32. LoadError where pandas is missing."""
        self._names = list(names)
        self._pandas: Any = _pandas() if framed else None

    def from_csv(self, raw: bytes) -> Any:
        """Rows with or without a header. A frame's columns are what `pandas.read_csv` makes of them."""
        text = raw.decode("utf-8").strip()
        header = _first_row(text)
        named = self._check_header(header)
        if self._pandas is not None:
            if not named and len(header) != len(self._names):
                raise self._width_error(len(header))
            given = {"header": 0} if named else {"header": None, "names": self._names}
            frame = self._pandas.read_csv(io.StringIO(text), skipinitialspace=True, index_col=False, **given)
            return self._ordered(frame)
        if not named:
            return tensors.csv_rows(raw)
        if "\n" not in text:
            raise BodyError("the body holds a header and no row")
        rows = tensors.csv_rows(text.split("\n", 1)[1].encode())
        if rows.shape[1] != len(header):
            raise BodyError(f"row 1 has {rows.shape[1]} columns where the header has {len(header)}")
        return rows[:, [header.index(name) for name in self._names]]

    def from_json(self, raw: bytes) -> Any:
        """A list of rows or of objects by column, or one object."""
        value = json.loads(raw)
        if isinstance(value, dict):
            value = [value]
        if not isinstance(value, list) or not value:
            raise BodyError("a list of rows, or of objects by column, is expected")
        if all(isinstance(row, dict) for row in value):
            for row in value:
                self._check_columns(list(row))
            value = [[row[name] for name in self._names] for row in value]
        elif not isinstance(value[0], list):
            value = [value]
        if any(not isinstance(row, list) or len(row) != len(self._names) for row in value):
            raise self._width_error(next(len(r) if isinstance(r, list) else 1 for r in value if not self._fits(r)))
        if self._pandas is not None:
            return self._pandas.DataFrame(value, columns=self._names)
        array = np.array(value)
        if array.dtype == object:  # null among numbers
            array = np.array(value, dtype=np.float64)
        if array.dtype.kind not in "biuf":
            raise BodyError("rows of numbers are expected")
        return tensors.to_float32(array)

    def from_array(self, array: NDArray[Any]) -> Any:
        """An array in the order of the columns."""
        if array.ndim == 1:
            array = array.reshape(1, -1)
        if array.ndim != 2 or array.shape[1] != len(self._names):
            raise self._width_error(array.shape[-1] if array.ndim else 0)
        return array if self._pandas is None else self._pandas.DataFrame(array, columns=self._names)

    def _fits(self, row: Any) -> bool:
        return isinstance(row, list) and len(row) == len(self._names)

    def _check_header(self, header: list[str]) -> bool:
        """Whether the first row of a CSV names columns; BodyError where it names some, but not these."""
        known = [cell for cell in header if cell in self._names]
        if not known or (len(known) < len(header) / 2 and self._pandas is not None):
            return False
        self._check_columns(header)
        return True

    def _check_columns(self, given: list[str]) -> None:
        missing = [name for name in self._names if name not in given]
        if missing:
            raise BodyError(f"the column {_listed(missing)} is missing")
        other = [name for name in given if name not in self._names]
        if other:
            raise BodyError(f"the model was fitted without the column {_listed(other)}")
        if len(given) != len(self._names):
            raise BodyError("a column is named twice")

    def _ordered(self, frame: Any) -> Any:
        frame.columns = [str(name).strip() for name in frame.columns]
        return frame[self._names]

    def _width_error(self, width: int) -> BodyError:
        return BodyError(
            f"rows have {width} columns; the model was fitted on {len(self._names)}: {_listed(self._names)}"
        )


def _first_row(text: str) -> list[str]:
    """Cells of the first line; BodyError where there is none."""
    row = next(csv.reader(io.StringIO(text)), [])
    if not row:
        raise BodyError("the body holds no row")
    return [cell.strip() for cell in row]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED} more"


def _pandas() -> Any:
    try:
        return importlib.import_module("pandas")
    except ImportError:
        raise LoadError(
            "The model selects columns by name, for which pandas is needed, and it is not installed.",
            "Add pandas to the model's requirements.txt, or install it in the model's environment.",
        ) from None
