"""A model on disk as the `model.tar.gz` that the API takes."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def packed(
    path: Path, extra: Mapping[str, bytes] | None = None, names: Mapping[str, str] | None = None
) -> Iterator[tuple[BinaryIO, int, str]]:
    """The model as an open tar.gz, its bytes and its SHA-256. A tar.gz is taken as it is, another tar is repacked.

    `extra`: files to add, by name in the archive; they replace those of the model's that have the same name.
    `names`: names in the archive for files of a folder that go elsewhere.
    """
    if path.is_file() and not extra and is_tar_gz(path):
        with path.open("rb") as archive:
            digest = hashlib.file_digest(archive, "sha256").hexdigest()
            archive.seek(0)
            yield archive, path.stat().st_size, digest
        return
    with tempfile.TemporaryFile() as archive:
        # Without the time: equal models give equal archives.
        with (
            gzip.GzipFile(filename="", fileobj=archive, mode="wb", compresslevel=1, mtime=0) as zipped,
            tarfile.open(fileobj=zipped, mode="w") as tar,
        ):
            if path.is_file() and tarfile.is_tarfile(path):
                _repack(path, tar, leave_out=set(extra or ()))
            else:
                for file, name in files_of(path):
                    tar.add(file, (names or {}).get(name, name), recursive=False, filter=_anonymous)
            for name, content in (extra or {}).items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(_anonymous(entry), io.BytesIO(content))
        size_bytes = archive.tell()
        archive.seek(0)
        digest = hashlib.file_digest(archive, "sha256").hexdigest()
        archive.seek(0)
        yield archive, size_bytes, digest


def files_of(path: Path) -> list[tuple[Path, str]]:
    """The files of a model with their names in the archive; hidden ones stay out, links are followed."""
    if path.is_file():
        return [(path.resolve(), path.name)]
    found = sorted(file for file in path.rglob("*") if file.is_file())
    named = [(file.resolve(), file.relative_to(path)) for file in found]
    return [(file, str(name)) for file, name in named if not any(part.startswith(".") for part in name.parts)]


def is_tar_gz(path: Path) -> bool:
    """Whether the file is a tar archive packed by gzip, whatever its name."""
    try:
        with tarfile.open(path, mode="r:gz") as archive:
            return archive.next() is not None
    except (tarfile.TarError, OSError, EOFError):
        return False


def _repack(path: Path, into: tarfile.TarFile, leave_out: set[str]) -> None:
    with tarfile.open(path, "r:*") as archive:
        for entry in archive:
            if entry.isreg() and entry.name.removeprefix("./") not in leave_out:
                into.addfile(_anonymous(entry), archive.extractfile(entry))


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """An archive says nothing of who packed it or when: equal models give equal archives."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    entry.mode = 0o644
    return entry
