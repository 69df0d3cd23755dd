"""Multipart uploads: an object made of parts, each a blob of its own. Every function blocks; call it on a thread.

Completing moves no bytes: the object's record lists the parts as its segments, and one commit makes it true.
Limits: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from clary.domain.errors import Invalid, NotFound
from clary.objects import checksums
from clary.objects.errors import DigestMismatch, PartNotFound, PartsOutOfOrder, PartTooSmall
from clary.objects.index import Transaction
from clary.objects.names import successor
from clary.objects.records import (
    ENABLED,
    NO_CONDITION,
    Attributes,
    Checksum,
    Condition,
    ObjectRecord,
    PartRecord,
    Segment,
    Upload,
)
from clary.objects.store import ObjectStore, bucket_arn, check_condition, check_key
from clary.objects.writer import Writer

PART_NUMBER_MAX = 10_000
PART_BYTES_MIN = 5 * 1024 * 1024
"""Of every part but the last."""


@dataclass(frozen=True)
class Wanted:
    """One part as a completion names it."""

    number: int
    etag: str
    """Without quotes."""
    checksum: Checksum | None = None
    """None: the client does not repeat it."""


@dataclass(frozen=True)
class UploadListing:
    """One page of uploads in progress, by key, then by age."""

    uploads: tuple[Upload, ...]
    prefixes: tuple[str, ...]
    next_key: str
    next_upload_id: str
    truncated: bool


def create(
    store: ObjectStore,
    bucket: str,
    key: str,
    attributes: Attributes,
    *,
    algorithm: str | None = None,
    kind: str | None = None,
) -> Upload:
    """Begin an upload. `algorithm` None: CRC64NVME over the whole object, as S3 does; `kind` None: its default."""
    check_key(key)
    chosen = checksums.ALGORITHMS[algorithm or checksums.DEFAULT]
    if kind is not None and kind not in chosen.kinds:
        raise Invalid(f"The {kind} checksum type cannot be used with the {chosen.name.lower()} checksum algorithm.")
    now_us = store.clock.now_us()
    upload = Upload(
        upload_id=store.ids.ulid(now_us),
        key=key,
        initiated_us=now_us,
        headers=attributes.headers,
        user=attributes.user,
        storage_class=attributes.storage_class,
        checksum_algorithm=chosen.name,
        checksum_kind=kind or chosen.kinds[0],
        checksum_asked=algorithm is not None,
        tags=attributes.tags,
    )
    store.bucket(bucket)
    with store.index.write() as index:
        if index.bucket(bucket) is None:
            raise NotFound("bucket", bucket, bucket_arn(bucket))
        index.add_upload(bucket, upload)
    return upload


def find(store: ObjectStore, bucket: str, key: str, upload_id: str) -> Upload:
    """The upload in progress; NotFound of kind `bucket` or `upload`."""
    store.bucket(bucket)
    with store.index.read() as index:
        return _upload(index, bucket, key, upload_id)


def put_part(store: ObjectStore, writer: Writer, upload: Upload, number: int) -> PartRecord:
    """Make what was written part `number` of an upload; a part of that number is replaced."""
    if not 1 <= number <= PART_NUMBER_MAX:
        raise Invalid(f"Part number must be an integer between 1 and {PART_NUMBER_MAX}, inclusive")
    part = PartRecord(
        upload_id=upload.upload_id,
        number=number,
        size=writer.size,
        etag=writer.md5.hex(),
        modified_us=store.clock.now_us(),
        blob=writer.blob,
        checksum=writer.checksum(),
    )
    with store.published(writer, part) as index:
        _upload(index, writer.bucket, upload.key, upload.upload_id)
        old = index.part(upload.upload_id, number)
        index.put_part(writer.bucket, part)
    if old is not None:
        store.blobs.remove(writer.bucket, old.blob)
    return part


def parts(store: ObjectStore, upload: Upload, after: int, count_max: int) -> tuple[list[PartRecord], bool]:
    """At most `count_max` parts with numbers above `after`, and whether there are more."""
    found: list[PartRecord] = []
    with store.index.read() as index:
        for part in index.parts(upload.upload_id, after):
            if len(found) == count_max:
                return found, True
            found.append(part)
    return found, False


def complete(
    store: ObjectStore,
    bucket: str,
    upload: Upload,
    wanted: Sequence[Wanted],
    *,
    checksum: Checksum | None = None,
    size: int | None = None,
    condition: Condition = NO_CONDITION,
) -> ObjectRecord:
    """Make the named parts, in order, the object; parts not named are dropped.

    `checksum` and `size` (bytes) are what the client expects of the whole; DigestMismatch and Invalid where not so.
    """
    writer = store.begin(bucket)
    try:
        with store.index.read() as index:
            _upload(index, bucket, upload.key, upload.upload_id)
            uploaded = {part.number: part for part in index.parts(upload.upload_id)}
        chosen = _choose(upload, wanted, uploaded)
        state, modified_us = store.stamp(bucket, upload.key)
        record = _joined(upload, chosen, writer.blob, modified_us, versioned=state.versioning == ENABLED)
        _check_whole(record, checksum, size)
        with store.published(writer, record) as index:
            _upload(index, bucket, upload.key, upload.upload_id)
            unchanged = {part.number: part.blob for part in index.parts(upload.upload_id)}
            for part in chosen:
                if unchanged.get(part.number) != part.blob:
                    raise PartNotFound(upload.upload_id, part.number, part.etag)
            check_condition(index, bucket, upload.key, condition)
            index.remove_upload(upload.upload_id)
            old = index.put_object(bucket, record)
    finally:
        writer.abandon()
    kept = {part.blob for part in chosen}
    for blob in unchanged.values():
        if blob not in kept:
            store.blobs.remove(bucket, blob)
    store.drop(bucket, old)
    return record


def completed(store: ObjectStore, bucket: str, key: str, upload_id: str) -> ObjectRecord | None:
    """The object that this upload became, if it still is: a client may repeat a completion whose answer was lost."""
    with store.index.read() as index:
        record = index.object(bucket, key)
    return record if record is not None and record.upload_id == upload_id else None


def abort(store: ObjectStore, bucket: str, key: str, upload_id: str) -> None:
    """Forget an upload and its parts; NotFound."""
    store.bucket(bucket)

    def forget() -> list[str]:
        with store.index.write() as index:
            _upload(index, bucket, key, upload_id)
            dropped = [part.blob for part in index.parts(upload_id)]
            index.remove_upload(upload_id)
        return dropped

    for blob in store.reserve.deleting(forget):
        store.blobs.remove(bucket, blob)


def uploads(
    store: ObjectStore,
    bucket: str,
    *,
    prefix: str = "",
    delimiter: str = "",
    key_marker: str = "",
    upload_id_marker: str = "",
    count_max: int = 1000,
) -> UploadListing:
    """Uploads in progress above (key_marker, upload_id_marker); without the id, above every upload of that key."""
    store.bucket(bucket)
    wanted, divider, marker = prefix.encode(), delimiter.encode(), key_marker.encode()
    first, after_id = (marker, upload_id_marker or "~") if marker >= wanted and marker else (wanted, "")
    found: list[Upload] = []
    prefixes: list[str] = []
    last_key, last_id = "", ""
    with store.index.read() as index:
        for key, upload in index.uploads(bucket, first, successor(wanted), after_id):
            at = key.find(divider, len(wanted)) if divider else -1
            common = key[: at + len(divider)].decode() if at >= 0 else ""
            if common and (common in prefixes[-1:] or common == key_marker):
                last_key, last_id = upload.key, upload.upload_id
                continue
            if len(found) + len(prefixes) == count_max:
                return UploadListing(tuple(found), tuple(prefixes), last_key, last_id, truncated=True)
            last_key, last_id = upload.key, upload.upload_id
            if common:
                prefixes.append(common)
            else:
                found.append(upload)
    return UploadListing(tuple(found), tuple(prefixes), last_key, last_id, truncated=False)


def _upload(index: Transaction, bucket: str, key: str, upload_id: str) -> Upload:
    upload = index.upload(bucket, key, upload_id)
    if upload is None:
        raise NotFound("upload", upload_id, f"{bucket_arn(bucket)}/{key}")
    return upload


def _choose(upload: Upload, wanted: Sequence[Wanted], uploaded: dict[int, PartRecord]) -> list[PartRecord]:
    """The uploaded parts that a completion names, checked one by one."""
    if not wanted:
        raise Invalid("a completion names at least one part")
    if any(one.number >= next_one.number for one, next_one in itertools.pairwise(wanted)):
        raise PartsOutOfOrder(upload.upload_id)
    chosen: list[PartRecord] = []
    for one in wanted:
        part = uploaded.get(one.number)
        if part is None or part.etag != one.etag:
            raise PartNotFound(upload.upload_id, one.number, one.etag)
        if one.checksum is not None and part.checksum != one.checksum:
            raise PartNotFound(upload.upload_id, one.number, one.etag)
        chosen.append(part)
    for part in chosen[:-1]:
        if part.size < PART_BYTES_MIN:
            raise PartTooSmall(part.number, part.etag, part.size, PART_BYTES_MIN)
    return chosen


def _joined(
    upload: Upload, chosen: Sequence[PartRecord], blob: str, modified_us: int, *, versioned: bool
) -> ObjectRecord:
    md5 = hashlib.md5(b"".join(bytes.fromhex(part.etag) for part in chosen), usedforsecurity=False)
    values = [(part.checksum.value if part.checksum else "", part.size) for part in chosen]
    return ObjectRecord(
        key=upload.key,
        size=sum(part.size for part in chosen),
        etag=f"{md5.hexdigest()}-{len(chosen)}",
        modified_us=modified_us,
        blob=blob,
        headers=upload.headers,
        user=upload.user,
        storage_class=upload.storage_class,
        checksum=checksums.of_parts(upload.checksum_algorithm, upload.checksum_kind, values),
        segments=tuple(
            Segment(part.number, part.blob, part.size, value) for part, (value, _) in zip(chosen, values, strict=True)
        ),
        upload_id=upload.upload_id,
        version=blob if versioned else "",
        tags=upload.tags,
    )


def _check_whole(record: ObjectRecord, checksum: Checksum | None, size: int | None) -> None:
    if size is not None and size != record.size:
        raise Invalid(
            f"The provided 'x-amz-mp-object-size' header value {size} does not match what was computed: {record.size}"
        )
    actual = record.checksum
    if checksum is None or actual is None:
        return
    # A composite value may be given without its number of parts.
    if (checksum.algorithm, checksum.value.split("-")[0]) != (actual.algorithm, actual.value.split("-")[0]):
        raise DigestMismatch(f"x-amz-checksum-{checksum.algorithm.lower()}", checksum.value, actual.value)
