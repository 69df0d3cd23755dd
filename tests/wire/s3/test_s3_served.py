"""Every operation and every input field of S3's service model is served, stored or refused by name."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import botocore.session
import pytest
from botocore.model import ServiceModel

from clary.edge.aws.operation import Field
from clary.edge.aws.registry import ancestors, paths
from clary.edge.aws.s3.address import Address, address
from clary.edge.aws.s3.errors import S3Error
from clary.edge.aws.s3.fields import FIELDS, notes
from clary.edge.aws.s3.routes import SERVED, routes
from tests.support.s3 import S3Server, refused

MODEL: ServiceModel = botocore.session.Session().get_service_model("s3")
ROUTES = routes(MODEL)
# S3 Express and Object Lambda have endpoints of their own; their requests never come here as such.
ELSEWHERE = {"ListDirectoryBuckets": "ListBuckets", "WriteGetObjectResponse": None, "CopyObject": None}
# Two operations share a request line; the older one's name, or the list's singular, stands for both.
SHARED = {
    "GetBucketLifecycleConfiguration": "GetBucketLifecycle",
    "GetBucketNotificationConfiguration": "GetBucketNotification",
    "PutBucketLifecycleConfiguration": "PutBucketLifecycle",
    "PutBucketNotificationConfiguration": "PutBucketNotification",
    "ListBucketAnalyticsConfigurations": "GetBucketAnalyticsConfiguration",
    "ListBucketIntelligentTieringConfigurations": "GetBucketIntelligentTieringConfiguration",
    "ListBucketInventoryConfigurations": "GetBucketInventoryConfiguration",
    "ListBucketMetricsConfigurations": "GetBucketMetricsConfiguration",
    "ListObjectAnnotations": "GetObjectAnnotation",
}
BY_MEMBER = {
    "ListParts": "uploadId=u",
    "UploadPart": "uploadId=u&partNumber=1",
    "UploadPartCopy": "uploadId=u&partNumber=1",
    "CompleteMultipartUpload": "uploadId=u",
    "AbortMultipartUpload": "uploadId=u",
}


@pytest.mark.parametrize("name", [name for name in MODEL.operation_names if ELSEWHERE.get(name, name) is not None])
def test_every_operation_is_recognised(name: str) -> None:
    http = MODEL.operation_model(name).http
    path, _, query = http["requestUri"].partition("?")
    target = Address("b" if "{Bucket}" in path else "", "k" if "{Key" in path else "")
    query = "&".join(part for part in (query, BY_MEMBER.get(name, "")) if part)
    headers = {"x-amz-copy-source": "b/k"} if name.endswith("Copy") else {}
    found = ROUTES.operation(http["method"], target, list(parse_qs(query, keep_blank_values=True)), headers)
    assert found == SHARED.get(name, ELSEWHERE.get(name, name))


def test_copies_are_told_by_their_header() -> None:
    assert ROUTES.operation("PUT", Address("b", "k"), [], {"x-amz-copy-source": "b/k"}) == "CopyObject"


@pytest.mark.parametrize(
    ("method", "target"), [("PATCH", Address("b", "k")), ("POST", Address("b", "k")), ("PUT", Address("", ""))]
)
def test_what_is_no_operation(method: str, target: Address) -> None:
    with pytest.raises(S3Error) as caught:
        ROUTES.operation(method, target, [], {})
    assert (caught.value.code, caught.value.status) == ("MethodNotAllowed", 405)


def test_the_table_of_fields_is_the_tables_of_operations() -> None:
    assert FIELDS.keys() == SERVED


@pytest.mark.parametrize("name", sorted(SERVED))
def test_every_field_is_listed(name: str) -> None:
    fields = FIELDS[name]
    known = list(paths(MODEL.operation_model(name).input_shape))
    assert [
        path for path in known if not any(one in fields for one in ancestors(path)) and not covered(path, name)
    ] == []
    possible = {one for path in known for one in (path, f"{path}[]")} | {
        "Bucket",
        "Key",
        "ExpectedBucketOwner",
        "RequestPayer",
    }
    assert set(fields) <= possible
    assert {path for path, how in fields.items() if how is not Field.SERVED} == set(notes(name))


def covered(path: str, name: str) -> bool:
    """A structure is listed where all that it holds is."""
    return any(one.startswith((path + ".", path + "[")) for one in FIELDS[name])


@pytest.mark.parametrize(
    ("call", "members", "what"),
    [
        ("get_bucket_acl", {}, "GetBucketAcl"),
        ("get_bucket_policy", {}, "GetBucketPolicy"),
        ("put_bucket_encryption", {"ServerSideEncryptionConfiguration": {"Rules": []}}, "PutBucketEncryption"),
        ("restore_object", {"Key": "k"}, "RestoreObject"),
        ("get_bucket_lifecycle_configuration", {}, "GetBucketLifecycle"),
    ],
)
def test_what_is_not_served_is_refused_by_name(
    s3: Any, bucket: str, call: str, members: dict[str, Any], what: str
) -> None:
    with refused("NotImplemented", 501) as answer:
        getattr(s3, call)(Bucket=bucket, **members)
    assert answer["Error"]["Message"] == f"{what} is not served by Clary's object store."


def test_a_refused_header_is_named(s3: Any, bucket: str) -> None:
    with refused("NotImplemented", 501) as answer:
        s3.put_object(Bucket=bucket, Key="k", Body=b"", SSECustomerAlgorithm="AES256", SSECustomerKey="0" * 32)
    assert answer["Error"]["Header"] == "x-amz-server-side-encryption-customer-algorithm"
    assert "does not encrypt" in answer["Error"]["Message"]


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("127.0.0.1:8430", "/b/k", Address("b", "k")),
        ("localhost", "/b", Address("b", "")),
        ("localhost:1", "/", Address("", "")),
        ("b.localhost:8430", "/k", Address("b", "k")),
        ("b.c.localhost", "/a/b%2Fc", Address("b.c", "a/b/c")),
        ("s3.localhost", "/b/k", Address("b", "k")),
        ("b.s3.localhost", "/k", Address("b", "k")),
        ("b.s3.us-east-1.amazonaws.com", "/k", Address("b", "k")),
        ("s3.us-east-1.amazonaws.com", "/b/k", Address("b", "k")),
        ("clary.example", "/b/k", Address("b", "k")),
        ("b.clary.example:443", "/k", Address("b", "k")),
        ("b.s3.clary.example", "/k", Address("b", "k")),
        ("[::1]:8430", "/b//k", Address("b", "/k")),
        ("unknown.example", "/b/k", Address("b", "k")),
        ("localhost", "/b/..%2F..%2Fetc", Address("b", "../../etc")),
    ],
)
def test_addresses(host: str, path: str, expected: Address) -> None:
    assert address(host, path, ("clary.example",)) == expected


def test_a_path_that_is_not_utf_8() -> None:
    with pytest.raises(S3Error) as caught:
        address("localhost", "/b/%ff", ())
    assert caught.value.code == "InvalidURI"


def test_errors_have_s3s_form(server: S3Server) -> None:
    status, headers, body = server.served.get("/some-bucket/k?acl")
    assert (status, headers["content-type"]) == (403, "application/xml")
    assert body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code>')
    assert headers["x-amz-request-id"].encode() in body
