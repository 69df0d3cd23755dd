"""A whole HOME in one file: what is wanted and observed, every object, every pinned artifact, and the secrets if asked.

Consistent beside a running server, without stopping it: files of HOME never change once they have their name, so they
are linked into a folder of the backup's own, most of them before any lock; then, with writers of the object index and
of the store held up for the moment that it takes, the rest is linked and both databases are pinned by a read
transaction. All copying comes after that.

The file is a tar: `format`, `clary.db`, `buckets/`, `artifacts/`, `secrets/`, and at its end `manifest.json` with the
size and the SHA-256 of each, so that a file cut short is known as such. `clary.db` also holds the rows of a store on
PostgreSQL (store/transfer.py).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import shutil
import sqlite3
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from clary.agent.home import FORMAT as HOME_FORMAT
from clary.objects.blobs import BUCKET_FILE
from clary.objects.recovery import INDEX_FILE
from clary.store.address import FILE as ADDRESS_FILE
from clary.store.address import Address

BACKUP_FORMAT = 1
"""Of the archive; `restore` refuses a newer one."""
MANIFEST = "manifest.json"
STAGE = ".backup-"
"""Beginning of the folder in HOME that holds the links; one that a kill left goes with the next backup."""
LOCK = "backup.lock"
LOCK_TIMEOUT_S = 30.0
"""For the databases' write locks: the longest that the object store itself waits."""
_NO_LINKS = (errno.EPERM, errno.EXDEV, errno.ENOTSUP)


class BackupError(RuntimeError):
    """A backup cannot be made or restored. `remedy` may be empty."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True)
class Held:
    """One file of an archive."""

    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What an archive says of itself."""

    backup_format: int
    home_format: int
    version: str
    """Of the Clary that wrote it."""
    secrets: bool
    files: dict[str, Held]

    @property
    def total_bytes(self) -> int:
        return sum(one.size for one in self.files.values())


def write_backup(
    home: Path, file: Path, version: str, *, secrets: bool, force: bool, store: Address | None = None
) -> Manifest:
    """Write the archive `file`, readable by its owner only, durably and at once under its name. Blocking.

    `store`: where the store is, if not in `home`. Raises BackupError where `home` is none of Clary's, `file` exists
    (unless `force`), or another backup runs; StoreUnavailableError, StoreFormatError of a store elsewhere.
    """
    if store is None and not (home / "clary.db").is_file():
        raise BackupError(f"{home} has no clary.db: no Clary has served there.", "Name its folder with --home.")
    if file.exists() and not force:
        raise BackupError(f"{file} exists.", "Choose another name, or replace it with --force.")
    with alone(home):
        sweep(home, STAGE)
        stage = Path(tempfile.mkdtemp(prefix=STAGE, dir=home))
        try:
            snapshot(home, stage, store)
            if secrets and (home / "secrets").is_dir():
                # Where this server's store is concerns no other.
                shutil.copytree(home / "secrets", stage / "secrets", ignore=shutil.ignore_patterns(ADDRESS_FILE))
            return _archive(stage, file, version, secrets=secrets)
        finally:
            remove_tree(stage)


@contextlib.contextmanager
def alone(home: Path) -> Iterator[None]:
    """One backup or restore of a HOME at a time; BackupError where another one runs."""
    with (home / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BackupError(f"Another backup or restore of {home} runs.", "Wait for its end.") from None
        yield


def sweep(home: Path, prefix: str) -> None:
    """Remove what a killed backup or restore left."""
    for left in home.glob(f"{prefix}*"):
        remove_tree(left)


def snapshot(home: Path, stage: Path, store: Address | None = None) -> None:
    """One moment of `home` in the folder `stage` of the same file system: links, and copies of the databases."""
    (stage / "format").write_text(f"{HOME_FORMAT}\n")
    for name in ("buckets", "artifacts"):
        (stage / name).mkdir(mode=0o700)
    _link_blobs(home / "buckets", stage / "buckets")
    _link_artifacts(home / "artifacts", stage / "artifacts")
    index = home / "buckets" / INDEX_FILE
    with contextlib.ExitStack() as pinned:
        with contextlib.ExitStack() as held:
            copies = []
            if index.is_file():
                held.enter_context(_writers_held(index))
                _link_blobs(home / "buckets", stage / "buckets")
                copies.append((pinned.enter_context(_view(index)), stage / "buckets" / INDEX_FILE))
            held.enter_context(_store_held(home, store))
            _link_artifacts(home / "artifacts", stage / "artifacts")
            copies.append((pinned.enter_context(_store_view(home, store)), stage / "clary.db"))
        for copy, target in copies:
            copy(target)


def _store_held(home: Path, store: Address | None) -> AbstractContextManager[None]:
    if store is None:
        return _writers_held(home / "clary.db")
    from clary.store.transfer import writers_held

    return writers_held(store, LOCK_TIMEOUT_S)


def _store_view(home: Path, store: Address | None) -> AbstractContextManager[Callable[[Path], None]]:
    if store is None:
        return _view(home / "clary.db")
    from clary.store.transfer import pinned

    return pinned(store)


@contextlib.contextmanager
def _writers_held(path: Path) -> Iterator[None]:
    """No other process commits to the database meanwhile; readers go on."""
    with contextlib.closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT_S, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextlib.contextmanager
def _view(path: Path) -> Iterator[Callable[[Path], None]]:
    """The database as it is now, whatever is committed later: a function that copies it into a file."""
    with contextlib.closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT_S, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        # A snapshot begins with the first read.
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()

        def copy(target: Path) -> None:
            with contextlib.closing(sqlite3.connect(target)) as new:
                connection.backup(new)

        yield copy


def _link_blobs(source: Path, target: Path) -> None:
    """Make `target` hold the published files of `source`: new ones are linked, those that are gone are unlinked."""
    for bucket in _folders(source):
        if bucket.name.startswith("."):
            continue
        here = target / bucket.name
        here.mkdir(mode=0o700, exist_ok=True)
        # The record of a bucket is replaced under its name: linked anew each time.
        (here / BUCKET_FILE).unlink(missing_ok=True)
        _link(bucket / BUCKET_FILE, here / BUCKET_FILE)
        for shard in _folders(bucket):
            (here / shard.name).mkdir(mode=0o700, exist_ok=True)
            _level(shard, here / shard.name)
    for gone in {path.name for path in _folders(target)} - {path.name for path in _folders(source)}:
        remove_tree(target / gone)


def _level(source: Path, target: Path) -> None:
    now, linked = _names(source), _names(target)
    for name in now - linked:
        _link(source / name, target / name)
    for name in linked - now:
        (target / name).unlink()


def _link_artifacts(source: Path, target: Path) -> None:
    """Link the artifacts that `target` does not have yet. One that is swept away meanwhile is nobody's: left out."""
    for artifact in _folders(source):
        here = target / artifact.name
        if artifact.name.startswith(".") or here.exists():
            continue
        for at, folders, files in os.walk(artifact):
            (here / Path(at).relative_to(artifact)).mkdir(mode=0o700)
            folders.sort()
            for name in files:
                _link(Path(at, name), here / Path(at).relative_to(artifact) / name)
        if not artifact.is_dir():
            remove_tree(here)


def _link(source: Path, target: Path) -> None:
    """Link a file that never changes, or copy it where there are no links; one that is gone is left out."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with contextlib.suppress(FileNotFoundError):
            shutil.copy2(source, target, follow_symlinks=False)


def _names(folder: Path) -> set[str]:
    with contextlib.suppress(FileNotFoundError):
        return {entry.name for entry in os.scandir(folder)}
    return set()


def _folders(folder: Path) -> list[Path]:
    return [folder / name for name in sorted(_names(folder)) if (folder / name).is_dir()]


def _archive(stage: Path, file: Path, version: str, *, secrets: bool) -> Manifest:
    """The folder as a tar under its final name, durable."""
    temporary = file.with_name(f"{file.name}.new")
    temporary.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            files: dict[str, Held] = {}
            with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
                for at, folders, names in os.walk(stage):
                    folders.sort()
                    for name in sorted(names):
                        path = Path(at, name)
                        if stat.S_ISREG(path.lstat().st_mode):
                            files[str(path.relative_to(stage))] = _add(archive, path, str(path.relative_to(stage)))
                manifest = Manifest(BACKUP_FORMAT, HOME_FORMAT, version, secrets, files)
                text = json.dumps(asdict(manifest)).encode()
                last = tarfile.TarInfo(MANIFEST)
                last.size = len(text)
                archive.addfile(last, io.BytesIO(text))
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    return manifest


class _Hashed:
    """A file that is hashed as it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        return data


def _add(archive: tarfile.TarFile, path: Path, name: str) -> Held:
    with path.open("rb") as file:
        facts = os.fstat(file.fileno())
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = facts.st_size, stat.S_IMODE(facts.st_mode), int(facts.st_mtime)
        hashed = _Hashed(file)
        archive.addfile(info, hashed)
    return Held(info.size, hashed.sha256.hexdigest())


def remove_tree(path: Path) -> None:
    """Remove a file or a folder, read-only folders in it too; nothing where it is gone."""
    if path.is_dir() and not path.is_symlink():
        for at, _, _ in os.walk(path):
            Path(at).chmod(0o700)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
