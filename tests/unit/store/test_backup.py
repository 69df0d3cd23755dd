"""Backup and restore of a HOME without a server: what is in the file, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import io
import json
import os
import sqlite3
import stat
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from clary.agent.home import RESTORING, open_home
from clary.agent.options import AgentError
from clary.kit.clock import SystemClock
from clary.kit.ids import SystemIds
from clary.objects.store import ObjectStore
from clary.store import backup
from clary.store.backup import MANIFEST, BackupError, write_backup
from clary.store.restore import restore
from clary.store.sqlite import SqliteStore
from clary.store.tables import tags

DIGEST = "ab" * 32


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A HOME with a row, three objects (one of two versions) and an artifact."""
    home = tmp_path / "home"
    home.mkdir()
    store = SqliteStore(home / "clary.db")
    asyncio.run(store.write(lambda c: c.execute(insert(tags).values(resource_uid="u", key="k", value="v"))))
    store.close()
    with objects_of(home) as objects:
        objects.create_bucket("one", "123456789012", "us-east-1")
        objects.create_bucket("empty", "123456789012", "us-east-1")
        for key in ("a", "a/b", "../c"):
            objects.put("one", key, [key.encode() * 1000])
    code = home / "artifacts" / DIGEST / "code"
    code.mkdir(parents=True)
    (code / "run.sh").write_text("true")
    (code / "run.sh").chmod(0o755)
    code.chmod(0o555)
    (home / "artifacts" / DIGEST).chmod(0o555)
    (home / "secrets").mkdir(0o700)
    (home / "secrets" / "kek").write_bytes(bytes(32))
    (home / "run").mkdir()
    return home


@contextlib.contextmanager
def objects_of(home: Path) -> Iterator[ObjectStore]:
    objects = ObjectStore(home / "buckets", SystemClock(), SystemIds())
    yield objects
    objects.close()


def contents(home: Path) -> dict[str, bytes]:
    with objects_of(home) as objects:
        return {one.key: objects.open("one", one.key).read() for one in objects.list("one")}


def rows(home: Path) -> list[str]:
    store = SqliteStore(home / "clary.db")
    try:
        return asyncio.run(store.read(lambda c: list(c.execute(select(tags.c.key)).scalars())))
    finally:
        store.close()


def saved(home: Path, *, secrets: bool = False) -> Path:
    file = home.parent / "clary.tar"
    write_backup(home, file, "1.2", secrets=secrets, force=True)
    return file


def test_everything_comes_back(home: Path, tmp_path: Path) -> None:
    file = saved(home, secrets=True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not [path for path in home.iterdir() if path.name.startswith(".")]
    manifest = restore(tmp_path / "other", file, force=False)
    assert (manifest.version, manifest.secrets) == ("1.2", True)
    other = tmp_path / "other"
    assert contents(other) == contents(home) == {key: key.encode() * 1000 for key in ("a", "a/b", "../c")}
    assert rows(other) == ["k"]
    with objects_of(other) as objects:
        assert [bucket.name for bucket in objects.buckets()] == ["empty", "one"]
    script = other / "artifacts" / DIGEST / "code" / "run.sh"
    assert (script.read_text(), stat.S_IMODE(script.stat().st_mode)) == ("true", 0o755)
    assert stat.S_IMODE(script.parent.stat().st_mode) == 0o555
    assert (other / "secrets" / "kek").read_bytes() == bytes(32)
    assert (other / "format").read_text() == "1\n"
    assert not [path for path in other.iterdir() if path.name.startswith(".")]


def test_secrets_only_where_asked_and_those_of_home_stay(home: Path) -> None:
    file = saved(home)
    with tarfile.open(file) as archive:
        assert not [name for name in archive.getnames() if name.startswith("secrets")]
    restore(home, file, force=True)
    assert (home / "secrets" / "kek").exists()


def test_nothing_is_overwritten_unless_forced(home: Path) -> None:
    file = saved(home)
    with pytest.raises(BackupError, match="exists") as refused:
        write_backup(home, file, "1", secrets=False, force=False)
    assert "--force" in refused.value.remedy
    with pytest.raises(BackupError, match=r"it has clary\.db, buckets, artifacts"):
        restore(home, file, force=False)
    with objects_of(home) as objects:
        objects.put("one", "later", [b"x"])
    (home / "run" / "processes.json").write_text("{}")
    restore(home, file, force=True)
    assert "later" not in contents(home)
    assert not (home / "run").exists()


def test_a_folder_that_is_not_clarys_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="no Clary has served there"):
        write_backup(tmp_path, tmp_path / "b.tar", "1", secrets=False, force=False)


def test_a_served_home_is_not_restored_into(home: Path) -> None:
    file = saved(home)
    with (home / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BackupError, match="Clary serves"):
            restore(home, file, force=True)


def test_one_at_a_time(home: Path) -> None:
    with backup.alone(home), pytest.raises(BackupError, match="Another backup"):
        saved(home)


def test_what_a_killed_backup_left_goes_with_the_next(home: Path) -> None:
    (home / ".backup-old").mkdir()
    saved(home)
    assert not (home / ".backup-old").exists()


def rewritten(file: Path, change: dict[str, bytes | None]) -> Path:
    """The archive with members replaced, or left out where None; others are added."""
    target = file.with_name("changed.tar")
    with tarfile.open(file) as old, tarfile.open(target, "w") as new:
        members = {one.name: (old.extractfile(one) or io.BytesIO()).read() for one in old}
        for name, data in (members | change).items():
            if data is not None:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                new.addfile(info, io.BytesIO(data))
    return target


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"clary.db": b"x"}, r"is damaged: .*: 1, first clary\.db"),
        ({"format": None}, "is damaged"),
        ({"buckets/more": b"x"}, "is damaged"),
        ({MANIFEST: None}, "no manifest at its end"),
        ({MANIFEST: b"{}"}, "is no backup"),
        ({"../evil": b"x"}, r"holds '\.\./evil'"),
        ({"/evil": b"x"}, "holds '/evil'"),
        ({"run/processes.json": b"x"}, r"holds 'run/processes\.json'"),
    ],
)
def test_a_damaged_file_changes_nothing(home: Path, change: dict[str, bytes | None], says: str) -> None:
    file = rewritten(saved(home), change)
    with pytest.raises(BackupError, match=says):
        restore(home, file, force=True)
    assert rows(home) == ["k"]
    assert not [path for path in home.iterdir() if path.name.startswith(".")]


def test_a_file_cut_short_is_known_as_such(home: Path) -> None:
    file = saved(home)
    whole = file.read_bytes()
    for size in (0, 100, len(whole) // 2, whole.rindex(b"manifest.json")):
        file.write_bytes(whole[:size])
        with pytest.raises(BackupError, match=r"is damaged|not complete"):
            restore(home, file, force=True)


def test_a_link_in_a_file_is_refused(home: Path) -> None:
    file = saved(home)
    with tarfile.open(file, "a") as archive:
        link = tarfile.TarInfo("buckets/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(BackupError, match="no plain file"):
        restore(home, file, force=True)


def test_newer_formats_are_refused(home: Path) -> None:
    file = saved(home)
    with tarfile.open(file) as archive:
        member = archive.extractfile(MANIFEST)
        assert member is not None
        manifest = json.loads(member.read())
    for name in ("backup_format", "home_format"):
        newer = json.dumps(manifest | {name: 2}).encode()
        with pytest.raises(BackupError, match=r"written by Clary 1\.2, in a newer format"):
            restore(home, rewritten(file, {MANIFEST: newer}), force=True)
    with contextlib.closing(sqlite3.connect(home / "clary.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(BackupError, match="schema 9999"):
        restore(home, saved(home), force=True)


def test_a_backup_that_lacks_an_object_is_refused(home: Path) -> None:
    with objects_of(home) as objects:
        objects.blobs.remove("one", objects.head("one", "a").blob)
    with pytest.raises(BackupError, match="lacks 1 objects of the bucket one"):
        restore(home, saved(home), force=True)


def test_a_restore_that_was_killed_is_not_served(home: Path, short_path: Path) -> None:
    file = saved(home)
    (home / "format").write_text(f"{RESTORING}\n")
    with pytest.raises(AgentError, match=r"a restore into .* did not finish"):
        open_home(home, short_path / "run")
    restore(home, file, force=True)
    open_home(home, short_path / "run").close()


def test_links_are_replaced_by_copies_where_there_are_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    before = contents(home)
    restore(home, saved(home), force=True)
    assert contents(home) == before


def test_each_backup_beside_a_busy_store_is_one_moment(home: Path, tmp_path: Path) -> None:
    """A writer replaces two objects in one order: no backup may hold the second without the first, or a hole."""
    stop = threading.Event()
    done: list[int] = []

    def write(objects: ObjectStore) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            for key in ("first", "second"):
                objects.put("one", key, [f"{number}".encode()])
        done.append(number)

    with objects_of(home) as objects:
        for key in ("first", "second"):
            objects.put("one", key, [b"0"])
        writer = threading.Thread(target=write, args=(objects,))
        writer.start()
        try:
            for count in range(5):
                restore(tmp_path / f"other-{count}", saved(home), force=False)
        finally:
            stop.set()
            writer.join()
    assert done[0] > 1
    for count in range(5):
        found = contents(tmp_path / f"other-{count}")
        assert int(found["first"]) - int(found["second"]) in (0, 1)
