"""The table of `docs/reliability.md`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BEGIN = "<!-- written by `make reliability` -->\n"
END = "<!-- end of what is written -->\n"


@dataclass(frozen=True)
class Line:
    """One fault: requests or connections tried under it, and how many of them were lost."""

    fault: str
    tried: int
    lost: int
    note: str


def write(page: Path, lines: Sequence[Line]) -> None:
    """Replace what stands between the marks of `page`."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = [f"| {line.fault} | {line.tried:,} | {line.lost} | {line.note} |\n" for line in lines]
    head = ["| fault | tried | lost | |\n", "|---|---|---|---|\n"]
    page.write_text("".join([before, BEGIN, *head, *rows, END, after]))
