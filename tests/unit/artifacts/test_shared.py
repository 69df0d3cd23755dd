"""Models from folders that this machine has mounted: only those that were allowed, links seen through."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clary.artifacts.fetch import Artifacts
from clary.artifacts.shared import FileRoots
from clary.domain.errors import ArtifactError
from tests.support.archives import Objects, member, packed

MODEL = packed(member("xgboost-model", b"weights"))


@pytest.fixture
def share(tmp_path: Path) -> Path:
    (tmp_path / "share" / "team a").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "share" / "team a" / "model.tar.gz").write_bytes(MODEL)
    (tmp_path / "secret" / "model.tar.gz").write_bytes(MODEL)
    return tmp_path / "share"


def fetch(tmp_path: Path, url: str, *roots: Path) -> bytes:
    pinned = Artifacts(tmp_path / "pins", Objects({}), files=FileRoots(roots)).fetch(url)
    return (pinned.path / "xgboost-model").read_bytes()


@pytest.mark.parametrize("host", ["", "localhost"])
def test_a_file(share: Path, tmp_path: Path, host: str) -> None:
    assert fetch(tmp_path, f"file://{host}{share}/team%20a/model.tar.gz", tmp_path / "not-mounted", share) == b"weights"


def test_links_count_by_where_they_lead(share: Path, tmp_path: Path) -> None:
    (share / "good").symlink_to(share / "team a")
    (share / "bad").symlink_to(tmp_path / "secret")
    (share / "bad.tar.gz").symlink_to(tmp_path / "secret" / "model.tar.gz")
    (tmp_path / "mount").symlink_to(share)
    assert fetch(tmp_path, f"file://{share}/good/model.tar.gz", tmp_path / "mount") == b"weights"
    for path in ("bad/model.tar.gz", "bad.tar.gz", "../secret/model.tar.gz", "%2e%2e/secret/model.tar.gz"):
        with pytest.raises(ArtifactError, match="leads out of the folders"):
            fetch(tmp_path, f"file://{share}/{path}", share)


def test_what_is_not_an_archive(share: Path, tmp_path: Path) -> None:
    os.mkfifo(share / "pipe")
    (share / "round").symlink_to(share / "round")
    for path, said in (
        ("none.tar.gz", "Could not find model data"),
        ("team a/model.tar.gz/deeper", "Could not find model data"),
        ("team%20a", "is not a file"),
        ("pipe", "is not a file"),
        ("round", "Could not read"),
    ):
        with pytest.raises(ArtifactError, match=said):
            fetch(tmp_path, f"file://{share}/{path}", share)


@pytest.mark.parametrize("url", ["file://elsewhere/m.tar.gz", "file:m.tar.gz", "file:///m.tar.gz?a=b", "file:///m%00"])
def test_addresses_that_are_none(url: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not the address of a file"):
        fetch(tmp_path, url, tmp_path)


def test_without_folders_every_file_is_refused(share: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="--model-roots"):
        fetch(tmp_path, f"file://{share}/team%20a/model.tar.gz")
