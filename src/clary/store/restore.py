"""An archive of store/backup.py back into a HOME: everything is read and checked beside it before anything is replaced.

While names are exchanged, HOME/format says so: a server refuses a HOME whose restore was killed in between.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

import msgspec

from clary.agent.home import FORMAT as HOME_FORMAT
from clary.agent.home import RESTORING
from clary.objects.blobs import Blobs, sync_folder
from clary.objects.index import Index
from clary.objects.recovery import INDEX_FILE
from clary.store.address import Address
from clary.store.backup import BACKUP_FORMAT, MANIFEST, BackupError, Held, Manifest, alone, remove_tree, sweep
from clary.store.migrate import STEPS

STAGE = ".restore-"
OLD = ".replaced-"
"""Beginning of the folder that holds what is replaced, until all of the archive is in its place."""
_TOPS = ("format", "clary.db", "buckets", "artifacts", "secrets")
_STALE = ("clary.db-wal", "clary.db-shm", "run")
"""What belongs to the state that is replaced, and is made anew by the next server."""
_ABSENT = Held(-1, "")
_BLOCK_BYTES = 1024 * 1024
_MANIFEST_BYTES_MAX = 1024**3


def restore(home: Path, file: Path, *, force: bool, store: Address | None = None) -> Manifest:
    """Put the archive `file` in the place of what `home` holds. Blocking. `store`: where the rows go, if elsewhere.

    Raises BackupError where a server runs there, where it holds anything (unless `force`), and where the archive is
    damaged, incomplete or of a newer Clary; StoreUnavailableError and StoreFormatError of a store elsewhere: then
    nothing is changed. Secrets of `home` stay where it brings none.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _no_server(home), alone(home):
        _refuse_occupied(home, store, force=force)
        for prefix in (STAGE, OLD):
            sweep(home, prefix)
        stage = Path(tempfile.mkdtemp(prefix=STAGE, dir=home))
        try:
            manifest = _unpack(file, stage)
            _check_store(stage / "clary.db")
            _check_objects(stage / "buckets")
            _seal(stage)
            with _store_filled(stage, store) as commit:
                _exchange(home, stage, commit)
        finally:
            remove_tree(stage)
    return manifest


def _refuse_occupied(home: Path, store: Address | None, *, force: bool) -> None:
    if force:
        return
    here = ("clary.db", "buckets", "artifacts") if store is None else ("buckets", "artifacts")
    occupied = [name for name in here if (home / name).exists()]
    if occupied:
        raise BackupError(f"{home} is in use: it has {', '.join(occupied)}.", "Replace them with --force.")
    if store is not None:
        from clary.store.transfer import used

        if used(store):
            raise BackupError(f"The store {store} is in use: it has a Clary's tables.", "Replace them with --force.")


@contextlib.contextmanager
def _store_filled(stage: Path, store: Address | None) -> Iterator[Callable[[], None]]:
    """What makes the store that of the archive, once HOME's files are: nothing where it is one of them."""
    if store is None:
        yield lambda: None
        return
    from clary.store.transfer import filled

    with filled(store, stage / "clary.db") as commit:
        (stage / "clary.db").unlink()
        yield commit


@contextlib.contextmanager
def _no_server(home: Path) -> Iterator[None]:
    """The lock that a server holds (agent/home.py)."""
    with (home / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BackupError(f"Clary serves {home}.", "Stop it first, or restore into another --home.") from None
        yield


def _unpack(file: Path, stage: Path) -> Manifest:
    """The archive's files in `stage`, every one of them compared with the manifest at its end."""
    found: dict[str, Held] = {}
    manifest = None
    try:
        with file.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                if content is None:
                    raise BackupError(f"{file} holds {member.name!r}, which is no plain file: no backup of Clary's.")
                if member.name == MANIFEST:
                    if member.size > _MANIFEST_BYTES_MAX:
                        raise BackupError(f"{file} has a manifest of {member.size} bytes: no backup of Clary's.")
                    manifest = msgspec.json.decode(content.read(), type=Manifest)
                else:
                    found[member.name] = _write(content, stage / _inside(member.name, file), member.mode)
    except (tarfile.TarError, msgspec.MsgspecError) as error:
        raise BackupError(f"{file} is no backup of Clary's, or is damaged: {error}.") from None
    if manifest is None:
        raise BackupError(f"{file} is not complete: it has no manifest at its end.", "Copy it again from its source.")
    if manifest.backup_format > BACKUP_FORMAT or manifest.home_format > HOME_FORMAT:
        raise BackupError(
            f"{file} was written by Clary {manifest.version}, in a newer format.", "Restore it with that Clary."
        )
    expected = manifest.files.keys() | {"format", "clary.db"}
    wrong = sorted(name for name in expected | found.keys() if manifest.files.get(name) != found.get(name, _ABSENT))
    if wrong:
        raise BackupError(f"{file} is damaged: files that are not what was backed up: {len(wrong)}, first {wrong[0]}.")
    return manifest


def _inside(name: str, file: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path.parts[0] not in _TOPS:
        raise BackupError(f"{file} holds {name!r}, which is none of Clary's files.")
    return path


def _write(content: IO[bytes], path: Path, mode: int) -> Held:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        while data := content.read(_BLOCK_BYTES):
            digest.update(data)
            size += out.write(data)
        out.flush()
        os.fchmod(out.fileno(), mode & 0o777)
        os.fsync(out.fileno())
    return Held(size, digest.hexdigest())


def _check_store(path: Path) -> None:
    """A sound database with a schema that this Clary knows; BackupError otherwise."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            (schema,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except (sqlite3.Error, TypeError) as error:
        raise BackupError(f"The backup's clary.db cannot be read: {error}.") from None
    if verdict != "ok":
        raise BackupError(f"The backup's clary.db is damaged: {verdict}.")
    if schema not in STEPS:
        raise BackupError(
            f"The backup's clary.db has schema {schema}; this Clary knows up to {STEPS[-1]}.",
            "Restore it with the Clary that wrote it, or a newer one.",
        )


def _check_objects(root: Path) -> None:
    """Every file that the object index names is there; BackupError otherwise."""
    if not (root / INDEX_FILE).is_file():
        return
    blobs = Blobs(root)
    try:
        index = Index(root / INDEX_FILE)
        try:
            with index.read() as reading:
                for bucket in reading.buckets():
                    missing = reading.blobs(bucket.name) - set(blobs.names(bucket.name))
                    if missing:
                        raise BackupError(f"The backup lacks {len(missing)} objects of the bucket {bucket.name}.")
        finally:
            index.close()
    except (sqlite3.Error, ValueError, FileNotFoundError) as error:
        raise BackupError(f"The backup's object index cannot be used: {error}.") from None


def _seal(stage: Path) -> None:
    """Names durable; folders of artifacts read-only, as they were pinned."""
    for at, _, _ in os.walk(stage, topdown=False):
        path = Path(at)
        sync_folder(path)
        if len(path.relative_to(stage).parts) > 1 and path.relative_to(stage).parts[0] == "artifacts":
            path.chmod(0o555)


def _exchange(home: Path, stage: Path, commit: Callable[[], None]) -> None:
    """What is in `stage` takes the place of its namesakes in `home`; then `commit` is called; the format comes last."""
    old = Path(tempfile.mkdtemp(prefix=OLD, dir=home))
    note = old / "format.new"
    with note.open("w") as out:
        out.write(f"{RESTORING}\n")
        out.flush()
        os.fsync(out.fileno())
    note.replace(home / "format")
    sync_folder(home)
    arriving = [name for name in _TOPS if name != "format" and (stage / name).exists()]
    stale = _STALE if "clary.db" in arriving else ("run",)
    for name in (*arriving, *stale):
        if (home / name).exists():
            (home / name).rename(old / name)
    for name in arriving:
        (stage / name).rename(home / name)
    sync_folder(home)
    commit()
    (stage / "format").replace(home / "format")
    sync_folder(home)
    remove_tree(old)
