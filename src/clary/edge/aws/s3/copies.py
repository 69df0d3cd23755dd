"""Copying objects, and what copies of parts have in common with that."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from clary.edge.aws.operation import Answer, Call, Members
from clary.edge.aws.s3 import describe
from clary.edge.aws.s3.errors import S3Error
from clary.edge.aws.s3.ranges import check_source
from clary.edge.aws.s3.service import Service
from clary.edge.aws.s3.stream import BLOCK_BYTES
from clary.objects import checksums
from clary.objects.errors import IsMarker
from clary.objects.reader import Reader
from clary.objects.records import Attributes, ObjectRecord
from clary.objects.writer import Writer


async def copy_object(s3: Service, call: Call, members: Members) -> Answer:
    record, source = await s3.run(_copy, s3, call, members)
    result = {
        "ETag": f'"{record.etag}"',
        "LastModified": describe.instant(record.modified_us),
        **describe.checksum_members(record.checksum),
    }
    answer: dict[str, Any] = {"CopyObjectResult": result, **describe.encryption_members(record), **source}
    if record.version:
        answer["VersionId"] = record.version
    return Answer(answer)


def _copy(s3: Service, call: Call, members: Members) -> tuple[ObjectRecord, dict[str, str]]:
    """The copy, and which version of the source it is of."""
    s3.enter(call, members)
    condition = describe.write_condition(members)
    reader, version = open_source(s3, call, members)
    try:
        source = reader.record
        attributes = _copied_attributes(source, members)
        algorithm = members.get("ChecksumAlgorithm") or (source.checksum and source.checksum.algorithm)
        if algorithm is not None and algorithm not in checksums.ALGORITHMS:
            raise S3Error("InvalidRequest", "Value for x-amz-checksum-algorithm header is invalid.")
        s3.store.check(members["Bucket"], members["Key"], condition)
        writer = s3.store.begin(members["Bucket"], algorithm or checksums.DEFAULT)
        try:
            copy_bytes(reader, 0, source.size, writer)
            return s3.store.commit(writer, members["Key"], attributes, condition), version
        finally:
            writer.abandon()
    finally:
        reader.close()


def open_source(s3: Service, call: Call, members: Members) -> tuple[Reader, dict[str, str]]:
    """Open the source of a copy, if its conditions hold and it is not too long for one copy; blocking.

    With `CopySourceVersionId`, where its bucket has or had versions.
    """
    bucket, key, version = _source(members["CopySource"])
    state = s3.bucket(call, bucket, members.get("ExpectedSourceBucketOwner"))
    try:
        reader = s3.store.read(bucket, key, version)
    except IsMarker:
        raise S3Error(
            "InvalidRequest",
            "The source of a copy request may not specifically refer to a delete marker by version id.",
        ) from None
    try:
        check_source(reader.record, members)
        _check_source_size(s3, reader.record, members)
    except BaseException:
        reader.close()
        raise
    told = describe.version_members(reader.record, state)
    return reader, {f"CopySource{name}": value for name, value in told.items()}


def _check_source_size(s3: Service, source: ObjectRecord, members: Members) -> None:
    if source.size > s3.options.object_bytes_max and "CopySourceRange" not in members:
        raise S3Error(
            "InvalidRequest",
            "The specified copy source is larger than the maximum allowable size for a copy source: "
            f"{s3.options.object_bytes_max}",
        )


def copy_bytes(reader: Reader, start: int, count: int, writer: Writer) -> None:
    """Move `count` bytes from `start` of an object into a writer; blocking."""
    end = start + count
    while start < end:
        data = reader.read_at(start, min(BLOCK_BYTES, end - start))
        writer.write(data)
        start += len(data)


def _source(text: str) -> tuple[str, str, str | None]:
    """Bucket, key and version of x-amz-copy-source: `[/]bucket/key[?versionId=ID]`, percent-encoded."""
    path, _, query = text.partition("?")
    try:
        decoded = unquote_to_bytes(path).decode("utf-8").removeprefix("/")
    except UnicodeDecodeError:
        decoded = ""
    if decoded.startswith("arn:"):
        raise S3Error("NotImplemented", "Access points are not served by Clary.", Header="x-amz-copy-source")
    bucket, _, key = decoded.partition("/")
    if not bucket or not key:
        raise S3Error(
            "InvalidArgument",
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
            ArgumentName="x-amz-copy-source",
            ArgumentValue=text,
        )
    name, _, version = query.partition("=")
    return bucket, key, describe.version_of({"VersionId": version} if name == "versionId" else {})


def _copied_attributes(source: ObjectRecord, members: Members) -> Attributes:
    """With the directive COPY the source's headers and metadata, but storage class and encryption of the request."""
    directive = members.get("MetadataDirective", "COPY")
    if directive not in ("COPY", "REPLACE"):
        raise S3Error("InvalidArgument", "Unknown metadata directive.", ArgumentName="x-amz-metadata-directive")
    asked = describe.attributes(members)
    tagging = members.get("TaggingDirective", "COPY")
    if tagging not in ("COPY", "REPLACE"):
        raise S3Error("InvalidArgument", "Unknown tagging directive.", ArgumentName="x-amz-tagging-directive")
    if tagging == "COPY" and asked.tags:
        raise S3Error(
            "InvalidArgument",
            "x-amz-tagging on a copy takes x-amz-tagging-directive: REPLACE.",
            ArgumentName="x-amz-tagging-directive",
        )
    if tagging == "COPY":
        asked = msgspec.structs.replace(asked, tags=source.tags)
    if directive == "REPLACE":
        return asked
    changes = {name: value for name, value in asked.headers.items() if name.startswith("x-amz-")}
    same = asked.storage_class == source.storage_class and asked.tags == source.tags
    # Naming the version makes it a restoration, which S3 allows.
    if _source(members["CopySource"]) == (members["Bucket"], members["Key"], None) and not changes and same:
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing the "
            "object's metadata, storage class, website redirect location or encryption attributes.",
        )
    kept = {name: value for name, value in source.headers.items() if not name.startswith("x-amz-")}
    return msgspec.structs.replace(asked, headers={**kept, **changes}, user=source.user)
