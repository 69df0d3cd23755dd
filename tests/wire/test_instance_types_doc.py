"""The page of instance types is the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from clary.edge.aws import instance_types_doc


def test_the_page_is_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert instance_types_doc.main(["--check"]) == 0
    stale = tmp_path / "instance-types.md"
    stale.write_text(instance_types_doc.page().replace("ml.t3.medium", "ml.t3.tiny"))
    monkeypatch.setattr(instance_types_doc, "PATH", stale)
    assert instance_types_doc.main(["--check"]) == 1
    assert instance_types_doc.main([]) == 0
    assert instance_types_doc.main(["--check"]) == 0
