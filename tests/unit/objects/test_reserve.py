"""Room for deleting: given up once, taken again, and never in the way."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from clary.objects.reserve import RESERVE_FILE, Reserve


class Disk:
    """A delete that finds no room as long as the reserve takes it, or ever."""

    def __init__(self, path: Path, *, never: bool = False) -> None:
        self.path = path
        self.never = never
        self.tries = 0

    def delete(self) -> str:
        self.tries += 1
        if self.never or self.path.exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return "deleted"


def test_it_is_given_up_for_a_delete_and_taken_again(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path, 4096)
    path = tmp_path / RESERVE_FILE
    assert path.stat().st_blocks * 512 >= 4096, "room that is not taken is no reserve"
    assert path.stat().st_mode & 0o777 == 0o600
    disk = Disk(path)
    assert reserve.deleting(disk.delete) == "deleted"
    assert disk.tries == 2
    assert path.exists()


def test_a_delete_that_needs_more_is_refused(tmp_path: Path) -> None:
    disk = Disk(tmp_path / RESERVE_FILE, never=True)
    with pytest.raises(OSError, match="No space left"):
        Reserve(tmp_path, 4096).deleting(disk.delete)
    assert disk.tries == 2
    assert disk.path.exists()


def test_other_errors_leave_it(tmp_path: Path) -> None:
    def broken() -> None:
        raise ValueError("broken")

    reserve = Reserve(tmp_path, 4096)
    before = (tmp_path / RESERVE_FILE).stat().st_ino
    with pytest.raises(ValueError, match="broken"):
        reserve.deleting(broken)
    assert (tmp_path / RESERVE_FILE).stat().st_ino == before


def test_without_room_there_is_none_until_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        reserve = Reserve(tmp_path, 4096)
        assert not (tmp_path / RESERVE_FILE).exists(), "half a reserve would take the little that is left"
        disk = Disk(tmp_path / RESERVE_FILE, never=True)
        with pytest.raises(OSError, match="No space left"):
            reserve.deleting(disk.delete)
        assert disk.tries == 1
    reserve.hold()
    assert (tmp_path / RESERVE_FILE).stat().st_size == 4096
