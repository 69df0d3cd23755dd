"""The data that tutorials stand on is what its pages say, and their clients stand on nothing of Clary."""

from __future__ import annotations

import ast
import gzip
import hashlib
import re
from pathlib import Path

import pytest

from tests.docs.pages import TUTORIALS, pages

DATA = TUTORIALS / "data"
BYTES_MAX = 4 * 1024 * 1024
"""Of all data files together: the repository stays small."""


@pytest.mark.parametrize("folder", sorted(p for p in DATA.iterdir() if p.is_dir()), ids=lambda folder: folder.name)
def test_every_file_has_the_size_and_digest_of_its_page(folder: Path) -> None:
    page = (folder / "README.md").read_text()
    assert "**Origin.**" in page
    assert "**Licence.**" in page
    rows = re.findall(r"^\| (\S+\.gz) \| (\d+) \| (\d+) \| (\d+) \| `([0-9a-f]{64})` \|$", page, re.MULTILINE)
    assert {row[0] for row in rows} == {path.name for path in folder.iterdir() if path.name != "README.md"}
    for name, packed_bytes, text_bytes, lines, digest in rows:
        packed = (folder / name).read_bytes()
        text = gzip.decompress(packed)
        assert (len(packed), len(text), text.count(b"\n")) == (int(packed_bytes), int(text_bytes), int(lines)), name
        assert hashlib.sha256(text).hexdigest() == digest, name


def test_the_data_is_small() -> None:
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) < BYTES_MAX


@pytest.mark.parametrize("path", sorted(TUTORIALS.rglob("*.py")), ids=lambda path: str(path.relative_to(TUTORIALS)))
def test_code_of_tutorials_imports_nothing_of_clary(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert not [name for name in imported if name.split(".")[0] == "clary"]


def test_every_tutorial_is_run() -> None:
    assert {page for page in pages() if page.parent == TUTORIALS} == set(TUTORIALS.glob("*.md"))
    assert all((TUTORIALS / page.stem).is_dir() for page in TUTORIALS.glob("*.md"))
