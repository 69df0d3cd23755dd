"""Multipart uploads: create, upload and copy parts, complete, abort, list."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from clary.domain.errors import NotFound
from clary.edge.aws.operation import Answer, Call, Members
from clary.edge.aws.s3 import describe
from clary.edge.aws.s3.body import Body, check_value
from clary.edge.aws.s3.copies import copy_bytes, open_source
from clary.edge.aws.s3.errors import S3Error
from clary.edge.aws.s3.ranges import source_span
from clary.edge.aws.s3.service import Service, owner
from clary.objects import multipart
from clary.objects.checksums import ALGORITHMS
from clary.objects.multipart import PART_NUMBER_MAX, Wanted
from clary.objects.records import Checksum, ObjectRecord, PartRecord, Upload
from clary.objects.writer import Writer


async def create_multipart_upload(s3: Service, call: Call, members: Members) -> Answer:
    attributes = describe.attributes(members)
    algorithm, kind = members.get("ChecksumAlgorithm"), members.get("ChecksumType")
    if algorithm is not None and algorithm not in ALGORITHMS:
        raise S3Error("InvalidRequest", "Value for x-amz-checksum-algorithm header is invalid.")
    if algorithm is None and kind is not None:
        raise S3Error(
            "InvalidRequest",
            "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
        )
    await s3.run(s3.enter, call, members)
    upload = await s3.run(
        multipart.create, s3.store, members["Bucket"], members["Key"], attributes, algorithm=algorithm, kind=kind
    )
    answer = {
        "Bucket": members["Bucket"],
        "Key": upload.key,
        "UploadId": upload.upload_id,
        **describe.encryption_members(upload),
    }
    if upload.checksum_asked:
        answer.update(ChecksumAlgorithm=upload.checksum_algorithm, ChecksumType=upload.checksum_kind)
    return Answer(answer)


async def upload_part(s3: Service, call: Call, members: Members) -> Answer:
    body: Body = members["Body"]
    number = _part_number(members)
    claims = body.claims(s3.options.object_bytes_max)
    upload, writer = await s3.run(_begin_part, s3, call, members, claims.algorithm)
    try:
        await body.stream_into(writer, claims)
        part = await s3.run(multipart.put_part, s3.store, writer, upload, number)
    except BaseException:
        writer.abandon()
        raise
    checksum = _part_checksum(part) if upload.checksum_asked else {}
    return Answer({"ETag": f'"{part.etag}"', **checksum, **describe.encryption_members(upload)})


def _begin_part(s3: Service, call: Call, members: Members, algorithm: str | None) -> tuple[Upload, Writer]:
    s3.enter(call, members)
    upload = multipart.find(s3.store, members["Bucket"], members["Key"], members["UploadId"])
    if algorithm not in (None, upload.checksum_algorithm) and upload.checksum_asked:
        raise S3Error(
            "InvalidRequest",
            f"Checksum Type mismatch occurred, expected checksum Type: {upload.checksum_algorithm.lower()}, actual "
            f"checksum Type: {str(algorithm).lower()}",
        )
    # An upload without an algorithm takes parts with any: SDKs add one to parts by themselves. It is verified, and the
    # default one is kept.
    return upload, s3.store.begin(members["Bucket"], upload.checksum_algorithm, algorithm)


async def upload_part_copy(s3: Service, call: Call, members: Members) -> Answer:
    part, upload, source = await s3.run(_copy_part, s3, call, members, _part_number(members))
    result = {
        "ETag": f'"{part.etag}"',
        "LastModified": describe.instant(part.modified_us),
        **(_part_checksum(part) if upload.checksum_asked else {}),
    }
    return Answer({"CopyPartResult": result, **describe.encryption_members(upload), **source})


def _copy_part(s3: Service, call: Call, members: Members, number: int) -> tuple[PartRecord, Upload, dict[str, str]]:
    """The part, its upload, and which version of the source it is of."""
    upload, writer = _begin_part(s3, call, members, None)
    try:
        reader, source = open_source(s3, call, members)
        try:
            span = source_span(members.get("CopySourceRange"), reader.record.size)
            if span.count > s3.options.object_bytes_max:
                raise S3Error("EntityTooLarge", MaxSizeAllowed=str(s3.options.object_bytes_max))
            copy_bytes(reader, span.start, span.count, writer)
        finally:
            reader.close()
        return multipart.put_part(s3.store, writer, upload, number), upload, source
    finally:
        writer.abandon()


async def complete_multipart_upload(s3: Service, call: Call, members: Members) -> Answer:
    record = await s3.run(_complete, s3, call, members)
    checksum = describe.checksum_members(record.checksum)
    return Answer(
        {
            "Location": f"{call.endpoint_url}/{members['Bucket']}/{quote(members['Key'])}",
            "Bucket": members["Bucket"],
            "Key": members["Key"],
            "ETag": f'"{record.etag}"',
            **checksum,
            **describe.encryption_members(record),
            **({"VersionId": record.version} if record.version else {}),
        }
    )


def _complete(s3: Service, call: Call, members: Members) -> ObjectRecord:
    s3.enter(call, members)
    bucket, key, upload_id = members["Bucket"], members["Key"], members["UploadId"]
    try:
        upload = multipart.find(s3.store, bucket, key, upload_id)
    except NotFound:
        done = multipart.completed(s3.store, bucket, key, upload_id)
        if done is None:
            raise
        return done
    kind = members.get("ChecksumType")
    if kind is not None and kind != upload.checksum_kind:
        raise S3Error(
            "InvalidRequest",
            f"The upload was created using the {upload.checksum_kind} checksum mode. The complete request must use the "
            "same checksum mode.",
        )
    return multipart.complete(
        s3.store,
        bucket,
        upload,
        _wanted(members),
        checksum=describe.given_checksum(members),
        size=members.get("MpuObjectSize"),
        condition=describe.write_condition(members),
    )


def _wanted(members: Members) -> list[Wanted]:
    parts = members.get("MultipartUpload", {}).get("Parts", [])
    if not parts or any("PartNumber" not in part or "ETag" not in part for part in parts):
        raise S3Error("MalformedXML")
    if len(parts) > PART_NUMBER_MAX:
        raise S3Error("MalformedXML")
    return [Wanted(part["PartNumber"], describe.unquoted(part["ETag"]), _given(part)) for part in parts]


def _given(part: dict[str, Any]) -> Checksum | None:
    checksum = describe.given_checksum(part)
    if checksum is not None:
        check_value(checksum.algorithm, checksum.value)
    return checksum


async def abort_multipart_upload(s3: Service, call: Call, members: Members) -> Answer:
    await s3.run(s3.enter, call, members)
    await s3.run(multipart.abort, s3.store, members["Bucket"], members["Key"], members["UploadId"])
    return Answer({})


async def list_parts(s3: Service, call: Call, members: Members) -> Answer:
    count_max = s3.page_size(members.get("MaxParts"), "max-parts")
    after = members.get("PartNumberMarker", 0)
    await s3.run(s3.enter, call, members)
    upload = await s3.run(multipart.find, s3.store, members["Bucket"], members["Key"], members["UploadId"])
    found, truncated = await s3.run(multipart.parts, s3.store, upload, after, count_max)
    answer: dict[str, Any] = {
        "Bucket": members["Bucket"],
        "Key": upload.key,
        "UploadId": upload.upload_id,
        "PartNumberMarker": after,
        "NextPartNumberMarker": found[-1].number if found else after,
        "MaxParts": count_max,
        "IsTruncated": truncated,
        "Parts": [_listed(part, upload) for part in found],
        "Initiator": owner(call.principal.account),
        "Owner": owner(call.principal.account),
        "StorageClass": upload.storage_class,
    }
    if upload.checksum_asked:
        answer.update(ChecksumAlgorithm=upload.checksum_algorithm, ChecksumType=upload.checksum_kind)
    return Answer(answer)


async def list_multipart_uploads(s3: Service, call: Call, members: Members) -> Answer:
    count_max = s3.page_size(members.get("MaxUploads"), "max-uploads")
    url = members.get("EncodingType") == "url"
    await s3.run(s3.enter, call, members)
    names = ("Prefix", "Delimiter", "KeyMarker", "UploadIdMarker")
    prefix, delimiter, key_marker, upload_id_marker = (members.get(name, "") for name in names)
    found = multipart.UploadListing((), (), "", "", truncated=False)
    if count_max > 0:
        found = await s3.run(
            multipart.uploads,
            s3.store,
            members["Bucket"],
            prefix=prefix,
            delimiter=delimiter,
            key_marker=key_marker,
            upload_id_marker=upload_id_marker,
            count_max=count_max,
        )

    def text(key: str) -> str:
        return quote(key, safe="/") if url else key

    answer: dict[str, Any] = {
        "Bucket": members["Bucket"],
        "KeyMarker": text(key_marker),
        "UploadIdMarker": upload_id_marker,
        "MaxUploads": count_max,
        "IsTruncated": found.truncated,
        "Uploads": [_entry(upload, text(upload.key), call.principal.account) for upload in found.uploads],
        "CommonPrefixes": [{"Prefix": text(common)} for common in found.prefixes],
        "Prefix": text(prefix),
    }
    if delimiter:
        answer["Delimiter"] = text(delimiter)
    if url:
        answer["EncodingType"] = "url"
    if found.truncated:
        answer.update(NextKeyMarker=text(found.next_key), NextUploadIdMarker=found.next_upload_id)
    return Answer(answer)


def _entry(upload: Upload, key: str, account: str) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "UploadId": upload.upload_id,
        "Key": key,
        "Initiated": describe.instant(upload.initiated_us),
        "StorageClass": upload.storage_class,
        "Owner": owner(account),
        "Initiator": owner(account),
    }
    if upload.checksum_asked:
        entry.update(ChecksumAlgorithm=upload.checksum_algorithm, ChecksumType=upload.checksum_kind)
    return entry


def _listed(part: PartRecord, upload: Upload) -> dict[str, Any]:
    return {
        "PartNumber": part.number,
        "LastModified": describe.instant(part.modified_us),
        "ETag": f'"{part.etag}"',
        "Size": part.size,
        **(_part_checksum(part) if upload.checksum_asked else {}),
    }


def _part_checksum(part: PartRecord) -> dict[str, str]:
    return {f"Checksum{part.checksum.algorithm}": part.checksum.value} if part.checksum is not None else {}


def _part_number(members: Members) -> int:
    number = members.get("PartNumber")
    if not isinstance(number, int) or not 1 <= number <= PART_NUMBER_MAX:
        raise S3Error(
            "InvalidArgument",
            f"Part number must be an integer between 1 and {PART_NUMBER_MAX}, inclusive",
            ArgumentName="partNumber",
            ArgumentValue=str(number),
        )
    return number
