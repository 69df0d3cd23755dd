"""Pins: content-addressed, read-only, whole or not there; a kill at any moment leaves no half artifact."""

import io
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clary.artifacts.base import Limits
from clary.artifacts.local import PinnedStore
from clary.domain.errors import ArtifactError
from tests.support.archives import member, packed

FIRST = packed(member("xgboost-model", b"1" * 5000), member("a/b", b"2"))
SECOND = packed(member("xgboost-model", b"other"))


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def pinned(store: PinnedStore, raw: bytes) -> str:
    return store.pin(io.BytesIO(raw), "s3://b/k").digest


def test_the_digest_is_of_the_content_not_of_the_archive(tmp_path: Path) -> None:
    store = PinnedStore(tmp_path, Limits())
    reordered = packed(member("./a/b", b"2", mode=0o600), member("xgboost-model", b"1" * 5000))
    assert pinned(store, FIRST) == pinned(store, reordered)
    changed = [
        packed(member("xgboost-model", b"1" * 4999 + b"0"), member("a/b", b"2")),
        packed(member("xgboost-model", b"1" * 5000), member("a/c", b"2")),
        packed(member("xgboost-model", b"1" * 5000), member("a/b", b"2", mode=0o755)),
        packed(member("xgboost-model", b"1" * 5000)),
    ]
    assert len({pinned(store, FIRST), *(pinned(store, raw) for raw in changed)}) == 5


def test_what_is_pinned_is_read_only_and_intact(tmp_path: Path) -> None:
    store = PinnedStore(tmp_path, Limits())
    found = store.pin(io.BytesIO(FIRST), "s3://b/k")
    assert found.path == tmp_path / found.digest == store.path_of(found.digest)
    assert found.bytes == 5001
    assert found.url == "s3://b/k"
    modes = {p.relative_to(found.path).as_posix(): p.stat().st_mode & 0o777 for p in found.path.rglob("*")}
    assert modes == {"xgboost-model": 0o444, "a": 0o555, "a/b": 0o444}
    assert found.path.stat().st_mode & 0o777 == 0o555
    assert store.intact(found.digest)


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    store = PinnedStore(tmp_path, Limits())
    found = store.pin(io.BytesIO(FIRST), "s3://b/k")
    (found.path / "xgboost-model").chmod(0o644)
    (found.path / "xgboost-model").write_bytes(b"0" * 5000)
    assert not store.intact(found.digest)
    assert not store.intact("0" * 64)


def test_pinning_again_leaves_the_files_alone(tmp_path: Path) -> None:
    store = PinnedStore(tmp_path, Limits())
    digest = pinned(store, FIRST)
    before = (tmp_path / digest / "xgboost-model").stat().st_ino
    assert pinned(store, FIRST) == digest
    assert (tmp_path / digest / "xgboost-model").stat().st_ino == before
    assert names(tmp_path) == [digest]


def test_a_refused_archive_leaves_nothing(tmp_path: Path) -> None:
    store = PinnedStore(tmp_path, Limits())
    with pytest.raises(ArtifactError):
        pinned(store, packed(member("ok", b"1"), member("../escaped", b"2")))
    assert names(tmp_path) == []


def test_a_path_is_given_for_digests_only(tmp_path: Path) -> None:
    store = PinnedStore(tmp_path / "artifacts", Limits())
    (tmp_path / "artifacts/x").mkdir()
    for name in ("", ".", "..", "x", "0" * 64, "../artifacts"):
        assert store.path_of(name) is None


def test_sweep_keeps_what_it_is_told_to(tmp_path: Path) -> None:
    store = PinnedStore(tmp_path, Limits())
    first, second = pinned(store, FIRST), pinned(store, SECOND)
    assert store.sweep({second, "0" * 64}) == {first}
    assert store.digests() == {second}
    assert names(tmp_path) == [second]
    assert store.sweep(set()) == {second}
    assert store.sweep(set()) == set()


class Stops(io.RawIOBase):
    """A stream that breaks off after `stop` bytes, as a lost connection does."""

    def __init__(self, raw: bytes, stop: int) -> None:
        self._raw = io.BytesIO(raw[:stop])

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._raw.read(size)
        if not data:
            raise ConnectionResetError("the store went away")
        return data


def test_a_lost_connection_leaves_nothing_and_is_not_the_artifacts_fault(tmp_path: Path) -> None:
    store = PinnedStore(tmp_path, Limits())
    with pytest.raises(ConnectionResetError):
        store.pin(Stops(FIRST, len(FIRST) // 2), "s3://b/k")  # type: ignore[arg-type]
    assert names(tmp_path) == []


CHILD = """
import io, os, signal, sys
from pathlib import Path
from clary.artifacts import local, unpack
from clary.artifacts.base import Limits

step, raw = int(sys.argv[2]), sys.stdin.buffer.read()
count = 0

def stepped(module, name):
    real = getattr(module, name)
    def wrapper(*args, **kwargs):
        global count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    setattr(module, name, wrapper)

for name in ("fsync", "fchmod", "open"):
    stepped(os, name)
for name in ("rename", "mkdir", "chmod"):
    stepped(Path, name)
store = local.PinnedStore(Path(sys.argv[1]), Limits())
found = store.pin(io.BytesIO(raw), "s3://b/k")
store.sweep(set())
print("done", count)
"""


def kills(root: Path) -> Iterator[bool]:
    """Run the child again and again, killed one step later each time; yields whether it was killed."""
    for step in range(1, 200):
        command = [sys.executable, "-c", CHILD, str(root), str(step)]
        done = subprocess.run(command, input=FIRST, capture_output=True, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
        yield done.returncode != 0
        if done.returncode == 0:
            return


def test_killed_at_any_step_every_pin_is_whole_and_rests_are_swept(tmp_path: Path) -> None:
    killed = 0
    for was_killed in kills(tmp_path):
        killed += was_killed
        store = PinnedStore(tmp_path, Limits())
        for digest in store.digests():
            assert store.intact(digest)
        assert set(names(tmp_path)) == store.digests(), "a rest was not swept"
    assert killed > 15
    assert names(tmp_path) == []
