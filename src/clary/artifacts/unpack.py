"""A model.tar.gz from a stream into a folder, trusting nothing it says.

Only regular files are made, with names checked and modes of our own; everything else that an archive can hold is
refused with an ArtifactError. SageMaker's contract forbids links in artifacts too (containers facts: "No symlinks").
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import tarfile
import zlib
from pathlib import Path
from typing import BinaryIO

from clary.artifacts.base import Limits
from clary.artifacts.digest import EXECUTABLE_MODE, PLAIN_MODE, Entry
from clary.domain.errors import ArtifactError

_CHUNK_BYTES = 1024 * 1024
_BLOCK_BYTES = 512
_SLACK_BYTES = 64 * 1024
"""What tarfile may read ahead of what it needs."""
_REPACK = "Pack the files anew: `tar czf model.tar.gz -C FOLDER .` with plain files only."
_UPLOAD = "Upload the whole file again and compare its size with the original."


def unpack(stream: BinaryIO, into: Path, limits: Limits) -> list[Entry]:
    """Write the archive's files below `into` (an empty folder) and return their manifest.

    Every file is flushed to disk and read-only. Raises ArtifactError for whatever cannot be trusted or does not fit.
    """
    counted = _Counted(stream)
    reader = _Budgeted(gzip.GzipFile(fileobj=counted), counted, limits)
    try:
        return _unpack_members(reader, into, limits)
    except gzip.BadGzipFile:
        raise ArtifactError(
            f"The artifact is not a gzip file, or is damaged after {reader.total} unpacked bytes.",
            "Pack it as a gzipped tar: `tar czf model.tar.gz -C FOLDER .`.",
        ) from None
    except EOFError:
        raise ArtifactError(f"The artifact ends too early, after {counted.total} bytes.", _UPLOAD) from None
    except zlib.error as error:
        raise ArtifactError(f"The artifact's gzip data is damaged ({error}).", _UPLOAD) from None
    except (tarfile.TarError, ValueError) as error:  # tarfile lets ValueErrors of odd numbers and names through
        if counted.total == 0:
            raise ArtifactError("The artifact is empty: 0 bytes.", _UPLOAD) from None
        raise ArtifactError(f"The artifact is gzipped, but no tar archive ({error}).", _REPACK) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise ArtifactError(
            f"No space is left for the artifact after {reader.total} unpacked bytes.", "Free disk space below HOME."
        ) from None


def _unpack_members(reader: _Budgeted, into: Path, limits: Limits) -> list[Entry]:
    entries: list[Entry] = []
    seen: dict[str, bool] = {}
    unpacked_bytes = members = 0
    reader.allow(limits.header_bytes_max)  # opening reads the first header
    with tarfile.open(fileobj=reader, mode="r|", errorlevel=2) as archive:
        while True:
            reader.allow(limits.header_bytes_max)
            member = archive.next()
            if member is None:
                break
            members += 1
            if members > limits.members_max:
                raise ArtifactError(f"The artifact holds more than {limits.members_max} entries.", _REPACK)
            path = _checked_path(member, limits)
            if member.isdir():
                continue
            _check_kind(member)
            _claim(path, seen)
            unpacked_bytes += member.size
            if len(entries) >= limits.files_max:
                raise ArtifactError(f"The artifact holds more than {limits.files_max} files.", _REPACK)
            if unpacked_bytes > limits.bytes_max:
                raise ArtifactError(
                    f"The artifact unpacks to more than {limits.bytes_max} bytes.",
                    "Leave out what serving does not need.",
                )
            reader.allow(member.size + limits.header_bytes_max)
            content = archive.extractfile(member)
            assert content is not None, "a regular file has content"
            entries.append(_write(content, into, path, member))
    reader.allow(limits.header_bytes_max)
    while reader.read(_CHUNK_BYTES):  # the padding, and gzip's own check of length and CRC
        pass
    if reader.total % _BLOCK_BYTES:
        raise ArtifactError("The artifact's tar archive ends within a block.", _REPACK)
    if not entries:
        raise ArtifactError("The artifact holds no file.", _REPACK)
    return entries


def _checked_path(member: tarfile.TarInfo, limits: Limits) -> str:
    """The member's path, relative and clean; ArtifactError for any that leaves the folder or is odd."""
    raw = member.name
    shown = raw if len(raw) <= 80 else raw[:77] + "..."
    if raw.startswith("/"):
        raise ArtifactError(f"The artifact holds the absolute path {shown!r}.", _REPACK)
    parts = [part for part in raw.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ArtifactError(f"The artifact holds the path {shown!r}, which leaves its folder.", _REPACK)
    if len(os.fsencode(raw)) > limits.path_bytes_max or any(len(os.fsencode(part)) > 255 for part in parts):
        raise ArtifactError(f"The artifact holds a path of {len(raw)} characters: {shown!r}.", _REPACK)
    if len(parts) > limits.depth_max:
        raise ArtifactError(f"The artifact nests folders {len(parts)} deep: {shown!r}.", _REPACK)
    if any(ord(char) < 32 or ord(char) == 127 for char in raw):
        raise ArtifactError(f"The artifact holds a path with control characters: {shown!r}.", _REPACK)
    if not parts and not member.isdir():
        raise ArtifactError(f"The artifact holds a file without a name: {shown!r}.", _REPACK)
    return "/".join(parts)


_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a named pipe",
}


def _check_kind(member: tarfile.TarInfo) -> None:
    if not member.isreg():
        kind = _KINDS.get(member.type, "an entry of an unknown kind")
        raise ArtifactError(f"The artifact holds {kind}: {member.name!r}.", _REPACK)
    if member.size < 0:
        raise ArtifactError(f"The artifact holds a file of {member.size} bytes: {member.name!r}.", _REPACK)
    if member.mode & 0o6000:
        raise ArtifactError(f"The artifact holds a setuid or setgid file: {member.name!r}.", _REPACK)


def _claim(path: str, seen: dict[str, bool]) -> None:
    """Note `path` as a file and what is above it as folders; ArtifactError where that clashes with what was."""
    if path in seen:
        raise ArtifactError(f"The artifact holds {path!r} twice.", _REPACK)
    above = path
    while "/" in above:
        above = above.rpartition("/")[0]
        if seen.get(above, False):
            raise ArtifactError(f"The artifact holds {above!r} both as a file and as a folder.", _REPACK)
        seen[above] = False
    seen[path] = True


def _write(content: object, into: Path, path: str, member: tarfile.TarInfo) -> Entry:
    assert isinstance(content, io.BufferedIOBase)
    target = into / path
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    mode = EXECUTABLE_MODE if member.mode & 0o111 else PLAIN_MODE
    sha256 = hashlib.sha256()
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as out:
        left = member.size
        while left:
            chunk = content.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise EOFError
            sha256.update(chunk)
            out.write(chunk)
            left -= len(chunk)
        out.flush()
        os.fchmod(out.fileno(), mode)
        os.fsync(out.fileno())
    return Entry(path=path, mode=mode, size=member.size, sha256=sha256.hexdigest())


class _Counted(io.RawIOBase):
    """The archive's own bytes, counted."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.total = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.total += len(data)
        return data


class _Budgeted(io.RawIOBase):
    """Unpacked bytes, counted, with an allowance that its user renews before each step.

    tarfile reads an extended header whole into memory; the allowance is what bounds that.
    """

    def __init__(self, stream: gzip.GzipFile, counted: _Counted, limits: Limits) -> None:
        self._stream = stream
        self._counted = counted
        self._limits = limits
        self._end = 0
        self.total = 0

    def readable(self) -> bool:
        return True

    def allow(self, more: int) -> None:
        """Let `more` bytes be read from here on, and a little for reading ahead."""
        self._end = self.total + more + _SLACK_BYTES

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size if size >= 0 else _CHUNK_BYTES)
        self.total += len(data)
        if self.total > self._end:
            raise ArtifactError(
                f"The artifact holds more than {self._limits.header_bytes_max} bytes that belong to no file.", _REPACK
            )
        judged = self.total > self._limits.ratio_from_bytes
        if judged and self.total > self._limits.ratio_max * max(self._counted.total, 1):
            raise ArtifactError(
                f"The artifact unpacks to more than {self._limits.ratio_max:g} times its size.",
                "Such an archive is most often a mistake or an attack; leave out what serving does not need.",
            )
        return data
