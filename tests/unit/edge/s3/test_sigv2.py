"""Presigned URLs of version 2 against botocore's own signer."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config

from clary.edge.aws.s3 import sigv2
from clary.kit.sigv4 import BadSignature, Expired, Key, Malformed, UnknownKey

KEY = Key("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "123456789012", "arn")
NOW = 1_900_000_000


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("botocore.auth.time.time", lambda: NOW)
    client = boto3.client(
        "s3", endpoint_url="http://127.0.0.1:8430", region_name="us-east-1", aws_access_key_id=KEY.key_id,
        aws_secret_access_key=KEY.secret, config=Config(signature_version="s3-query"),
    )  # fmt: skip
    yield client
    client.close()


def verify(url: str, method: str, headers: dict[str, str] | None = None, key: Key | None = KEY, at: int = NOW) -> None:
    parts = urlsplit(url)
    claim = sigv2.parse(parts.query)
    assert claim is not None
    proof = sigv2.verify(
        claim, key, method=method, path=parts.path, query=parts.query, headers=headers or {}, bucket="",
        region="us-east-1", now_s=at,
    )  # fmt: skip
    assert proof.claim.credential.region == "us-east-1"
    assert proof.claim.presigned


@pytest.mark.parametrize(
    ("operation", "method", "members", "headers"),
    [
        ("get_object", "GET", {}, {}),
        ("get_object", "GET", {"ResponseContentType": "text/a b", "VersionId": "null"}, {}),
        ("put_object", "PUT", {}, {}),
        ("put_object", "PUT", {"ContentType": "text/plain"}, {"content-type": "text/plain"}),
        ("put_object", "PUT", {"Metadata": {"a": "b c"}, "StorageClass": "GLACIER_IR"}, {}),
        ("upload_part", "PUT", {"UploadId": "u", "PartNumber": 3}, {}),
        ("head_object", "HEAD", {}, {}),
    ],
)
def test_what_botocore_signs(
    s3: Any, operation: str, method: str, members: dict[str, Any], headers: dict[str, str]
) -> None:
    url = s3.generate_presigned_url(operation, {"Bucket": "b", "Key": "dir/a b+é", **members}, ExpiresIn=60)
    assert "AWSAccessKeyId=" in url
    verify(url, method, headers)
    with pytest.raises(BadSignature):
        verify(url.replace("/dir/", "/other/"), method, headers)
    with pytest.raises(BadSignature):
        verify(url, "DELETE", headers)
    with pytest.raises(BadSignature):
        verify(url, method, {**headers, "x-amz-copy-source": "b/secret"})
    with pytest.raises(Expired):
        verify(url, method, headers, at=NOW + 60)
    with pytest.raises(UnknownKey):
        verify(url, method, headers, key=None)


@pytest.mark.parametrize(
    "query", ["AWSAccessKeyId=k", "AWSAccessKeyId=k&Signature=s&Expires=soon", "AWSAccessKeyId=k&Expires=1"]
)
def test_queries_that_are_not_whole(query: str) -> None:
    with pytest.raises(Malformed):
        sigv2.parse(query)


def test_queries_without_a_signature() -> None:
    assert sigv2.parse("prefix=a&X-Amz-Signature=b") is None
