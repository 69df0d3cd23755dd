"""Versions, delete markers and tags through unmodified boto3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.s3 import S3Server, refused, serve_s3


@pytest.fixture
def versioned(s3: Any, bucket: str) -> str:
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return bucket


def put(s3: Any, bucket: str, key: str, body: bytes, **more: Any) -> str | None:
    return s3.put_object(Bucket=bucket, Key=key, Body=body, **more).get("VersionId")  # type: ignore[no-any-return]


def body(s3: Any, bucket: str, key: str, version: str | None = None) -> bytes:
    named = {"VersionId": version} if version else {}
    return s3.get_object(Bucket=bucket, Key=key, **named)["Body"].read()  # type: ignore[no-any-return]


def listed(page: dict[str, Any]) -> list[tuple[str, str, bool, bool]]:
    """Key, version, whether it is the latest, whether it is a marker; in the order of keys and ages."""
    found = [(one, False) for one in page.get("Versions", ())] + [(one, True) for one in page.get("DeleteMarkers", ())]
    return [(one["Key"], one["VersionId"], one["IsLatest"], marker) for one, marker in found]


def test_the_life_of_versions(s3: Any, versioned: str) -> None:
    first, second = put(s3, versioned, "k", b"1"), put(s3, versioned, "k", b"2")
    assert None not in (first, second)
    assert first != second
    assert body(s3, versioned, "k") == b"2"
    assert body(s3, versioned, "k", first) == b"1"
    assert s3.head_object(Bucket=versioned, Key="k")["VersionId"] == second

    marker = s3.delete_object(Bucket=versioned, Key="k")
    assert marker["DeleteMarker"] is True
    with refused("NoSuchKey", 404) as answer:
        s3.get_object(Bucket=versioned, Key="k")
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert (headers["x-amz-delete-marker"], headers["x-amz-version-id"]) == ("true", marker["VersionId"])
    with refused("MethodNotAllowed", 405) as answer:
        s3.get_object(Bucket=versioned, Key="k", VersionId=marker["VersionId"])
    assert answer["ResponseMetadata"]["HTTPHeaders"]["allow"] == "DELETE"
    assert s3.list_objects_v2(Bucket=versioned)["KeyCount"] == 0
    assert body(s3, versioned, "k", second) == b"2"
    assert listed(s3.list_object_versions(Bucket=versioned)) == [
        ("k", second, False, False), ("k", first, False, False), ("k", marker["VersionId"], True, True)
    ]  # fmt: skip
    with refused("BucketNotEmpty", 409):
        s3.delete_bucket(Bucket=versioned)

    # Removing the marker brings the key back; removing the newest version, the one before it.
    gone = s3.delete_object(Bucket=versioned, Key="k", VersionId=marker["VersionId"])
    assert (gone["DeleteMarker"], gone["VersionId"]) == (True, marker["VersionId"])
    assert body(s3, versioned, "k") == b"2"
    gone = s3.delete_object(Bucket=versioned, Key="k", VersionId=second)
    assert "DeleteMarker" not in gone
    assert body(s3, versioned, "k") == b"1"
    s3.delete_object(Bucket=versioned, Key="k", VersionId=first)
    s3.delete_object(Bucket=versioned, Key="k", VersionId=first)
    s3.delete_bucket(Bucket=versioned)


def test_versions_that_are_not_there(s3: Any, versioned: str) -> None:
    put(s3, versioned, "k", b"")
    with refused("NoSuchVersion", 404):
        s3.get_object(Bucket=versioned, Key="k", VersionId="null")
    with refused("NoSuchVersion", 404):
        s3.get_object(Bucket=versioned, Key="k", VersionId="01HF7YAT00MGF9KX92V4NMZBJE")
    with refused("404", 404):
        s3.head_object(Bucket=versioned, Key="k", VersionId="none")
    with refused("InvalidArgument", 400):
        s3.get_object(Bucket=versioned, Key="k", VersionId="")


def test_suspended(s3: Any, bucket: str) -> None:
    assert put(s3, bucket, "k", b"before") is None
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    second = put(s3, bucket, "k", b"second")
    assert body(s3, bucket, "k", "null") == b"before"
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Suspended"
    assert put(s3, bucket, "k", b"third") is None
    assert s3.head_object(Bucket=bucket, Key="k")["VersionId"] == "null"
    assert listed(s3.list_object_versions(Bucket=bucket)) == [
        ("k", "null", True, False), ("k", second, False, False)
    ]  # fmt: skip
    # The null version becomes the marker.
    marker = s3.delete_object(Bucket=bucket, Key="k")
    assert (marker["DeleteMarker"], marker["VersionId"]) == (True, "null")
    assert listed(s3.list_object_versions(Bucket=bucket)) == [("k", second, False, False), ("k", "null", True, True)]
    s3.delete_object(Bucket=bucket, Key="k", VersionId="null")
    assert body(s3, bucket, "k") == b"second"


def test_deleting_many_versions(s3: Any, versioned: str) -> None:
    first = put(s3, versioned, "a", b"1")
    answer = s3.delete_objects(Bucket=versioned, Delete={"Objects": [{"Key": "a"}, {"Key": "never"}]})
    assert all(one["DeleteMarker"] for one in answer["Deleted"])
    markers = [(one["Key"], one["DeleteMarkerVersionId"]) for one in answer["Deleted"]]
    wanted = [{"Key": key, "VersionId": version} for key, version in [*markers, ("a", first)]]
    answer = s3.delete_objects(Bucket=versioned, Delete={"Objects": wanted})
    assert [one["VersionId"] for one in answer["Deleted"]] == [one["VersionId"] for one in wanted]
    assert listed(s3.list_object_versions(Bucket=versioned)) == []


def test_conditions_look_at_what_is_shown(s3: Any, versioned: str) -> None:
    etag = s3.put_object(Bucket=versioned, Key="k", Body=b"1")["ETag"]
    with refused("PreconditionFailed", 412):
        put(s3, versioned, "k", b"2", IfNoneMatch="*")
    s3.delete_object(Bucket=versioned, Key="k")
    assert put(s3, versioned, "k", b"2", IfNoneMatch="*")
    with refused("PreconditionFailed", 412):
        s3.delete_object(Bucket=versioned, Key="k", IfMatch=etag)


def test_copies_of_versions(s3: Any, versioned: str) -> None:
    first = put(s3, versioned, "k", b"1")
    put(s3, versioned, "k", b"2")
    source = {"Bucket": versioned, "Key": "k", "VersionId": first}
    copied = s3.copy_object(Bucket=versioned, Key="k", CopySource=source)
    assert copied["CopySourceVersionId"] == first
    assert body(s3, versioned, "k", copied["VersionId"]) == body(s3, versioned, "k") == b"1"
    upload = s3.create_multipart_upload(Bucket=versioned, Key="parts")["UploadId"]
    named = {"Bucket": versioned, "Key": "parts", "UploadId": upload}
    part = s3.upload_part_copy(**named, PartNumber=1, CopySource=source)
    assert part["CopySourceVersionId"] == first
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]}
    done = s3.complete_multipart_upload(**named, MultipartUpload=parts)
    assert s3.head_object(Bucket=versioned, Key="parts")["VersionId"] == done["VersionId"]
    marker = s3.delete_object(Bucket=versioned, Key="k")["VersionId"]
    with refused("NoSuchKey", 404):
        s3.copy_object(Bucket=versioned, Key="x", CopySource={"Bucket": versioned, "Key": "k"})
    with refused("InvalidRequest", 400):
        s3.copy_object(Bucket=versioned, Key="x", CopySource={"Bucket": versioned, "Key": "k", "VersionId": marker})


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_pages_of_versions(s3: Any, server: S3Server, size: int) -> None:
    bucket = f"pages-of-versions-{size}"
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    expected = []
    for key in ("a", "b/1", "b/2", "c d", "e/x"):
        kept = [put(s3, bucket, key, b"1"), put(s3, bucket, key, b"2")]
        if key in ("a", "b/2"):
            kept.append(s3.delete_object(Bucket=bucket, Key=key)["VersionId"])
        expected += [(key, version) for version in reversed(kept)]
    pager = s3.get_paginator("list_object_versions")
    pages = list(pager.paginate(Bucket=bucket, PaginationConfig={"PageSize": size}))
    found = [(key, version) for page in pages for key, version, _, _ in listed(page)]
    assert sorted(found) == sorted(expected)
    assert len(found) == len(set(found))
    if size == 1:
        assert found == expected, "keys in order, newest first"
    rolled = list(pager.paginate(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": size}))
    assert [one["Prefix"] for page in rolled for one in page.get("CommonPrefixes", ())] == ["b/", "e/"]
    assert len([one for page in rolled for one in listed(page)]) == 5
    below = s3.list_object_versions(Bucket=bucket, Prefix="b/", KeyMarker="b/1")
    assert {key for key, *_ in listed(below)} == {"b/2"}
    with refused("InvalidArgument", 400):
        s3.list_object_versions(Bucket=bucket, VersionIdMarker="x")


def test_what_versioning_does_not_serve(s3: Any, bucket: str) -> None:
    with refused("NotImplemented", 501):
        s3.put_bucket_versioning(
            Bucket=bucket, VersioningConfiguration={"Status": "Enabled", "MFADelete": "Enabled"}, MFA="a 1"
        )
    with refused("NotImplemented", 501):
        s3.put_bucket_versioning(
            Bucket=bucket, VersioningConfiguration={"Status": "Enabled", "MFADelete": "Enabled"}
        )  # fmt: skip
    with refused("IllegalVersioningConfigurationException", 400):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={})


# -- tags --------------------------------------------------------------------------------------------------------------


def tags(s3: Any, bucket: str, key: str, **more: Any) -> dict[str, str]:
    found = s3.get_object_tagging(Bucket=bucket, Key=key, **more)["TagSet"]
    return {tag["Key"]: tag["Value"] for tag in found}


def test_object_tags(s3: Any, bucket: str) -> None:
    put(s3, bucket, "k", b"v", Tagging="team=growth&stage=a%20b")
    modified = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    assert tags(s3, bucket, "k") == {"team": "growth", "stage": "a b"}
    assert s3.get_object(Bucket=bucket, Key="k")["TagCount"] == 2
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "x", "Value": ""}]})
    assert tags(s3, bucket, "k") == {"x": ""}
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "x", "Value": "2"}]})
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "k"})
    assert tags(s3, bucket, "copy") == {"x": "2"}
    s3.copy_object(
        Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "k"}, TaggingDirective="REPLACE", Tagging="y=3"
    )
    assert tags(s3, bucket, "copy") == {"y": "3"}
    with refused("InvalidArgument", 400):
        s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "k"}, Tagging="y=3")
    s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert tags(s3, bucket, "k") == {}
    assert s3.head_object(Bucket=bucket, Key="k")["LastModified"] == modified
    with refused("NoSuchKey", 404):
        s3.get_object_tagging(Bucket=bucket, Key="none")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m", Tagging="a=b")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="m", UploadId=upload, PartNumber=1, Body=b"v")
    s3.complete_multipart_upload(
        Bucket=bucket, Key="m", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    )
    assert tags(s3, bucket, "m") == {"a": "b"}


def test_each_version_has_its_tags(s3: Any, versioned: str) -> None:
    first, second = put(s3, versioned, "k", b"1", Tagging="n=1"), put(s3, versioned, "k", b"2")
    s3.put_object_tagging(
        Bucket=versioned, Key="k", VersionId=first, Tagging={"TagSet": [{"Key": "n", "Value": "one"}]}
    )
    assert tags(s3, versioned, "k", VersionId=first) == {"n": "one"}
    assert tags(s3, versioned, "k") == {}
    assert s3.get_object_tagging(Bucket=versioned, Key="k")["VersionId"] == second
    assert body(s3, versioned, "k") == b"2", "tags change nothing of which version is newest"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ([("a", "1"), ("a", "2")], "InvalidTag"),
        ([("aws:a", "1")], "InvalidTag"),
        ([("k" * 129, "1")], "InvalidTag"),
        ([("k", "v" * 257)], "InvalidTag"),
        ([("k<", "v")], "InvalidTag"),
        ([(f"k{number}", "") for number in range(11)], "BadRequest"),
    ],
)
def test_tags_that_s3_refuses(s3: Any, bucket: str, given: list[tuple[str, str]], code: str) -> None:
    put(s3, bucket, "k", b"")
    with refused(code, 400):
        s3.put_object_tagging(
            Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": key, "Value": value} for key, value in given]}
        )
    assert tags(s3, bucket, "k") == {}


def test_bucket_tags(s3: Any, bucket: str) -> None:
    with refused("NoSuchTagSet", 404):
        s3.get_bucket_tagging(Bucket=bucket)
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "team", "Value": "growth"}]})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "team", "Value": "growth"}]
    s3.delete_bucket_tagging(Bucket=bucket)
    with refused("NoSuchTagSet", 404):
        s3.get_bucket_tagging(Bucket=bucket)
    s3.create_bucket(
        Bucket=f"{bucket}-t", CreateBucketConfiguration={"Tags": [{"Key": "a", "Value": "b"}]}
    )  # fmt: skip
    assert s3.get_bucket_tagging(Bucket=f"{bucket}-t")["TagSet"] == [{"Key": "a", "Value": "b"}]


def test_all_of_it_survives_a_restart_and_the_loss_of_the_index(tmp_path: Path) -> None:
    with serve_s3(tmp_path) as server:
        s3 = server.s3
        s3.create_bucket(Bucket="kept")
        put(s3, "kept", "old", b"null", Tagging="a=1")
        s3.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
        put(s3, "kept", "old", b"new")
        s3.put_object_tagging(
            Bucket="kept", Key="old", VersionId="null", Tagging={"TagSet": [{"Key": "a", "Value": "2"}]}
        )  # fmt: skip
        put(s3, "kept", "gone", b"1")
        s3.delete_object(Bucket="kept", Key="gone")
        s3.put_bucket_tagging(Bucket="kept", Tagging={"TagSet": [{"Key": "t", "Value": "v"}]})
        before = listed(s3.list_object_versions(Bucket="kept"))
    for path in (tmp_path / "buckets").glob(".index.db*"):
        path.unlink()
    for _ in range(2):
        with serve_s3(tmp_path) as server:
            s3 = server.s3
            assert listed(s3.list_object_versions(Bucket="kept")) == before
            assert [one["Key"] for one in s3.list_objects_v2(Bucket="kept")["Contents"]] == ["old"]
            assert tags(s3, "kept", "old", VersionId="null") == {"a": "2"}
            assert s3.get_bucket_versioning(Bucket="kept")["Status"] == "Enabled"
            assert s3.get_bucket_tagging(Bucket="kept")["TagSet"] == [{"Key": "t", "Value": "v"}]
            assert (body(s3, "kept", "old"), body(s3, "kept", "old", "null")) == (b"new", b"null")
