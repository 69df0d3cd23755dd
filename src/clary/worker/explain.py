"""Which column of which row does not fit: said only once a model has refused a request, so that good ones pay nothing.

Standard library only. A body that cannot be explained gives no words: the model's own stay.
"""

from __future__ import annotations

import csv
import io
import json
from typing import Mapping, Optional, Sequence  # noqa: UP035 - Python 3.9

from clary.domain.signature import Column

ROWS_MAX = 10_000
BODY_BYTES_MAX = 8 * 1024 * 1024
"""Larger bodies are not looked at again: the worker has others to serve."""
_VALUE_CHARS = 40
_LISTED = 8
_WORDS = {"number": "no number", "integer": "no whole number", "boolean": "neither true nor false"}


def explain(body: bytes, content_type: str, columns: Sequence[Column]) -> str:
    """One sentence that names the first row and column at fault; empty where none is found."""
    if not columns or len(body) > BODY_BYTES_MAX:
        return ""
    kind = content_type.split(";", maxsplit=1)[0].strip().lower()
    try:
        if kind in ("text/csv", "csv"):
            return _csv(body.decode("utf-8"), columns)
        if kind in ("application/json", ""):
            return _json(body, columns)
    except (ValueError, csv.Error, RecursionError):
        return ""
    return ""


def _csv(text: str, columns: Sequence[Column]) -> str:
    names = [column.name for column in columns]
    at = 0
    for row in csv.reader(io.StringIO(text.strip(), newline="")):
        if not row:
            continue
        cells = [cell.strip() for cell in row]
        if at == 0 and any(names) and set(cells) <= set(names):
            missing = [column.name for column in columns if column.required and column.name not in cells]
            if missing:
                return f"The header names no column {_listed(missing)}."
            columns = [next(column for column in columns if column.name == cell) for cell in cells]
            continue
        at += 1
        said = _row(cells, columns, at, text=True)
        if said or at == ROWS_MAX:
            return said
    return ""


def _json(body: bytes, columns: Sequence[Column]) -> str:
    try:
        value = json.loads(body)
    except ValueError as error:
        return f"The body is no JSON: {error}."
    columns, rows = _rows_of(value, columns)
    for index, row in enumerate(rows[:ROWS_MAX]):
        if isinstance(row, Mapping):
            said = _record(row, columns, index + 1)
        elif isinstance(row, list):
            said = _row(row, columns, index + 1, text=False)
        elif len(columns) == 1:
            said = _row([row], columns, index + 1, text=False)
        else:
            said = ""
        if said:
            return said
    return ""


def _rows_of(value: object, columns: Sequence[Column]) -> tuple[Sequence[Column], list[object]]:
    """The rows of the forms that are known, and the columns in the order in which the body has them."""
    if isinstance(value, Mapping):
        if isinstance(value.get("dataframe_split"), Mapping):
            split = value["dataframe_split"]
            rows, given = split.get("data"), split.get("columns")
            by_name = {column.name: column for column in columns}
            if isinstance(given, list) and all(isinstance(name, str) for name in given):
                missing = {c.name for c in columns if c.required} - set(given)
                if missing and isinstance(rows, list):  # told as if each row lacked it
                    return columns, [dict(zip(given, row)) for row in rows[:1] if isinstance(row, list)]
                columns = [by_name.get(name, Column(name, "any")) for name in given]
            return columns, rows if isinstance(rows, list) else []
        for key in ("dataframe_records", "instances", "inputs"):
            if isinstance(value.get(key), list):
                value = value[key]
                break
    if isinstance(value, Mapping):
        return columns, [value]
    if not isinstance(value, list):
        return columns, []
    if value and len(columns) > 1 and not any(isinstance(one, (list, Mapping)) for one in value):
        return columns, [value]
    return columns, value


def _record(row: Mapping[str, object], columns: Sequence[Column], at: int) -> str:
    names = [column.name for column in columns]
    if not any(names):
        return ""
    missing = [column.name for column in columns if column.required and column.name not in row]
    unknown = [name for name in row if name not in names]
    if missing:
        sent = f"; it has {_listed(unknown)}, which the model does not know" if unknown else ""
        return f"Row {at} lacks the column {_listed(missing)}{sent}."
    for column in columns:
        said = _value(row.get(column.name), column, text=False) if column.name in row else ""
        if said:
            return f"Row {at}, column {_shown(column.name)} {said}."
    if unknown:
        return f"Row {at} has the column {_listed(unknown)}, which the model does not know."
    return ""


def _row(cells: Sequence[object], columns: Sequence[Column], at: int, *, text: bool) -> str:
    if len(cells) != len(columns):
        names = [column.name for column in columns]
        wanted = f": {', '.join(names[:_LISTED])}{', ...' if len(names) > _LISTED else ''}" if any(names) else ""
        said = f"Row {at} has {_count(len(cells), 'value')} where {_count(len(columns), 'column')} are wanted{wanted}"
        if len(cells) < len(columns) and any(names):
            return f"{said}; by place, it lacks {_listed(names[len(cells) :])}."
        return said + "."
    for place, (cell, column) in enumerate(zip(cells, columns)):
        said = _value(cell, column, text=text)
        if said:
            name = f" {_shown(column.name)}" if column.name else ""
            return f"Row {at}, column {place + 1}{name} {said}."
    return ""


def _value(value: object, column: Column, *, text: bool) -> str:
    """How a value does not fit its column; empty where it does."""
    if value is None or (text and value == ""):
        return "" if column.kind in ("number", "any") or not column.required else "is blank"
    fault = _fault(value, column.kind, text=text)
    return f"holds {_shown(value)}, which is {fault}" if fault else ""


def _fault(value: object, kind: str, *, text: bool) -> Optional[str]:  # noqa: UP045 - Python 3.9
    if kind in ("any", "string"):
        return "no text" if kind == "string" and not isinstance(value, str) else None
    if kind == "boolean":
        fits = isinstance(value, bool) or (text and str(value).lower() in ("true", "false", "0", "1"))
        return None if fits else _WORDS[kind]
    if isinstance(value, str) and text:
        try:
            number = float(value)
        except ValueError:
            return _WORDS[kind]
        return _WORDS[kind] if kind == "integer" and not number.is_integer() else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _WORDS[kind]
    return _WORDS[kind] if kind == "integer" and not float(value).is_integer() else None


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(_shown(name) for name in names[:_LISTED])
    return f"{shown} and {len(names) - _LISTED} more" if len(names) > _LISTED else shown


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return repr(text if len(text) <= _VALUE_CHARS else text[:_VALUE_CHARS] + "...")
