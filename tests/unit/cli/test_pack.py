"""A model on disk becomes the archive that the API takes."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from clary.cli.pack import packed


def entries(path: Path) -> dict[str, bytes]:
    with packed(path) as (archive, size_bytes, _):
        raw = archive.read()
        assert len(raw) == size_bytes
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:gz") as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]


def test_a_file_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_bytes(b"{}")
    assert entries(tmp_path / "model.json") == {"model.json": b"{}"}


def test_a_folder_is_packed_without_hidden_files_and_through_links(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "code").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / ".git" / "x").write_bytes(b"x")
    (folder / "code" / "inference.py").write_bytes(b"pass")
    (tmp_path / "elsewhere.ubj").write_bytes(b"m")
    (folder / "xgboost-model").symlink_to(tmp_path / "elsewhere.ubj")
    assert entries(folder) == {"code/inference.py": b"pass", "xgboost-model": b"m"}


def test_an_archive_is_taken_as_it_is_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "anything"
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("empty"))
    with packed(path) as (archive, _, __):
        assert archive.read() == path.read_bytes()


def test_a_tar_without_gzip_is_packed_anew(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"model")
    with tarfile.open(tmp_path / "m.tar.bz2", "w:bz2") as tar:
        tar.add(tmp_path / "m", "m")
    assert entries(tmp_path / "m.tar.bz2") == {"m": b"model"}


def test_a_gzip_that_is_no_tar_is_a_model_file(tmp_path: Path) -> None:
    import gzip

    (tmp_path / "model.pkl.gz").write_bytes(gzip.compress(b"pickle"))
    assert list(entries(tmp_path / "model.pkl.gz")) == ["model.pkl.gz"]


def test_equal_models_give_equal_digests(tmp_path: Path) -> None:
    digests = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model").write_bytes(b"same")
        with packed(tmp_path / name / "model") as (_, __, digest):
            digests.add(digest)
    assert len(digests) == 1


def test_a_file_of_ours_replaces_one_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"model")
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "m", "./m")
        tar.add(tmp_path / "m", "./.clary/signature.json")
    for path in (tmp_path / "m", tmp_path / "model.tar.gz"):
        with packed(path, {".clary/signature.json": b"new"}) as (archive, _, __), tarfile.open(fileobj=archive) as tar:
            found = {member.name.removeprefix("./"): tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
        assert found == {"m": b"model", ".clary/signature.json": b"new"}
