"""Rows of numbers for runtimes that no SageMaker image prescribes a format for: CSV, JSON and npy, read and written.

Read: `text/csv` without a header, `application/json` (a list of rows, one row, or either under the key `instances`),
`application/x-npy`. Written: the same three types.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, Mapping  # noqa: UP035 - Python 3.9

import numpy as np

from clary.runtimes.base import LoadError, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

CSV = "text/csv"
JSON = "application/json"
NPY = "application/x-npy"
TYPES = (JSON, CSV, NPY)
_DELIMITER = ","


def content_type_of(given: str) -> str:
    """One of TYPES, JSON where none is given; ModelError 415 for others."""
    name = given.split(";", maxsplit=1)[0].strip().lower() or JSON
    if name not in TYPES:
        raise ModelError(415, f"Content type {given.strip()} is not read. Send one of {', '.join(TYPES)}.")
    return name


def accept_of(given: str, default: str) -> str:
    """One of TYPES, `default` where any will do; ModelError 406 for others."""
    name = given.split(";", maxsplit=1)[0].strip().lower()
    if name in ("", "*/*"):
        return default
    if name not in TYPES:
        raise ModelError(406, f"Accept type {name} is not answered. Ask for one of {', '.join(TYPES)}.")
    return name


def default_accept(env: Mapping[str, str]) -> str:
    """SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT, JSON where unset; LoadError where it is no type that is answered."""
    name = env.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", JSON)
    if name not in TYPES:
        raise LoadError(
            f"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT={name!r} is no type that is answered.",
            f"Use one of {', '.join(TYPES)}.",
        )
    return name


def read(raw: bytes, content_type: str) -> NDArray[Any]:
    """The body as an array: float64 rows of CSV; what numpy makes of JSON; npy as it is. ModelError 400."""
    try:
        if content_type == CSV:
            return numbers_of(cells(raw))
        if content_type == JSON:
            return array_of(document(raw))
        found = np.load(io.BytesIO(raw), allow_pickle=False)
    except (ValueError, TypeError, RecursionError, OverflowError, EOFError, OSError, MemoryError) as error:
        raise ModelError(400, f"The body is not {content_type}: {error or type(error).__name__}") from None
    if not isinstance(found, np.ndarray):
        raise ModelError(400, f"The body is not {content_type}: an archive of arrays is not expected")
    return found


def cells(raw: bytes) -> list[list[str]]:
    """The cells of a CSV without a header, stripped; quotes as RFC 4180 has them. ValueError for ragged rows."""
    import csv

    text = raw.decode("utf-8").strip()
    if not text:
        raise ValueError("the body holds no row")
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, newline="")) if row]
    except csv.Error as error:
        raise ValueError(str(error)) from None
    width = len(rows[0])
    for index, row in enumerate(rows):
        if len(row) != width:
            raise ValueError(f"row {index + 1} has {len(row)} columns where row 1 has {width}")
    return rows


def numbers_of(rows: list[list[str]]) -> NDArray[np.float64]:
    """Cells as numbers; a blank one is NaN. ValueError names the cell that is no number."""
    return np.array([[float(cell) if cell else float("nan") for cell in row] for row in rows], dtype=np.float64)


def document(raw: bytes) -> Any:
    """A JSON body's value, without the wrapping `{"instances": ...}`."""
    value = json.loads(raw)
    if isinstance(value, dict) and set(value) == {"instances"}:
        return value["instances"]
    return value


def array_of(value: Any) -> NDArray[Any]:
    """A list of numbers or texts, nested evenly, as an array; null is NaN among numbers. ValueError for all else."""
    if not isinstance(value, list):
        raise ValueError("a list of rows is expected")  # noqa: TRY004 - what JSON holds is a value
    array = np.array(value)
    if array.dtype == object:
        array = np.array(value, dtype=np.float64)
    if array.dtype.kind not in "biufU":
        raise ValueError("rows of numbers, or of texts, are expected")
    return array


def write(result: NDArray[Any], accept: str) -> tuple[bytes, str]:
    """An array as (body, content type). JSON has no NaN or infinity: they become null."""
    if accept == JSON:
        return json.dumps(plain(result)).encode(), JSON
    if accept == CSV:
        rows = result.reshape(len(result), -1)
        lines = [_DELIMITER.join([_cell(value) for value in row]) for row in rows.tolist()]
        return "".join([line + "\n" for line in lines]).encode(), CSV
    if result.dtype == object:
        result = result.astype("U")
    out = io.BytesIO()
    np.save(out, result, allow_pickle=False)
    return out.getvalue(), NPY


def plain(result: NDArray[Any]) -> Any:
    """Nested lists that JSON can hold."""
    if result.dtype.kind == "f" and not np.isfinite(result).all():
        nulls = result.astype(object)
        nulls[~np.isfinite(result)] = None
        return nulls.tolist()
    return result.tolist()


def _cell(value: Any) -> str:
    if isinstance(value, str):
        quoted = value.replace('"', '""')
        return f'"{quoted}"' if any(mark in value for mark in ',"\r\n') else value
    return repr(value) if isinstance(value, float) else str(value)
