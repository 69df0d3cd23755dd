"""Multipart uploads and checksums through unmodified boto3."""

from __future__ import annotations

import base64
import hashlib
import os
import zlib
from pathlib import Path
from typing import Any

import pytest
from awscrt import checksums as crt
from boto3.s3.transfer import TransferConfig

from tests.support.s3 import S3Server, refused

MIB = 1024 * 1024
PART = 5 * MIB
FIRST, SECOND, LAST = os.urandom(PART), os.urandom(PART), b"the end"
BODY = FIRST + SECOND + LAST


def digest(algorithm: str, data: bytes) -> bytes:
    """Computed by other means than the store's, where there are some."""
    crcs = {"CRC32": (zlib.crc32, 4), "CRC32C": (crt.crc32c, 4), "CRC64NVME": (crt.crc64nvme, 8)}
    if algorithm in crcs:
        function, width = crcs[algorithm]
        return int(function(data)).to_bytes(width, "big")
    return hashlib.new(algorithm.lower(), data).digest()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def upload(s3: Any, bucket: str, key: str = "k", **more: Any) -> tuple[str, list[dict[str, Any]]]:
    """Three parts, uploaded; the last one small."""
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key=key, **more)["UploadId"]
    # boto3 adds a CRC32 to parts by itself, whatever the upload's own algorithm.
    own = {name: value for name, value in more.items() if name == "ChecksumAlgorithm"}
    parts = []
    for number, data in enumerate((FIRST, SECOND, LAST), 1):
        answer = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=data, **own)
        given = {name: value for name, value in answer.items() if name.startswith("Checksum") or name == "ETag"}
        parts.append({"PartNumber": number, **given})
    return upload_id, parts


def complete(s3: Any, bucket: str, upload_id: str, parts: list[dict[str, Any]], key: str = "k", **more: Any) -> Any:
    return s3.complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}, **more
    )


def test_parts_become_the_object(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, ContentType="text/x", Metadata={"a": "b"}, ServerSideEncryption="AES256")
    with refused("404", 404):
        s3.head_object(Bucket=bucket, Key="k")
    listed = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id, MaxParts=2)
    assert [part["Size"] for part in listed["Parts"]] == [PART, PART]
    rest = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id, PartNumberMarker=listed["NextPartNumberMarker"])
    assert ([part["PartNumber"] for part in rest["Parts"]], rest["IsTruncated"]) == ([3], False)
    done = complete(s3, bucket, upload_id, parts)
    md5s = b"".join(hashlib.md5(data).digest() for data in (FIRST, SECOND, LAST))
    assert done["ETag"] == f'"{hashlib.md5(md5s).hexdigest()}-3"'
    got = s3.get_object(Bucket=bucket, Key="k")
    assert (got["ContentType"], got["Metadata"], got["ServerSideEncryption"]) == ("text/x", {"a": "b"}, "AES256")
    assert got["Body"].read() == BODY
    across = f"bytes={PART - 3}-{2 * PART + 2}"
    assert s3.get_object(Bucket=bucket, Key="k", Range=across)["Body"].read() == BODY[PART - 3 : 2 * PART + 3]
    second = s3.get_object(Bucket=bucket, Key="k", PartNumber=2)
    assert (second["PartsCount"], second["ContentLength"], second["Body"].read()) == (3, PART, SECOND)
    with refused("416", 416):
        s3.head_object(Bucket=bucket, Key="k", PartNumber=4)
    assert complete(s3, bucket, upload_id, parts)["ETag"] == done["ETag"], "a completion may be repeated"
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    with refused("NoSuchUpload", 404):
        complete(s3, bucket, upload_id, parts)


def test_parts_are_replaced_and_left_out(s3: Any, bucket: str, server: S3Server) -> None:
    upload_id, parts = upload(s3, bucket)
    replaced = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=2, Body=b"new")
    complete(s3, bucket, upload_id, [parts[0], {"PartNumber": 2, "ETag": replaced["ETag"]}])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == FIRST + b"new"
    assert len(list(server.store.blobs.names(bucket))) == 3, "two parts and the object's own record"


def test_a_completion_is_checked(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket)
    with refused("InvalidPart", 400) as answer:
        complete(s3, bucket, upload_id, [parts[0], {**parts[1], "ETag": '"other"'}])
    assert answer["Error"]["PartNumber"] == "2"
    with refused("InvalidPart", 400):
        complete(s3, bucket, upload_id, [parts[0], {"PartNumber": 7, "ETag": '"x"'}])
    with refused("InvalidPartOrder", 400):
        complete(s3, bucket, upload_id, [parts[1], parts[0]])
    with refused("MalformedXML", 400):
        complete(s3, bucket, upload_id, [])
    with refused("NoSuchUpload", 404):
        complete(s3, bucket, "01ARZ3NDEKTSV4RRFFQ69G5FAV", parts)
    with refused("InvalidRequest", 400):
        complete(s3, bucket, upload_id, parts, MpuObjectSize=5)
    with refused("BadDigest", 400):
        complete(s3, bucket, upload_id, parts, ChecksumCRC32=b64(b"1234"))
    small = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=1, Body=b"small")
    with refused("EntityTooSmall", 400) as answer:
        complete(s3, bucket, upload_id, [{"PartNumber": 1, "ETag": small["ETag"]}, parts[1]])
    assert (answer["Error"]["PartNumber"], answer["Error"]["ProposedSize"]) == ("1", "5")
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    with refused("PreconditionFailed", 412):
        complete(s3, bucket, upload_id, parts[1:], IfNoneMatch="*")
    complete(s3, bucket, upload_id, parts[1:])


def test_aborting(s3: Any, bucket: str, server: S3Server) -> None:
    upload_id, _ = upload(s3, bucket)
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id)
    assert list(server.store.blobs.names(bucket)) == []
    for call in (
        lambda: s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload_id),
        lambda: s3.upload_part(Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=1, Body=b""),
        lambda: s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id),
    ):
        with refused("NoSuchUpload", 404):
            call()


@pytest.mark.parametrize("number", [0, 10_001])
def test_part_numbers(s3: Any, bucket: str, number: int) -> None:
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    with refused("InvalidArgument", 400):
        s3.upload_part(Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=number, Body=b"")


def test_uploads_in_progress(s3: Any, bucket: str) -> None:
    begun = [
        (key, s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"])
        for key in ("a", "b/1", "b/2", "c ü", "c ü")
    ]
    pages = s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2})
    found = [(one["Key"], one["UploadId"]) for page in pages for one in page["Uploads"]]
    assert sorted(found) == sorted(begun)
    assert [key for key, _ in found] == [key for key, _ in begun]
    page = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [one["Prefix"] for one in page["CommonPrefixes"]] == ["b/"]
    assert [one["Key"] for one in page["Uploads"]] == ["a", "c ü", "c ü"]
    page = s3.list_multipart_uploads(Bucket=bucket, Prefix="b/", KeyMarker="b/1")
    assert [one["Key"] for one in page["Uploads"]] == ["b/2"]


def test_parts_copied_from_objects(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="source", Body=BODY)
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="SHA256")["UploadId"]
    source = {"Bucket": bucket, "Key": "k", "UploadId": upload_id, "CopySource": f"{bucket}/source"}
    first = s3.upload_part_copy(**source, PartNumber=1, CopySourceRange=f"bytes=1-{PART}")["CopyPartResult"]
    assert first["ChecksumSHA256"] == b64(hashlib.sha256(BODY[1 : PART + 1]).digest())
    whole = s3.upload_part_copy(**source, PartNumber=2)["CopyPartResult"]
    for unfit in ("bytes=5-", f"bytes=0-{len(BODY)}"):
        with refused("InvalidArgument", 400):
            s3.upload_part_copy(**source, PartNumber=3, CopySourceRange=unfit)
    parts = [{"PartNumber": 1, "ETag": first["ETag"]}, {"PartNumber": 2, "ETag": whole["ETag"]}]
    complete(s3, bucket, upload_id, parts)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == BODY[1 : PART + 1] + BODY


def test_transfers_of_files(s3: Any, bucket: str, tmp_path: Path) -> None:
    source, target = tmp_path / "up", tmp_path / "down"
    source.write_bytes(BODY)
    in_parts = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=4)
    s3.upload_file(str(source), bucket, "k", Config=in_parts, ExtraArgs={"Metadata": {"a": "b"}})
    assert s3.head_object(Bucket=bucket, Key="k")["ETag"].endswith('-3"')
    s3.download_file(bucket, "k", str(target), Config=in_parts)
    assert target.read_bytes() == BODY
    s3.copy({"Bucket": bucket, "Key": "k"}, bucket, "copied", Config=in_parts)
    assert s3.get_object(Bucket=bucket, Key="copied")["Body"].read() == BODY


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256", "SHA512", "MD5"])
def test_checksums_of_one_piece(s3: Any, bucket: str, algorithm: str) -> None:
    """Given as a header, verified, kept, given back."""
    name, expected = f"Checksum{algorithm}", b64(digest(algorithm, BODY[:1000]))
    put = s3.put_object(Bucket=bucket, Key="k", Body=BODY[:1000], **{name: expected})
    assert (put[name], put["ChecksumType"]) == (expected, "FULL_OBJECT")
    assert name not in s3.head_object(Bucket=bucket, Key="k")
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (head[name], head["ChecksumType"]) == (expected, "FULL_OBJECT")
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["ChecksumAlgorithm"] == [algorithm]
    with refused("BadDigest", 400) as answer:
        s3.put_object(Bucket=bucket, Key="bad", Body=BODY[:1000], **{name: b64(digest(algorithm, b"other"))})
    assert algorithm in answer["Error"]["Message"]
    with refused("InvalidRequest", 400):
        s3.put_object(Bucket=bucket, Key="bad", Body=BODY[:1000], **{name: "AAA="})
    assert s3.list_objects_v2(Bucket=bucket, Prefix="bad")["KeyCount"] == 0


@pytest.mark.parametrize("algorithm", ["XXHASH64", "XXHASH3", "XXHASH128"])
def test_checksums_that_boto3_does_not_compute(s3: Any, bucket: str, algorithm: str) -> None:
    whole = {
        "XXHASH64": crt.XXHash.compute_xxhash64,
        "XXHASH3": crt.XXHash.compute_xxhash3_64,
        "XXHASH128": crt.XXHash.compute_xxhash3_128,
    }[algorithm](b"data")
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"data", **{f"Checksum{algorithm}": b64(whole)})
    assert put[f"Checksum{algorithm}"] == b64(whole)


def test_an_object_without_a_checksum_gets_crc64nvme(server: S3Server, bucket: str) -> None:
    s3 = server.client(request_checksum_calculation="when_required")
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    assert put["ChecksumCRC64NVME"] == b64(digest("CRC64NVME", b"data"))


def test_two_checksums_and_a_wrong_md5(s3: Any, bucket: str) -> None:
    with refused("InvalidRequest", 400):
        s3.put_object(
            Bucket=bucket, Key="k", Body=b"d", ChecksumSHA1=b64(digest("SHA1", b"d")), ChecksumCRC32=b64(b"1234")
        )  # fmt: skip
    with refused("BadDigest", 400) as answer:
        s3.put_object(Bucket=bucket, Key="k", Body=b"d", ContentMD5=b64(hashlib.md5(b"e").digest()))
    assert answer["Error"]["Message"] == "The Content-MD5 you specified did not match what we received."
    s3.put_object(Bucket=bucket, Key="k", Body=b"d", ContentMD5=b64(hashlib.md5(b"d").digest()))


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "SHA1", "SHA256"])
def test_composite_checksums(s3: Any, bucket: str, algorithm: str) -> None:
    upload_id, parts = upload(s3, bucket, ChecksumAlgorithm=algorithm)
    name = f"Checksum{algorithm}"
    assert parts[1][name] == b64(digest(algorithm, SECOND))
    with refused("InvalidPart", 400):
        complete(s3, bucket, upload_id, [{**parts[0], name: parts[1][name]}, *parts[1:]])
    done = complete(s3, bucket, upload_id, parts)
    expected = digest(algorithm, b"".join(digest(algorithm, data) for data in (FIRST, SECOND, LAST)))
    assert (done[name], done["ChecksumType"]) == (f"{b64(expected)}-3", "COMPOSITE")
    assert s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")[name] == done[name]
    assert s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["Body"].read() == BODY
    part = s3.get_object(Bucket=bucket, Key="k", PartNumber=3, ChecksumMode="ENABLED")
    assert (part[name], part["Body"].read()) == (b64(digest(algorithm, LAST)), LAST)
    attributes = s3.get_object_attributes(
        Bucket=bucket, Key="k", ObjectAttributes=["ObjectParts", "Checksum"], MaxParts=2
    )
    assert attributes["ObjectParts"]["TotalPartsCount"] == 3
    assert [one[name] for one in attributes["ObjectParts"]["Parts"]] == [part[name] for part in parts[:2]]


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME"])
def test_checksums_of_the_whole_from_its_parts(s3: Any, bucket: str, algorithm: str) -> None:
    upload_id, parts = upload(s3, bucket, ChecksumAlgorithm=algorithm, ChecksumType="FULL_OBJECT")
    name, expected = f"Checksum{algorithm}", b64(digest(algorithm, BODY))
    with refused("InvalidRequest", 400):
        complete(s3, bucket, upload_id, parts, ChecksumType="COMPOSITE")
    done = complete(s3, bucket, upload_id, parts, **{name: expected}, ChecksumType="FULL_OBJECT")
    assert (done[name], done["ChecksumType"]) == (expected, "FULL_OBJECT")
    assert s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["Body"].read() == BODY


def test_kinds_of_checksum_that_do_not_exist(s3: Any, bucket: str) -> None:
    with refused("InvalidRequest", 400):
        s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="SHA256", ChecksumType="FULL_OBJECT")
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="SHA256")["UploadId"]
    with refused("InvalidRequest", 400):
        s3.upload_part(
            Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=1, Body=b"d", ChecksumAlgorithm="CRC32"
        )  # fmt: skip
