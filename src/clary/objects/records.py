"""What the object store keeps about buckets, objects, uploads and parts. The structs are the persisted form (JSON)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

FULL_OBJECT = "FULL_OBJECT"
COMPOSITE = "COMPOSITE"


ENABLED = "Enabled"
SUSPENDED = "Suspended"


class CorsRule(msgspec.Struct, frozen=True):
    """Which pages may read answers of a bucket in a browser. Names and origins as given, `*` for any run."""

    origins: tuple[str, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    max_age_s: int | None = None
    """How long a browser may keep the answer to a preflight; None: its own choice."""
    id: str = ""


class Bucket(msgspec.Struct, frozen=True):
    """One bucket. Its name is unique across regions, as in S3."""

    name: str
    account: str
    region: str
    """Where it says it is; objects are reachable from every region."""
    created_us: int
    versioning: str = ""
    """ENABLED, SUSPENDED, or empty: never enabled, every write is the null version."""
    tags: Mapping[str, str] = {}
    cors: tuple[CorsRule, ...] = ()


class Checksum(msgspec.Struct, frozen=True):
    """What S3 calls an additional checksum: one per object, beside the ETag."""

    algorithm: str
    """A key of `checksums.ALGORITHMS`, such as `CRC32`."""
    value: str
    """Base64 of the big-endian digest; a composite one ends in `-<number of parts>`."""
    kind: str
    """FULL_OBJECT (of the bytes) or COMPOSITE (of the parts' digests)."""


class Segment(msgspec.Struct, frozen=True):
    """A part of an object that was uploaded in parts: a blob of its own."""

    number: int
    """Part number of the upload, 1 to 10,000; ascending, not always dense."""
    blob: str
    size: int
    """Bytes."""
    checksum: str = ""
    """The part's own checksum in the object's algorithm, base64."""


class ObjectRecord(msgspec.Struct, frozen=True, tag="object"):
    """One object, whole: also the footer of its blob, so that the index can be rebuilt from the files."""

    key: str
    size: int
    """Bytes."""
    etag: str
    """Without quotes: MD5 in hex, or MD5 of the parts' MD5s and `-<number of parts>`."""
    modified_us: int
    blob: str
    """Name of the file that holds the bytes (or, where there are segments, only this record)."""
    headers: Mapping[str, str]
    """Response headers stored with it, by lower-case name: content-type, x-amz-server-side-encryption, ..."""
    user: Mapping[str, str]
    """User metadata, by name without `x-amz-meta-`."""
    storage_class: str = "STANDARD"
    checksum: Checksum | None = None
    segments: tuple[Segment, ...] = ()
    """Empty for an object put in one piece."""
    upload_id: str = ""
    """The multipart upload that made it: a repeated completion is recognised by it."""
    version: str = ""
    """Empty for the null version; else the blob's own name, which no other version has."""
    marker: bool = False
    """A delete marker: no bytes; as the newest version it hides the key."""
    tags: Mapping[str, str] = {}
    tag_blob: str = ""
    """Where the tags were changed after the write: the blob of their TagRecord. Empty in a footer."""


class TagRecord(msgspec.Struct, frozen=True, tag="tags"):
    """Tags that replaced those of a version's own footer, which never changes; a blob with no bytes."""

    of: str
    """Blob of the version."""
    tags: Mapping[str, str]
    modified_us: int
    blob: str


class PartRecord(msgspec.Struct, frozen=True, tag="part"):
    """One uploaded part of an upload in progress; the footer of its blob."""

    upload_id: str
    number: int
    size: int
    """Bytes."""
    etag: str
    modified_us: int
    blob: str
    checksum: Checksum | None = None


class Upload(msgspec.Struct, frozen=True):
    """A multipart upload in progress."""

    upload_id: str
    key: str
    initiated_us: int
    headers: Mapping[str, str]
    user: Mapping[str, str]
    storage_class: str
    checksum_algorithm: str
    checksum_kind: str
    checksum_asked: bool
    """Whether the client chose the algorithm; the default one is not shown for parts."""
    tags: Mapping[str, str] = {}


class Entry(msgspec.Struct, frozen=True):
    """What a listing says of one object."""

    key: str
    size: int
    etag: str
    modified_us: int
    storage_class: str
    checksum_algorithm: str
    checksum_kind: str


class VersionEntry(msgspec.Struct, frozen=True):
    """What a listing of versions says of one version or delete marker."""

    entry: Entry
    version: str
    latest: bool
    marker: bool


class Listing(msgspec.Struct, frozen=True):
    """One page of a listing, keys and common prefixes each in the order of their UTF-8 bytes."""

    entries: tuple[Entry, ...]
    prefixes: tuple[str, ...]
    last: str
    """The last key or common prefix of the page; where the next page goes on. Empty for an empty page."""
    truncated: bool


class Attributes(msgspec.Struct, frozen=True):
    """What a writer says of an object besides its bytes."""

    headers: Mapping[str, str] = {}
    user: Mapping[str, str] = {}
    storage_class: str = "STANDARD"
    tags: Mapping[str, str] = {}


class Condition(msgspec.Struct, frozen=True):
    """Conditional write: what must hold of the key at the moment the write commits."""

    etag: str | None = None
    """If-Match: the current object's ETag (without quotes), or `*` for any object."""
    absent: bool = False
    """If-None-Match: * - there must be no object."""


NO_CONDITION = Condition()
