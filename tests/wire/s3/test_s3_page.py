"""The how-to's table of operations is what the code says."""

from __future__ import annotations

from pathlib import Path

from clary.edge.aws.operation import Field
from clary.edge.aws.s3.fields import FIELDS, notes

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "object-store.md"


def table() -> str:
    rows = ["| operation | stored without effect | refused |", "|---|---|---|"]
    for name in sorted(FIELDS):
        by = {how: [f"`{path}`" for path, one in FIELDS[name].items() if one is how] for how in Field}
        rows.append(f"| {name} | {' '.join(by[Field.STORED]) or '-'} | {' '.join(by[Field.REFUSED]) or '-'} |")
    return "\n".join(rows) + "\n"


def reasons() -> str:
    why: dict[str, set[str]] = {}
    for name in FIELDS:
        for path, reason in notes(name).items():
            why.setdefault(reason, set()).add(f"`{path}`")
    return "".join(f"- {' '.join(sorted(paths))}: {reason}\n" for reason, paths in sorted(why.items()))


def test_the_page_has_the_tables() -> None:
    page = PAGE.read_text()
    assert table() in page, f"put this into {PAGE.name}:\n{table()}"
    assert reasons() in page, f"put this into {PAGE.name}:\n{reasons()}"
