"""Objects through unmodified boto3."""

from __future__ import annotations

import errno
import hashlib
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clary.edge.aws.errors import DISK_FULL
from clary.objects import writer
from tests.support.s3 import S3Server, refused

BODY = bytes(range(256)) * 8


def test_an_object_comes_back_with_all_that_was_said_of_it(s3: Any, bucket: str) -> None:
    said = {
        "CacheControl": "max-age=60",
        "ContentDisposition": 'attachment; filename="a.csv"',
        "ContentEncoding": "gzip",
        "ContentLanguage": "de",
        "ContentType": "text/csv",
        "Metadata": {"team": "churn", "run": "7"},
        "StorageClass": "STANDARD_IA",
        "ServerSideEncryption": "aws:kms",
        "SSEKMSKeyId": "arn:aws:kms:us-east-1:123456789012:key/k",
        "BucketKeyEnabled": True,
        "WebsiteRedirectLocation": "/elsewhere",
    }
    put = s3.put_object(Bucket=bucket, Key="models/a b+c/é.bin", Body=BODY, Expires=datetime(2031, 1, 5), **said)
    assert put["ETag"] == f'"{hashlib.md5(BODY).hexdigest()}"'
    assert put["ServerSideEncryption"] == "aws:kms"
    got = s3.get_object(Bucket=bucket, Key="models/a b+c/é.bin")
    assert got["Body"].read() == BODY
    for answer in (got, s3.head_object(Bucket=bucket, Key="models/a b+c/é.bin")):
        assert {name: answer[name] for name in said} == said
        assert answer["ContentLength"] == len(BODY)
        assert answer["ETag"] == put["ETag"]
        assert answer["Expires"] == datetime(2031, 1, 5, tzinfo=UTC)
        assert abs(answer["LastModified"] - datetime.now(UTC)) < timedelta(minutes=1)


def test_bytes_without_a_type_are_binary_octet_stream(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    got = s3.get_object(Bucket=bucket, Key="k")
    assert (got["ContentType"], got["Body"].read()) == ("binary/octet-stream", b"")


@pytest.mark.parametrize(
    "key", ["..", "../../etc/passwd", "/", "//a//", "a/./b", "%2e%2e", "\u0001", "ключ", "x" * 1024]
)
def test_a_key_is_a_name_and_never_a_path(s3: Any, bucket: str, key: str) -> None:
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    s3.delete_object(Bucket=bucket, Key=key)


def test_a_key_has_at_most_1024_bytes(s3: Any, bucket: str) -> None:
    with refused("KeyTooLongError", 400):
        s3.put_object(Bucket=bucket, Key="é" * 513, Body=b"")


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-0", 0, 0), ("bytes=5-", 5, 2047), ("bytes=-7", 2041, 2047), ("bytes=100-99999", 100, 2047)],
)
def test_ranges(s3: Any, bucket: str, asked: str, first: int, last: int) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=BODY)
    got = s3.get_object(Bucket=bucket, Key="k", Range=asked, ChecksumMode="ENABLED")
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert got["ContentRange"] == f"bytes {first}-{last}/2048"
    assert got["Body"].read() == BODY[first : last + 1]
    assert s3.head_object(Bucket=bucket, Key="k", Range=asked)["ContentLength"] == last - first + 1


@pytest.mark.parametrize("asked", ["bytes=7-3", "items=0-1", "bytes=0-1,4-5", "bytes=-"])
def test_a_range_that_s3_does_not_serve_gives_the_whole(s3: Any, bucket: str, asked: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=BODY)
    got = s3.get_object(Bucket=bucket, Key="k", Range=asked)
    assert (got["ResponseMetadata"]["HTTPStatusCode"], got["Body"].read()) == (200, BODY)


@pytest.mark.parametrize("asked", ["bytes=2048-", "bytes=-0"])
def test_a_range_outside_the_object(s3: Any, bucket: str, asked: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=BODY)
    with refused("InvalidRange", 416) as answer:
        s3.get_object(Bucket=bucket, Key="k", Range=asked)
    assert answer["Error"]["ActualObjectSize"] == "2048"
    assert answer["ResponseMetadata"]["HTTPHeaders"]["content-range"] == "bytes */2048"


def test_conditional_reads(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=BODY)["ETag"]
    now = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    hour = timedelta(hours=1)
    read = {"Bucket": bucket, "Key": "k"}
    assert s3.get_object(**read, IfMatch=etag, IfUnmodifiedSince=now - hour)["Body"].read() == BODY
    assert s3.get_object(**read, IfNoneMatch='"other"', IfModifiedSince=now + hour)["Body"].read() == BODY
    with refused("PreconditionFailed", 412):
        s3.get_object(**read, IfMatch='"other"')
    with refused("PreconditionFailed", 412):
        s3.get_object(**read, IfUnmodifiedSince=now - hour)
    with refused("304", 304) as answer:
        s3.get_object(**read, IfNoneMatch=etag)
    assert answer["ResponseMetadata"]["HTTPHeaders"]["etag"] == etag
    with refused("304", 304):
        s3.head_object(**read, IfModifiedSince=now)
    with refused("412", 412):
        s3.head_object(**read, IfMatch='"other"')


def test_conditional_writes(s3: Any, bucket: str) -> None:
    target = {"Bucket": bucket, "Key": "k"}
    with refused("NoSuchKey", 404):
        s3.put_object(**target, Body=b"1", IfMatch="*")
    etag = s3.put_object(**target, Body=b"1", IfNoneMatch="*")["ETag"]
    with refused("PreconditionFailed", 412) as answer:
        s3.put_object(**target, Body=b"2", IfNoneMatch="*")
    assert answer["Error"]["Condition"] == "If-None-Match"
    s3.put_object(**target, Body=b"2", IfMatch=etag)
    with refused("PreconditionFailed", 412):
        s3.put_object(**target, Body=b"3", IfMatch=etag)
    with refused("NotImplemented", 501):
        s3.put_object(**target, Body=b"3", IfNoneMatch=etag)
    with refused("PreconditionFailed", 412):
        s3.delete_object(**target, IfMatch=etag)
    s3.delete_object(**target, IfMatch=f'"{hashlib.md5(b"2").hexdigest()}"')


def test_overrides_of_the_answers_headers(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=BODY)
    got = s3.get_object(
        Bucket=bucket, Key="k", ResponseContentType="text/x", ResponseContentDisposition="inline",
        ResponseExpires=datetime(2031, 1, 5),
    )  # fmt: skip
    assert (got["ContentType"], got["ContentDisposition"], got["Body"].read()) == ("text/x", "inline", BODY)
    assert got["Expires"] == datetime(2031, 1, 5, tzinfo=UTC)
    for unfit in ("a\r\nX-Evil: 1", "дата"):
        with refused("InvalidArgument", 400):
            s3.get_object(Bucket=bucket, Key="k", ResponseContentDisposition=unfit)


def test_copies(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a/ö k", Body=BODY, ContentType="text/csv", Metadata={"x": "1"})
    source = {"Bucket": bucket, "Key": "a/ö k"}
    copied = s3.copy_object(Bucket=bucket, Key="b", CopySource=source)["CopyObjectResult"]
    assert copied["ETag"] == f'"{hashlib.md5(BODY).hexdigest()}"'
    kept = s3.get_object(Bucket=bucket, Key="b")
    assert (kept["ContentType"], kept["Metadata"], kept["Body"].read()) == ("text/csv", {"x": "1"}, BODY)
    s3.copy_object(
        Bucket=bucket, Key="b", CopySource=source, MetadataDirective="REPLACE", Metadata={"y": "2"},
        ChecksumAlgorithm="SHA256",
    )  # fmt: skip
    replaced = s3.head_object(Bucket=bucket, Key="b", ChecksumMode="ENABLED")
    assert (replaced["ContentType"], replaced["Metadata"]) == ("binary/octet-stream", {"y": "2"})
    assert replaced["ChecksumType"] == "FULL_OBJECT"
    assert "ChecksumSHA256" in replaced
    with refused("InvalidRequest", 400):
        s3.copy_object(Bucket=bucket, Key="b", CopySource={"Bucket": bucket, "Key": "b"})
    s3.copy_object(Bucket=bucket, Key="b", CopySource={"Bucket": bucket, "Key": "b"}, StorageClass="GLACIER_IR")
    assert s3.head_object(Bucket=bucket, Key="b")["StorageClass"] == "GLACIER_IR"
    with refused("NoSuchKey", 404):
        s3.copy_object(Bucket=bucket, Key="b", CopySource={"Bucket": bucket, "Key": "none"})
    with refused("PreconditionFailed", 412) as answer:
        s3.copy_object(Bucket=bucket, Key="b", CopySource=source, CopySourceIfNoneMatch=copied["ETag"])
    assert answer["Error"]["Condition"] == "x-amz-copy-source-If-None-Match"
    with refused("InvalidArgument", 400):
        s3.copy_object(Bucket=bucket, Key="b", CopySource="nokey")


def test_deleting(s3: Any, bucket: str) -> None:
    for key in ("a", "b", "c&<>"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert s3.delete_object(Bucket=bucket, Key="a")["ResponseMetadata"]["HTTPStatusCode"] == 204
    s3.delete_object(Bucket=bucket, Key="a")
    answer = s3.delete_objects(
        Bucket=bucket, Delete={"Objects": [{"Key": "b", "ETag": '"other"'}, {"Key": "c&<>"}, {"Key": "never"}]}
    )
    assert [one["Key"] for one in answer["Deleted"]] == ["c&<>", "never"]
    assert [(one["Key"], one["Code"]) for one in answer["Errors"]] == [("b", "PreconditionFailed")]
    quiet = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "b"}], "Quiet": True})
    assert "Deleted" not in quiet
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    with refused("MalformedXML", 400):
        s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": str(n)} for n in range(1001)]})
    with refused("NotImplemented", 501):
        s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "b", "Size": 3}]})


def test_what_is_absent(s3: Any, bucket: str) -> None:
    with refused("NoSuchKey", 404) as answer:
        s3.get_object(Bucket=bucket, Key="none")
    assert answer["Error"]["Key"] == "none"
    assert answer["Error"]["Message"] == "The specified key does not exist."
    assert answer["ResponseMetadata"]["RequestId"]
    assert answer["ResponseMetadata"]["HostId"]
    with refused("404", 404):
        s3.head_object(Bucket=bucket, Key="none")
    with refused("NoSuchBucket", 404):
        s3.get_object(Bucket="no-such-bucket-here", Key="none")
    with refused("NoSuchBucket", 404):
        s3.put_object(Bucket="no-such-bucket-here", Key="none", Body=BODY)
    with refused("NoSuchVersion", 404):
        s3.get_object(Bucket=bucket, Key="none", VersionId="abc")


def test_the_owner_that_the_caller_expects(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"", ExpectedBucketOwner="210987654321")
    with refused("AccessDenied", 403):
        s3.put_object(Bucket=bucket, Key="k", Body=b"", ExpectedBucketOwner="111111111111")
    with refused("AccessDenied", 403):
        s3.list_objects_v2(Bucket=bucket, ExpectedBucketOwner="111111111111")
    with refused("AccessDenied", 403):
        s3.copy_object(
            Bucket=bucket, Key="c", CopySource=f"{bucket}/k", ExpectedSourceBucketOwner="111111111111"
        )  # fmt: skip


@pytest.mark.parametrize("config", [{}, {"signature_version": "s3v4"}], ids=["as-boto3-does", "version-4"])
def test_presigned_urls(server: S3Server, bucket: str, config: dict[str, str]) -> None:
    s3 = server.client(**config)
    name = {"Bucket": bucket, "Key": "dir/x y"}
    url = s3.generate_presigned_url("put_object", {**name, "ContentType": "text/plain", "Metadata": {"a": "b"}})
    assert ("X-Amz-Signature" in url) == bool(config)
    said = {"Content-Type": "text/plain", "x-amz-meta-a": "b"}
    with urllib.request.urlopen(urllib.request.Request(url, b"hello", said, method="PUT")) as answer:
        assert answer.status == 200
    url = s3.generate_presigned_url("get_object", {**name, "ResponseContentType": "text/html"})
    with urllib.request.urlopen(url) as answer:
        assert (answer.read(), answer.headers["Content-Type"]) == (b"hello", "text/html")
        assert answer.headers["x-amz-meta-a"] == "b"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url.replace("text%2Fhtml", "text%2Fcsv"))
    with caught.value:
        assert (caught.value.code, b"<Code>SignatureDoesNotMatch</Code>" in caught.value.read()) == (403, True)


def test_attributes(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=BODY, ChecksumAlgorithm="SHA1")
    got = s3.get_object_attributes(
        Bucket=bucket, Key="k", ObjectAttributes=["ETag", "Checksum", "ObjectSize", "StorageClass", "ObjectParts"]
    )
    assert (got["ETag"], got["ObjectSize"], got["StorageClass"]) == (hashlib.md5(BODY).hexdigest(), 2048, "STANDARD")
    assert got["Checksum"]["ChecksumType"] == "FULL_OBJECT"
    assert "ObjectParts" not in got


@pytest.mark.parametrize(
    ("member", "value", "code"),
    [
        ("Tagging", "a=b&a=c", "InvalidTag"),
        ("Tagging", "=", "InvalidTag"),
        ("ObjectLockMode", "GOVERNANCE", "NotImplemented"),
        ("GrantRead", "id=1", "NotImplemented"),
        ("ACL", "public-read", "AccessControlListNotSupported"),
        ("StorageClass", "WARM", "InvalidStorageClass"),
        ("ServerSideEncryption", "rot13", "InvalidEncryptionAlgorithmError"),
        ("SSEKMSKeyId", "k", "InvalidArgument"),
        ("WriteOffsetBytes", 3, "NotImplemented"),
        ("ContentMD5", "short", "InvalidDigest"),
        ("Metadata", {"k": "v" * 2048}, "MetadataTooLarge"),
    ],
)
def test_what_a_put_may_not_say(s3: Any, bucket: str, member: str, value: Any, code: str) -> None:
    with refused(code):
        s3.put_object(Bucket=bucket, Key="k", Body=b"", **{member: value})
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_reader_is_not_disturbed_by_writers(s3: Any, server: S3Server, bucket: str) -> None:
    size = 24 * 1024 * 1024
    s3.put_object(Bucket=bucket, Key="k", Body=b"1" * size)
    got = s3.get_object(Bucket=bucket, Key="k")
    s3.put_object(Bucket=bucket, Key="k", Body=b"2")
    s3.delete_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == b"1" * size


def test_keys_that_xml_cannot_hold_are_deleted_and_not_told_of(s3: Any, bucket: str) -> None:
    keys = ["\x01", "a\x1fb", "\uffff", "a\rb"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys]})
    assert [one["Key"] for one in answer["Deleted"]] == ["a\rb"]
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    # What stands for such characters within the server must never be taken for one of them.
    s3.put_object(Bucket=bucket, Key="\x01", Body=b"")
    with refused("MalformedXML", 400):
        s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "\U0010ff01"}, {"Key": "\x02"}]})
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "\U0010ff01"}]})
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1


def test_a_full_disk_is_named(s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer, "write_all", full)
    with refused("InternalError", 500) as answer:
        s3.put_object(Bucket=bucket, Key="k", Body=BODY)
    assert answer["Error"]["Message"] == DISK_FULL
    monkeypatch.undo()
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
