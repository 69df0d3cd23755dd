"""All buckets a server reaches: its own, and those that lie in foreign stores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import BinaryIO, Protocol

from clary.artifacts.base import Keyed
from clary.artifacts.foreign import ForeignStore


class Store(Protocol):
    """A source of objects that can be written, too. Blocking; called on threads, by several at once."""

    def open(self, bucket: str, key: str) -> BinaryIO:
        """The object's bytes from its start. Raises `domain.errors.NotFound` for a missing bucket or key."""
        ...

    def list(self, bucket: str, prefix: str) -> Iterable[Keyed]:
        """Objects whose keys start with `prefix`, in order. Raises `domain.errors.NotFound` for a missing bucket."""
        ...

    def put(self, bucket: str, key: str, source: Iterable[bytes]) -> object:
        """Write an object. Raises `domain.errors.NotFound` for a missing bucket."""
        ...


class Stores:
    """One Store of several: a bucket that a foreign store holds is there, every other one at home."""

    def __init__(self, home: Store, foreign: Sequence[ForeignStore]) -> None:
        self._home = home
        self._foreign = foreign

    def open(self, bucket: str, key: str) -> BinaryIO:
        return self._of(bucket).open(bucket, key)

    def list(self, bucket: str, prefix: str) -> Iterable[Keyed]:
        return self._of(bucket).list(bucket, prefix)

    def put(self, bucket: str, key: str, source: Iterable[bytes]) -> object:
        return self._of(bucket).put(bucket, key, source)

    def _of(self, bucket: str) -> Store:
        return next((store for store in self._foreign if store.holds(bucket)), self._home)
