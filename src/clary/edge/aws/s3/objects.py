"""Objects: put, get, head, attributes."""

from __future__ import annotations

from typing import Any

from clary.edge.aws.operation import Answer, Call, Members
from clary.edge.aws.s3 import describe
from clary.edge.aws.s3.body import Body
from clary.edge.aws.s3.errors import S3Error
from clary.edge.aws.s3.ranges import Span, check_read, part_span, span_of
from clary.edge.aws.s3.service import Service
from clary.edge.aws.s3.stream import BLOCK_BYTES, ObjectStream
from clary.objects import checksums
from clary.objects.reader import Reader
from clary.objects.records import COMPOSITE, Bucket, Condition, ObjectRecord
from clary.objects.writer import Writer

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
        **({"VersionId": record.version} if record.version else {}),
    }


async def get_object(s3: Service, call: Call, members: Members) -> Answer:
    bucket, reader, span, first = await s3.run(_open, s3, call, members)
    answer = _read_members(reader.record, span, members, bucket)
    stream = ObjectStream(s3.threads, reader, span.start, span.count, first)
    return Answer(answer, status=206 if span.partial else 200, stream=stream)


def _open(s3: Service, call: Call, members: Members) -> tuple[Bucket, Reader, Span, bytes]:
    """Open the object, decide what of it is sent, and read its first bytes: one hop to a thread for a small one."""
    bucket = s3.enter(call, members)
    reader = s3.store.read(members["Bucket"], members["Key"], describe.version_of(members))
    try:
        check_read(reader.record, members)
        span = _span(reader.record, members)
        return bucket, reader, span, reader.read_at(span.start, min(BLOCK_BYTES, span.count))
    except BaseException:
        reader.close()
        raise


async def head_object(s3: Service, call: Call, members: Members) -> Answer:
    bucket, record = await s3.run(_head, s3, call, members)
    check_read(record, members)
    span = _span(record, members)
    return Answer(_read_members(record, span, members, bucket), status=206 if span.partial else 200)


def _head(s3: Service, call: Call, members: Members) -> tuple[Bucket, ObjectRecord]:
    bucket = s3.enter(call, members)
    return bucket, s3.store.head(members["Bucket"], members["Key"], describe.version_of(members))


def _span(record: ObjectRecord, members: Members) -> Span:
    number = members.get("PartNumber")
    if number is None:
        return span_of(members.get("Range"), record.size)
    if "Range" in members:
        raise S3Error("InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
    return part_span(record, number)


def _read_members(record: ObjectRecord, span: Span, members: Members, bucket: Bucket) -> dict[str, Any]:
    answer = {**describe.record_members(record), **describe.version_members(record, bucket)}
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


async def get_object_attributes(s3: Service, call: Call, members: Members) -> Answer:
    bucket, record = await s3.run(_head, s3, call, members)
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
    modified = describe.instant(record.modified_us)
    return Answer({"LastModified": modified, **shown, **describe.version_members(record, bucket)})


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
