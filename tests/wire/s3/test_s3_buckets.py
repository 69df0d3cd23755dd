"""Buckets and listings through unmodified boto3."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.door import REGION
from tests.support.s3 import S3Server, refused


def test_the_life_of_a_bucket(server: S3Server) -> None:
    s3 = server.client(REGION)
    here = {"LocationConstraint": REGION}
    s3.create_bucket(Bucket="life.of-1", CreateBucketConfiguration=here)
    with refused("BucketAlreadyOwnedByYou", 409):
        s3.create_bucket(Bucket="life.of-1", CreateBucketConfiguration=here)
    assert s3.get_bucket_location(Bucket="life.of-1")["LocationConstraint"] == REGION
    assert s3.head_bucket(Bucket="life.of-1")["BucketRegion"] == REGION
    assert server.s3.head_bucket(Bucket="life.of-1")["BucketRegion"] == REGION
    s3.put_object(Bucket="life.of-1", Key="k", Body=b"")
    with refused("BucketNotEmpty", 409):
        s3.delete_bucket(Bucket="life.of-1")
    s3.delete_object(Bucket="life.of-1", Key="k")
    s3.create_multipart_upload(Bucket="life.of-1", Key="k")
    s3.delete_bucket(Bucket="life.of-1")
    with refused("404", 404):
        s3.head_bucket(Bucket="life.of-1")
    with refused("NoSuchBucket", 404):
        s3.delete_bucket(Bucket="life.of-1")


def test_creating_again_at_us_east_1_succeeds(s3: Any, bucket: str) -> None:
    s3.create_bucket(Bucket=bucket)
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None


def test_location_constraints(server: S3Server) -> None:
    abroad = server.client(REGION)
    with refused("IllegalLocationConstraintException", 400):
        abroad.create_bucket(Bucket="nowhere-1")
    with refused("IllegalLocationConstraintException", 400):
        abroad.create_bucket(Bucket="nowhere-1", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    with refused("InvalidLocationConstraint", 400):
        server.s3.create_bucket(Bucket="nowhere-1", CreateBucketConfiguration={"LocationConstraint": "us-east-1"})
    with refused("NotImplemented", 501):
        server.s3.create_bucket(Bucket="nowhere-1", ObjectLockEnabledForBucket=True)
    with refused("InvalidLocationConstraint", 400):
        server.s3.create_bucket(Bucket="nowhere-1", CreateBucketConfiguration={"LocationConstraint": "mars"})
    server.s3.create_bucket(Bucket="old-name-1", CreateBucketConfiguration={"LocationConstraint": "EU"})
    assert server.s3.get_bucket_location(Bucket="old-name-1")["LocationConstraint"] == "eu-west-1"


@pytest.mark.parametrize("name", ["Upper", "a_b", "1.2.3.4", "a..b", "xn--a", "x-s3alias", "-ab", "ab-"])
def test_names_that_s3_refuses(s3: Any, name: str) -> None:
    with refused("InvalidBucketName", 400):
        s3.create_bucket(Bucket=name)


def test_listing_buckets(server: S3Server) -> None:
    for name in ("lb-1", "lb-2", "lb-3"):
        server.s3.create_bucket(Bucket=name)
    first = server.s3.list_buckets(Prefix="lb-", MaxBuckets=2)
    second = server.s3.list_buckets(Prefix="lb-", MaxBuckets=2, ContinuationToken=first["ContinuationToken"])
    assert [one["Name"] for page in (first, second) for one in page["Buckets"]] == ["lb-1", "lb-2", "lb-3"]
    assert "ContinuationToken" not in second
    assert len(first["Owner"]["ID"]) == 64
    assert server.s3.list_buckets(Prefix="lb-", BucketRegion="eu-north-1")["Buckets"] == []


@pytest.fixture(scope="module")
def filled(server: S3Server) -> str:
    server.s3.create_bucket(Bucket="filled")
    for key in ("a", "b/1", "b/2", "b/3/x", "b/3/y", "c d+é", "d//e", "z"):
        server.store.put("filled", key, [key.encode()])
    return "filled"


def keys(page: dict[str, Any]) -> list[str]:
    return [one["Key"] for one in page.get("Contents", ())]


def prefixes(page: dict[str, Any]) -> list[str]:
    return [one["Prefix"] for one in page.get("CommonPrefixes", ())]


def test_listing_with_prefix_and_delimiter(s3: Any, filled: str) -> None:
    page = s3.list_objects_v2(Bucket=filled, Delimiter="/")
    assert (keys(page), prefixes(page)) == (["a", "c d+é", "z"], ["b/", "d/"])
    assert page["KeyCount"] == 5
    page = s3.list_objects_v2(Bucket=filled, Delimiter="/", Prefix="b/")
    assert (keys(page), prefixes(page)) == (["b/1", "b/2"], ["b/3/"])
    page = s3.list_objects_v2(Bucket=filled, StartAfter="b/3/x", FetchOwner=True)
    assert keys(page) == ["b/3/y", "c d+é", "d//e", "z"]
    assert len(page["Contents"][0]["Owner"]["ID"]) == 64
    assert keys(s3.list_objects_v2(Bucket=filled, Prefix="nothing")) == []
    assert s3.list_objects_v2(Bucket=filled, MaxKeys=0)["IsTruncated"] is False


@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_pages_put_together_are_the_whole(s3: Any, filled: str, operation: str, size: int) -> None:
    listing = {"Bucket": filled, "PaginationConfig": {"PageSize": size}}
    pages = list(s3.get_paginator(operation).paginate(**listing, Delimiter="/"))
    assert all(len(keys(page)) + len(prefixes(page)) <= size for page in pages)
    assert [key for page in pages for key in keys(page)] == ["a", "c d+é", "z"]
    assert [prefix for page in pages for prefix in prefixes(page)] == ["b/", "d/"]
    flat = [key for page in s3.get_paginator(operation).paginate(**listing) for key in keys(page)]
    assert flat == ["a", "b/1", "b/2", "b/3/x", "b/3/y", "c d+é", "d//e", "z"]


def test_a_token_survives_inserts_and_deletes(s3: Any, bucket: str) -> None:
    for key in "bdf":
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    page = s3.list_objects_v2(Bucket=bucket, MaxKeys=2)
    token = page["NextContinuationToken"]
    for key in "ace":
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    s3.delete_object(Bucket=bucket, Key="d")
    page = s3.list_objects_v2(Bucket=bucket, MaxKeys=2, ContinuationToken=token)
    assert (keys(page), page["IsTruncated"]) == (["e", "f"], False)


@pytest.mark.parametrize("token", ["nonsense!", "bm9uc2Vuc2U="])
def test_tokens_that_are_not_ours(s3: Any, filled: str, token: str) -> None:
    with refused("InvalidArgument", 400):
        s3.list_objects_v2(Bucket=filled, ContinuationToken=token)


def test_a_token_belongs_to_its_listing(s3: Any, filled: str) -> None:
    token = s3.list_objects_v2(Bucket=filled, MaxKeys=1)["NextContinuationToken"]
    with refused("InvalidArgument", 400):
        s3.list_objects_v2(Bucket=filled, Prefix="b/", ContinuationToken=token)


def test_wrong_arguments_of_a_listing(s3: Any, server: S3Server, filled: str) -> None:
    with refused("InvalidArgument", 400):
        s3.list_objects_v2(Bucket=filled, MaxKeys=-1)
    with refused("NoSuchBucket", 404):
        s3.list_objects(Bucket="no-such-bucket-here")


def test_virtual_host_addresses(server: S3Server) -> None:
    """boto3 puts the bucket before `localhost` when told to; the name resolves to this machine (RFC 6761)."""
    server.s3.create_bucket(Bucket="in-the-host")
    port = server.served.url.rpartition(":")[2]
    path = server.client()
    path.meta.events.register(
        "before-sign.s3", lambda request, **_: request.headers.__setitem__("Host", f"in-the-host.localhost:{port}")
    )
    path.meta.events.register(
        "before-sign.s3", lambda request, **_: setattr(request, "url", request.url.replace("/in-the-host", "", 1))
    )
    path.put_object(Bucket="in-the-host", Key="dir/k", Body=b"v")
    assert server.s3.get_object(Bucket="in-the-host", Key="dir/k")["Body"].read() == b"v"
    assert path.get_object(Bucket="in-the-host", Key="dir/k")["Body"].read() == b"v"
