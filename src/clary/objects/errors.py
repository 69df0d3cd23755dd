"""Refusals of the object store beside the domain's own; the S3 door gives them S3's codes."""

from __future__ import annotations

from dataclasses import dataclass

from clary.domain.errors import DomainError, NotFound


class IndexFormatError(RuntimeError):
    """The index was written by a newer Clary. The message names file and remedy."""


@dataclass(eq=False)
class BucketNotEmpty(DomainError):  # noqa: N818 - named by the fact, as S3 does
    """A bucket with objects cannot be deleted."""

    name: str


@dataclass(eq=False)
class Hidden(NotFound):
    """There is no object: the newest version of its key is a delete marker."""

    version: str
    """The marker's, empty for the null version."""


@dataclass(eq=False)
class IsMarker(DomainError):  # noqa: N818
    """A version that was asked for by its id is a delete marker: it has nothing to read."""

    key: str
    version: str
    modified_us: int


@dataclass(eq=False)
class PreconditionFailed(DomainError):  # noqa: N818
    """A conditional write found another state. `condition` is the header that failed."""

    condition: str


@dataclass(eq=False)
class PartNotFound(DomainError):  # noqa: N818
    """A completion names a part that was not uploaded, or whose ETag or checksum is another."""

    upload_id: str
    number: int
    etag: str


@dataclass(eq=False)
class PartsOutOfOrder(DomainError):  # noqa: N818
    """A completion must list parts in ascending order."""

    upload_id: str


@dataclass(eq=False)
class PartTooSmall(DomainError):  # noqa: N818
    """Every part but the last must have at least `size_min` bytes."""

    number: int
    etag: str
    size: int
    size_min: int


@dataclass(eq=False)
class DigestMismatch(DomainError):  # noqa: N818
    """The bytes do not have the digest that the client gave. `header` names the digest."""

    header: str
    expected: str
    actual: str
