"""Objects: put, get, head, copy, delete, attributes."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from clary.domain.errors import DomainError
from clary.edge.aws.operation import Answer, Call, Members
from clary.edge.aws.s3 import describe
from clary.edge.aws.s3.body import Body
from clary.edge.aws.s3.errors import S3Error, from_domain
from clary.edge.aws.s3.ranges import Span, check_read, check_source, part_span, span_of
from clary.edge.aws.s3.service import Service
from clary.edge.aws.s3.stream import BLOCK_BYTES, ObjectStream
from clary.objects import checksums
from clary.objects.reader import Reader
from clary.objects.records import COMPOSITE, Attributes, Condition, ObjectRecord
from clary.objects.writer import Writer

_DELETES_MAX = 1000
_REPLACED = {
    "ResponseCacheControl": "CacheControl",
    "ResponseContentDisposition": "ContentDisposition",
    "ResponseContentEncoding": "ContentEncoding",
    "ResponseContentLanguage": "ContentLanguage",
    "ResponseContentType": "ContentType",
    "ResponseExpires": "Expires",
}


async def put_object(s3: Service, call: Call, members: Members) -> Answer:
    body: Body = members["Body"]
    attributes = describe.attributes(members)
    condition = describe.write_condition(members)
    claims = body.claims(s3.options.object_bytes_max)
    writer = await s3.run(_begin, s3, call, members, condition, claims.algorithm)
    try:
        await body.stream_into(writer, claims)
        record = await s3.run(s3.store.commit, writer, members["Key"], attributes, condition)
    except BaseException:
        writer.abandon()
        raise
    return Answer(written_members(record))


def _begin(s3: Service, call: Call, members: Members, condition: Condition, algorithm: str | None) -> Writer:
    s3.enter(call, members)
    s3.store.check(members["Bucket"], members["Key"], condition)
    return s3.store.begin(members["Bucket"], algorithm or checksums.DEFAULT)


def written_members(record: ObjectRecord) -> dict[str, Any]:
    """What a write answers of the object it made."""
    return {
        "ETag": f'"{record.etag}"',
        **describe.checksum_members(record.checksum),
        **describe.encryption_members(record),
    }


async def get_object(s3: Service, call: Call, members: Members) -> Answer:
    reader, span, first = await s3.run(_open, s3, call, members)
    answer = _read_members(reader.record, span, members)
    stream = ObjectStream(s3.threads, reader, span.start, span.count, first)
    return Answer(answer, status=206 if span.partial else 200, stream=stream)


def _open(s3: Service, call: Call, members: Members) -> tuple[Reader, Span, bytes]:
    """Open the object, decide what of it is sent, and read its first bytes: one hop to a thread for a small one."""
    s3.enter(call, members)
    describe.check_version(members)
    reader = s3.store.read(members["Bucket"], members["Key"])
    try:
        check_read(reader.record, members)
        span = _span(reader.record, members)
        return reader, span, reader.read_at(span.start, min(BLOCK_BYTES, span.count))
    except BaseException:
        reader.close()
        raise


async def head_object(s3: Service, call: Call, members: Members) -> Answer:
    record = await s3.run(_head, s3, call, members)
    check_read(record, members)
    span = _span(record, members)
    return Answer(_read_members(record, span, members), status=206 if span.partial else 200)


def _head(s3: Service, call: Call, members: Members) -> ObjectRecord:
    s3.enter(call, members)
    describe.check_version(members)
    return s3.store.head(members["Bucket"], members["Key"])


def _span(record: ObjectRecord, members: Members) -> Span:
    number = members.get("PartNumber")
    if number is None:
        return span_of(members.get("Range"), record.size)
    if "Range" in members:
        raise S3Error("InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
    return part_span(record, number)


def _read_members(record: ObjectRecord, span: Span, members: Members) -> dict[str, Any]:
    answer = describe.record_members(record)
    answer["ContentLength"] = span.count
    if span.partial:
        answer["ContentRange"] = span.content_range(record.size)
    number = members.get("PartNumber")
    if number is not None and record.segments:
        answer["PartsCount"] = len(record.segments)
    if members.get("ChecksumMode", "").upper() == "ENABLED" and record.checksum is not None:
        if not span.partial or span.count == record.size:
            answer.update(describe.checksum_members(record.checksum))
        elif number is not None and record.checksum.kind == COMPOSITE:
            answer[f"Checksum{record.checksum.algorithm}"] = record.segments[number - 1].checksum
            answer["ChecksumType"] = COMPOSITE
    for replacing, replaced in _REPLACED.items():
        if replacing in members:
            answer[replaced] = members[replacing]
    return answer


async def delete_object(s3: Service, call: Call, members: Members) -> Answer:
    describe.check_version(members)
    condition = describe.write_condition(members)
    await s3.run(s3.enter, call, members)
    await s3.run(s3.store.delete, members["Bucket"], members["Key"], condition)
    return Answer({})


async def delete_objects(s3: Service, call: Call, members: Members) -> Answer:
    wanted = members.get("Delete", {})
    targets = wanted.get("Objects", [])
    if not targets or len(targets) > _DELETES_MAX or any(not target.get("Key") for target in targets):
        raise S3Error("MalformedXML")
    await s3.run(s3.enter, call, members)
    deleted, errors = await s3.run(_delete_each, s3, members["Bucket"], targets)
    return Answer({"Deleted": [] if wanted.get("Quiet") else deleted, "Errors": errors})


def _delete_each(s3: Service, bucket: str, targets: list[dict[str, Any]]) -> tuple[list[Any], list[Any]]:
    """Unconditional deletes in one transaction, the others each by itself."""
    deleted: list[dict[str, str]] = []
    errors: list[dict[str, str]] = []
    plain: list[str] = []
    for target in targets:
        try:
            describe.check_version(target)
            if "ETag" in target:
                s3.store.delete(bucket, target["Key"], Condition(describe.unquoted(target["ETag"])))
            else:
                plain.append(target["Key"])
            deleted.append({"Key": target["Key"]})
        except DomainError as error:
            refused = from_domain(error)
            errors.append({"Key": target["Key"], "Code": refused.code, "Message": refused.message})
        except S3Error as refused:
            errors.append({"Key": target["Key"], "Code": refused.code, "Message": refused.message})
    s3.store.delete_many(bucket, plain)
    return deleted, errors


async def copy_object(s3: Service, call: Call, members: Members) -> Answer:
    record = await s3.run(_copy, s3, call, members)
    result = {
        "ETag": f'"{record.etag}"',
        "LastModified": describe.instant(record.modified_us),
        **describe.checksum_members(record.checksum),
    }
    return Answer({"CopyObjectResult": result, **describe.encryption_members(record)})


def _copy(s3: Service, call: Call, members: Members) -> ObjectRecord:
    s3.enter(call, members)
    condition = describe.write_condition(members)
    reader = open_source(s3, call, members)
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
            return s3.store.commit(writer, members["Key"], attributes, condition)
        finally:
            writer.abandon()
    finally:
        reader.close()


def open_source(s3: Service, call: Call, members: Members) -> Reader:
    """Open the source of a copy, if its conditions hold and it is not too long for one copy; blocking."""
    bucket, key = _source(members["CopySource"])
    s3.bucket(call, bucket, members.get("ExpectedSourceBucketOwner"))
    reader = s3.store.read(bucket, key)
    try:
        check_source(reader.record, members)
        _check_source_size(s3, reader.record, members)
    except BaseException:
        reader.close()
        raise
    return reader


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


def _source(text: str) -> tuple[str, str]:
    """Bucket and key of x-amz-copy-source: `[/]bucket/key[?versionId=null]`, percent-encoded."""
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
    describe.check_version({"Key": key, "VersionId": version if name == "versionId" else None})
    return bucket, key


def _copied_attributes(source: ObjectRecord, members: Members) -> Attributes:
    """With the directive COPY the source's headers and metadata, but storage class and encryption of the request."""
    directive = members.get("MetadataDirective", "COPY")
    if directive not in ("COPY", "REPLACE"):
        raise S3Error("InvalidArgument", "Unknown metadata directive.", ArgumentName="x-amz-metadata-directive")
    asked = describe.attributes(members)
    if directive == "REPLACE":
        return asked
    changes = {name: value for name, value in asked.headers.items() if name.startswith("x-amz-")}
    same_class = asked.storage_class == source.storage_class
    if _source(members["CopySource"]) == (members["Bucket"], members["Key"]) and not changes and same_class:
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing the "
            "object's metadata, storage class, website redirect location or encryption attributes.",
        )
    kept = {name: value for name, value in source.headers.items() if not name.startswith("x-amz-")}
    return msgspec.structs.replace(asked, headers={**kept, **changes}, user=source.user)


async def get_object_attributes(s3: Service, call: Call, members: Members) -> Answer:
    record = await s3.run(_head, s3, call, members)
    wanted = set(members.get("ObjectAttributes", ()))
    unknown = wanted - {"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"}
    if unknown or not wanted:
        raise S3Error("InvalidArgument", "Invalid attribute name specified.", ArgumentName="x-amz-object-attributes")
    checksum = describe.checksum_members(record.checksum)
    answer = {
        "ETag": record.etag,
        "Checksum": {name: value.split("-")[0] for name, value in checksum.items()},
        "ObjectParts": _parts(s3, record, members),
        "StorageClass": record.storage_class,
        "ObjectSize": record.size,
    }
    shown = {name: value for name, value in answer.items() if name in wanted and value}
    if "ObjectSize" in wanted:
        shown["ObjectSize"] = record.size
    return Answer({"LastModified": describe.instant(record.modified_us), **shown})


def _parts(s3: Service, record: ObjectRecord, members: Members) -> dict[str, Any]:
    if not record.segments:
        return {}
    after = members.get("PartNumberMarker", 0)
    count_max = s3.page_size(members.get("MaxParts"), "max-parts")
    left = [segment for segment in record.segments if segment.number > after]
    page = left[:count_max]
    answer: dict[str, Any] = {
        "TotalPartsCount": len(record.segments),
        "PartNumberMarker": after,
        "NextPartNumberMarker": page[-1].number if page else after,
        "MaxParts": count_max,
        "IsTruncated": len(left) > count_max,
    }
    # S3 lists the parts only of objects that were uploaded with checksums of their parts.
    if record.checksum is not None and record.checksum.kind == COMPOSITE:
        name = f"Checksum{record.checksum.algorithm}"
        answer["Parts"] = [{"PartNumber": part.number, "Size": part.size, name: part.checksum} for part in page]
    return answer
