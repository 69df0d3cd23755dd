"""What a model artifact is once it is pinned, where its bytes come from, and what it may not exceed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol


@dataclass(frozen=True)
class Limits:
    """Bounds on one unpacked artifact; passing one is an ArtifactError, never a full disk."""

    files_max: int = 10_000
    """Regular files. More than any model needs; few enough to fsync."""
    members_max: int = 40_000
    """Entries of the archive, folders among them."""
    bytes_max: int = 20 * 1024**3
    """Sum of the unpacked files' sizes, in bytes."""
    ratio_max: float = 200.0
    """Unpacked bytes to archive bytes. gzip itself reaches 1032 on zeros; model files rarely pass 20."""
    ratio_from_bytes: int = 256 * 1024**2
    """The ratio is judged only above this many unpacked bytes, so that small artifacts of zeros pass."""
    path_bytes_max: int = 1024
    """Length of a member's path, in bytes."""
    depth_max: int = 32
    """Components of a member's path."""
    header_bytes_max: int = 1024**2
    """Bytes of tar headers (extended ones among them) before one member."""


@dataclass(frozen=True)
class Pinned:
    """An artifact on this machine: immutable, complete, and independent of where it came from."""

    digest: str
    """64 hex digits; see `artifacts.digest`."""
    path: Path
    """Folder with the unpacked files, read-only."""
    bytes: int
    """Sum of the files' sizes."""
    url: str
    """Where it was fetched from."""


class Keyed(Protocol):
    """One object of a listing."""

    @property
    def key(self) -> str: ...


class Source(Protocol):
    """A store of objects, such as the built-in one. Blocking; called on threads, by several at once."""

    def open(self, bucket: str, key: str) -> BinaryIO:
        """The object's bytes from its start. Raises `domain.errors.NotFound` for a missing bucket or key."""
        ...

    def list(self, bucket: str, prefix: str) -> Iterable[Keyed]:
        """Objects whose keys start with `prefix`, in order. Raises `domain.errors.NotFound` for a missing bucket."""
        ...
