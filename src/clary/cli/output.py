"""How results look: tables for people at a terminal, plain aligned text in a pipe, JSON on request."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

STYLES = {"InService": "green", "Failed": "bold red", "ok": "green", "problem": "bold red", "warning": "yellow"}


def print_json(document: object) -> None:
    """One JSON document on stdout; instants as ISO 8601 in UTC."""
    print(json.dumps(document, indent=2, ensure_ascii=False, default=_plain), flush=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Rows under their column names; `empty` says in words that there are none."""
    texts = [[_text(cell) for cell in row] for row in rows]
    if not texts:
        print(empty)
        return
    if not sys.stdout.isatty():
        _print_plain([list(columns), *texts])
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for text in texts:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in text))
    Console().print(table)


def print_facts(facts: Mapping[str, object]) -> None:
    """Names and values, one a line; facts without a value are left out."""
    shown = {name: _text(value) for name, value in facts.items() if value not in (None, "", [], {})}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        print(f"{name:<{width}}  {value}")


def number(value: float) -> str:
    """As a person writes it: every digit that a setting may have, and no exponent below a million billions."""
    return f"{value:.15g}"


def note(text: str) -> None:
    """What happens, for people, on stderr: stdout keeps results only."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def upload_progress(size_bytes: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar on stderr at a terminal, nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("Uploading"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("upload", total=size_bytes)
        yield lambda arrived_bytes: bar.advance(task, arrived_bytes)


@contextmanager
def spinner(text: str, *, quiet: bool) -> Iterator[None]:
    """Something that moves on stderr at a terminal, one line elsewhere."""
    if quiet:
        yield
    elif not sys.stderr.isatty():
        note(f"{text} ...")
        yield
    else:
        from rich.console import Console

        with Console(stderr=True).status(text):
            yield


def _print_plain(rows: list[list[str]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return "-" if value is None else str(value)


def _plain(value: Any) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} has no JSON form")
