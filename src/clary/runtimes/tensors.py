"""Text bodies -> float32 rows, as XGBoost's own container reads them.

`csv_rows` has a fast path through orjson, where that is installed, and a reference parser that defines the answer: the
fast path gives the same bits or steps aside (a property test holds it to that).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Callable

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_loads: Callable[[bytes], Any] | None
try:
    from orjson import loads as _loads
except ImportError:  # a model's own environment need not have it
    _loads = None

_PLAIN = b"0123456789.,-+eE\n\r "
"""Bytes of a CSV that JSON could read as numbers; anything else goes to the reference parser."""
_MINUS_ZERO = re.compile(rb"-0(?![.eE0-9])")
_DELIMITERS = (",", ";", "\t", "|", " ")
_SNIFFED_CHARS = 512
"""How much of the first line decides on the delimiter, in characters: the container's number."""
CELLS_MAX = 64 * 1024 * 1024
"""Rows times features of one sparse body, made dense: 256 MiB of float32."""


class BodyError(ValueError):
    """A body that is not what its content type says. `str` is the reason."""


def csv_rows(body: bytes) -> NDArray[np.float32]:
    """A headerless CSV as float32 of shape (rows, columns); blank cells are NaN.

    Each cell is read as a double and rounded to float32, as DMatrix does. Raises ValueError (UnicodeDecodeError
    among them) for text that is no number, ragged rows, and values that do not fit float32.
    """
    text = body.strip()
    fast = _csv_fast(text)
    return csv_reference(text) if fast is None else fast


def _csv_fast(text: bytes) -> NDArray[np.float32] | None:
    """The rows where `text` is a JSON list in all but its brackets, else None."""
    if _loads is None or not text or text.translate(None, _PLAIN):
        return None
    if b"-0" in text and _MINUS_ZERO.search(text):
        return None  # JSON's -0 is an integer and loses its sign
    if b"," not in text and b" " in text:
        return None  # a blank may be what parts the columns
    try:
        numbers = _loads(b"[[" + text.replace(b"\n", b"],[") + b"]]")
        with np.errstate(over="ignore"):
            rows: NDArray[np.float32] = np.array(numbers, dtype=np.float32)
    except ValueError:
        return None
    if rows.ndim != 2 or not np.isfinite(rows).all():
        return None
    return rows


def csv_reference(text: bytes) -> NDArray[np.float32]:
    """What `csv_rows` means: cells split at the delimiter, each read by `float`, blanks NaN."""
    lines = text.decode("utf-8").split("\n")
    if lines == [""]:
        raise BodyError("the body holds no row")
    delimiter = sniff_delimiter(lines[0])
    rows = [[_cell(cell) for cell in line.split(delimiter)] for line in lines]
    width = len(rows[0])
    for index, row in enumerate(rows):
        if len(row) != width:
            raise BodyError(f"row {index + 1} has {len(row)} columns where row 1 has {width}")
    return to_float32(np.array(rows, dtype=np.float64))


def _cell(text: str) -> float:
    stripped = text.strip()
    return float(stripped) if stripped else float("nan")


def sniff_delimiter(first_line: str) -> str:
    """A comma where there is one, else the first of `;`, tab, `|` and space that the line holds, else a comma."""
    sample = first_line.strip("\r")[:_SNIFFED_CHARS]
    return next((delimiter for delimiter in _DELIMITERS if delimiter in sample), ",")


def to_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Rounded to float32; an infinity, sent or made by rounding, raises BodyError with XGBoost's words."""
    with np.errstate(over="ignore", invalid="ignore"):
        rows = np.ascontiguousarray(values, dtype=np.float32)
    if np.isinf(rows).any():
        raise BodyError("Input data contains `inf` or a value too large, while `missing` is not set to `inf`")
    return rows


def libsvm_rows(body: bytes, width: int) -> tuple[NDArray[np.float32], int]:
    """libsvm text as float32 of shape (rows, `width`) with NaN where a row names no value, and the width it needs.

    As in the container, everything without a colon (labels) is passed over, indices are taken as written (the first
    feature is 0), and an index given twice adds up. Where the second answer exceeds `width`, what lies beyond is left
    out of the first: the caller refuses. Raises ValueError for what is no index or number.
    """
    lines = body.strip().decode("utf-8").split("\n")
    if len(lines) * max(width, 1) > CELLS_MAX:
        raise BodyError(f"{len(lines)} rows of {width} features; {CELLS_MAX} values are the most")
    values = np.full((len(lines), width), np.nan, dtype=np.float64)
    needed = 0
    for row, line in enumerate(lines):
        for column, value in _libsvm_items(line):
            needed = max(needed, column + 1)
            if column < width:
                values[row, column] = value
    if needed == 0:
        raise BodyError("no index:value pair was found")
    return to_float32(values), needed


def _libsvm_items(line: str) -> list[tuple[int, float]]:
    found: dict[int, float] = {}
    for item in line.split():
        index, colon, value = item.partition(":")
        if colon:
            column = int(index)
            if column < 0:
                raise BodyError(f"negative feature index {column}")
            found[column] = found[column] + float(value) if column in found else float(value)
    return list(found.items())
