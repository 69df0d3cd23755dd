"""Training data of the XGBoost algorithm: the files of a channel, as CSV or libsvm, become a DMatrix.

As the image reads them (its data_utils.py): no header, the label first, then with csv_weights=1 a weight; a blank CSV
cell is a missing value; libsvm indices are columns counted from 0, and a label may carry a weight, `label:weight`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence  # noqa: UP035 - Python 3.9

import numpy
import xgboost

from clary.runtimes.xgboost_settings import UserError

CSV, LIBSVM = "csv", "libsvm"
_TYPES = {"csv": CSV, "text/csv": CSV, "libsvm": LIBSVM, "text/libsvm": LIBSVM, "text/x-libsvm": LIBSVM}
_REFUSED = ("parquet", "application/x-parquet", "recordio-protobuf", "application/x-recordio-protobuf")
_SNIPPET_CHARS = 50


def format_of(content_type: str) -> str:
    """`csv` or `libsvm` (the default) of a channel's ContentType. Raises UserError."""
    if not content_type:
        return LIBSVM
    kind, *parameters = [part.strip() for part in content_type.lower().split(";")]
    if kind in _REFUSED:
        raise UserError(f"{content_type} is not served by Clary; convert the data to {', '.join(_TYPES)}.")
    if kind not in _TYPES:
        raise UserError(f"{content_type} is not an accepted ContentType: {', '.join(_TYPES)}.")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "label_size" and value.strip() != "1":
            raise UserError(
                f"{content_type} is not an accepted csv ContentType. Optional parameter label_size must be equal to 1"
            )
    return _TYPES[kind]


def files_of(folder: Path) -> list[Path]:
    """The data files of a channel, hidden ones (`.`, `_`) left out, in the order of their paths."""
    return (
        sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith((".", "_")))
        if folder.is_dir()
        else []
    )


def read_matrix(folder: Path, content_type: str, *, weights: bool, threads: int) -> Any:
    """The DMatrix of a channel's files together; None where there is no data. Raises UserError."""
    kind = format_of(content_type)
    files = [path for path in files_of(folder) if path.stat().st_size]
    if not files:
        return None
    return _csv(files, weights=weights, threads=threads) if kind == CSV else _libsvm(files, threads)


def _csv(files: Sequence[Path], *, weights: bool, threads: int) -> Any:
    tables = [_table(path) for path in files]
    widths = {table.shape[1] for table in tables}
    if len(widths) > 1:
        raise UserError(f"Failed to load csv data: files have different numbers of columns: {sorted(widths)}")
    table = numpy.concatenate(tables) if len(tables) > 1 else tables[0]
    first = 2 if weights else 1
    if table.shape[1] <= first:
        raise UserError(f"Failed to load csv data: {files[0].name} has {table.shape[1]} columns and thus no feature")
    label = table[:, 0]
    if numpy.isnan(label).any():
        raise UserError(f"Failed to load csv data: row {int(numpy.isnan(label).argmax()) + 1} has no label")
    return xgboost.DMatrix(
        numpy.ascontiguousarray(table[:, first:]), label=label, weight=table[:, 1] if weights else None, nthread=threads
    )


def _table(path: Path) -> Any:
    with path.open(errors="replace") as text:
        line = text.readline().rstrip("\r\n")
    delimiter = next((mark for mark in (",", "\t", ";", "|", " ") if mark in line), ",")
    try:
        for cell in line.split(delimiter):
            _cell(cell)
    except ValueError:
        raise UserError(
            f"First line '{line[:_SNIPPET_CHARS]}...' of file '{path.name}' is not 'CSV' format. Please ensure the "
            "file is in 'CSV' format: numbers only, no header, the label first."
        ) from None
    try:
        return numpy.loadtxt(path, delimiter=delimiter, dtype=numpy.float32, ndmin=2, comments=None)
    except ValueError:
        pass  # blank cells, or no numbers: the slower way tells which
    try:
        return numpy.loadtxt(
            path, delimiter=delimiter, dtype=numpy.float32, ndmin=2, comments=None, converters=_cell, encoding="utf-8"
        )
    except ValueError as error:
        raise UserError(f"Failed to load csv data with exception:\n{path.name}: {error}") from None


def _cell(text: str) -> float:
    text = text.strip()
    return float(text) if text else float("nan")


def _libsvm(files: Sequence[Path], threads: int) -> Any:
    from scipy.sparse import csr_matrix

    labels: list[float] = []
    weights: list[float] = []
    values: list[float] = []
    columns: list[int] = []
    starts = [0]
    for path in files:
        with path.open(errors="replace") as text:
            for line in text:
                words = line.split("#", 1)[0].split()
                if not words:
                    continue
                try:
                    label, _, weight = words[0].partition(":")
                    labels.append(float(label))
                    if weight:
                        weights.append(float(weight))
                    for word in words[1:]:
                        column, _, value = word.partition(":")
                        columns.append(int(column))
                        values.append(float(value))
                except ValueError:
                    raise UserError(
                        f"First line '{line.strip()[:_SNIPPET_CHARS]}...' of file '{path.name}' is not 'LIBSVM' "
                        "format. Please ensure the file is in 'LIBSVM' format."
                    ) from None
                starts.append(len(values))
    if weights and len(weights) != len(labels):
        raise UserError("Failed to load libsvm data: some labels have a weight and others have none")
    if columns and min(columns) < 0:
        raise UserError("Failed to load libsvm data: an index is negative")
    matrix = csr_matrix(
        (numpy.array(values, numpy.float32), numpy.array(columns, numpy.int64), numpy.array(starts, numpy.int64)),
        shape=(len(labels), max(columns, default=-1) + 1),
    )
    return xgboost.DMatrix(
        matrix,
        label=numpy.array(labels, numpy.float32),
        weight=numpy.array(weights, numpy.float32) if weights else None,
        nthread=threads,
    )
