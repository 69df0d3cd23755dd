"""`clary deploy --sample FILE`: columns, their types and an example request, from rows that somebody kept.

The file goes into the artifact as domain.signature.SIGNATURE_FILE; a replica answers the example before it is ready.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from clary.cli.exit_codes import CliError, Exit
from clary.cli.invoke import TYPES
from clary.domain.signature import COLUMNS_MAX, EXAMPLE_CHARS_MAX, Column, Example, ModelSignature

FILE_BYTES_MAX = 16 * 1024 * 1024
ROWS_SENT = 3
"""Rows of a CSV that become the example request."""
CSV = "text/csv"
JSON = "application/json"


def read_sample(path: Path, runtime: str) -> ModelSignature:
    """What the file tells. `runtime` decides whether an example of CSV keeps its header: MLflow's protocol wants one.

    The first line of a CSV names its columns unless one of its cells is a number. Raises CliError.
    """
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise _bad(path, f"is larger than {FILE_BYTES_MAX:,} bytes")
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise _bad(path, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise _bad(path, "is not text") from None
    content_type = TYPES.get(path.suffix.lower(), CSV)
    try:
        if content_type == CSV:
            found = _of_csv(text, header=runtime == "pyfunc")
        elif content_type == JSON:
            found = _of_json(text)
        else:
            found = ModelSignature(example=Example(text, content_type))
    except (ValueError, csv.Error, RecursionError) as error:
        raise _bad(path, f"cannot be read as {content_type}: {error}") from None
    if len(found.columns) > COLUMNS_MAX:
        raise _bad(path, f"has {len(found.columns)} columns; {COLUMNS_MAX} are the most")
    example = found.example
    if example is None or len(example.body) > EXAMPLE_CHARS_MAX:
        raise _bad(path, f"makes an example request of more than {EXAMPLE_CHARS_MAX} characters")
    return found


def _bad(path: Path, what: str) -> CliError:
    remedy = "Give some rows of what the model takes, as CSV with a header, or as a JSON request."
    return CliError(Exit.USAGE, f"--sample {str(path)!r} {what}.", remedy)


def _of_csv(text: str, *, header: bool) -> ModelSignature:
    rows = [row for row in csv.reader(io.StringIO(text.strip(), newline="")) if row]
    if not rows:
        raise ValueError("it holds no row")
    names = [cell.strip() for cell in rows[0]] if not any(_is_number(cell) for cell in rows[0]) else []
    if names and len(rows) == 1:
        raise ValueError("it holds a header and no row")
    data = rows[1:] if names else rows
    width = len(rows[0])
    for place, row in enumerate(rows, 1):
        if len(row) != width:
            raise ValueError(f"line {place} has {len(row)} cells where line 1 has {width}")
    columns = [
        Column(name, _kind_of_cells([row[at] for row in data]), all(row[at].strip() for row in data))
        for at, name in enumerate(names or [""] * width)
    ]
    out = io.StringIO()
    sent = data[:ROWS_SENT]
    csv.writer(out, lineterminator="\n").writerows([names, *sent] if names and header else sent)
    return ModelSignature(tuple(columns), example=Example(out.getvalue(), CSV))


def _of_json(text: str) -> ModelSignature:
    value = json.loads(text)
    form, rows = "", value
    if isinstance(value, dict):
        form = next((key for key in ("dataframe_split", "dataframe_records", "instances") if key in value), "")
        rows = value[form] if form else [value]
    names: Sequence[str] = ()
    if form == "dataframe_split" and isinstance(rows, dict):
        names, rows = [str(name) for name in rows.get("columns", ())], rows.get("data", [])
    body = text.strip()
    if not isinstance(rows, list) or not rows:
        return ModelSignature(example=Example(body, JSON))
    if not any(isinstance(row, (list, dict)) for row in rows):
        rows = [rows]
    return ModelSignature(tuple(_columns_of(rows, names)), example=Example(body, JSON))


def _columns_of(rows: Sequence[object], names: Sequence[str]) -> Iterable[Column]:
    """Columns of records, or of lists of one length; none of anything else."""
    records = [row for row in rows if isinstance(row, Mapping)]
    if len(records) == len(rows):
        for name in dict.fromkeys(str(key) for row in records for key in row):
            values = [row.get(name) for row in records]
            yield Column(name, _kind_of_values(values), None not in values)
        return
    lists = [row for row in rows if isinstance(row, list)]
    if len(lists) == len(rows) and len({len(row) for row in lists}) == 1:
        for at in range(len(lists[0])):
            values = [row[at] for row in lists]
            name = names[at] if len(names) == len(lists[0]) else ""
            yield Column(name, _kind_of_values(values), None not in values)


def _kind_of_cells(cells: Sequence[str]) -> str:
    """`number` wherever every cell is one: whether only whole ones fit, a sample cannot tell."""
    given = [cell.strip() for cell in cells if cell.strip()]
    if given and all(_is_number(cell) for cell in given):
        return "number"
    return "boolean" if given and all(cell.lower() in ("true", "false") for cell in given) else "string"


def _kind_of_values(values: Sequence[object]) -> str:
    given = [value for value in values if value is not None]
    if given and all(isinstance(value, bool) for value in given):
        return "boolean"
    if given and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in given):
        return "number"
    return "string" if given and all(isinstance(value, str) for value in given) else "any"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
