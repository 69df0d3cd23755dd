"""The data that the demo stands on is what its page says, and the demo stands on nothing of Clary."""

from __future__ import annotations

import ast
import gzip
import hashlib
import re

from tests.docs.pages import ROOT

DATA = ROOT / "demo" / "data" / "cmapss"


def test_every_file_has_the_size_and_digest_of_the_page() -> None:
    page = (DATA / "README.md").read_text()
    rows = re.findall(r"^\| (\S+\.gz) \| (\d+) \| (\d+) \| (\d+) \| `([0-9a-f]{64})` \|$", page, re.MULTILINE)
    assert {row[0] for row in rows} == {path.name for path in DATA.glob("*.gz")}
    for name, packed_bytes, text_bytes, lines, digest in rows:
        packed = (DATA / name).read_bytes()
        text = gzip.decompress(packed)
        assert (len(packed), len(text), text.count(b"\n")) == (int(packed_bytes), int(text_bytes), int(lines)), name
        assert hashlib.sha256(text).hexdigest() == digest, name


def test_the_demo_is_plain_boto3() -> None:
    tree = ast.parse((ROOT / "demo" / "cmapss.py").read_text())
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert "boto3" in imported
    assert not [name for name in imported if name.split(".")[0] == "clary"]
