"""rest-xml against botocore's own client side: what it serialises we parse, what we serialise it parses."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote

import botocore.session
import pytest
from botocore.model import ServiceModel
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from clary.edge.aws.protocols import rest_xml
from clary.edge.aws.protocols.rest_xml import Incoming
from clary.edge.aws.protocols.values import Unreadable

S3: ServiceModel = botocore.session.Session().get_service_model("s3")
ROUTE53: ServiceModel = botocore.session.Session().get_service_model("route53")
AT = datetime(2031, 1, 5, 8, 0, tzinfo=UTC)


def sent(model: ServiceModel, name: str, members: dict[str, Any]) -> dict[str, Any]:
    """Members as a server reads them from what botocore sends."""
    operation = model.operation_model(name)
    request = create_serializer("rest-xml").serialize_to_request(members, operation)
    path, _, query = request["url_path"].partition("?")
    values = parse_qs(query, keep_blank_values=True)
    values.update(
        {key: value if isinstance(value, list) else [str(value)] for key, value in request["query_string"].items()}
    )
    pattern = operation.http["requestUri"].partition("?")[0]
    labels = dict(
        zip(
            [part.strip("{}+") for part in pattern.split("/") if part.startswith("{")],
            [
                unquote(part)
                for part, shape in zip(path.split("/"), pattern.split("/"), strict=False)
                if shape.startswith("{")
            ],
            strict=True,
        )
    )
    headers = {key.lower(): str(value) for key, value in request["headers"].items()}
    body = request["body"] if isinstance(request["body"], bytes) else b""
    return rest_xml.parse(operation, Incoming(labels, values, headers), body)


@pytest.mark.parametrize(
    ("model", "name", "members"),
    [
        (S3, "ListObjectsV2", {"Bucket": "b", "Prefix": "a b", "MaxKeys": 5, "FetchOwner": True}),
        (S3, "GetObject", {"Bucket": "b", "Key": "k", "IfModifiedSince": AT, "PartNumber": 3, "Range": "bytes=0-1"}),
        (
            S3, "CreateMultipartUpload",
            {"Bucket": "b", "Key": "k", "Metadata": {"a": "1", "b": "2"}, "BucketKeyEnabled": True},
        ),
        (S3, "DeleteObjects", {"Bucket": "b", "Delete": {"Objects": [{"Key": "<&>"}, {"Key": " b "}], "Quiet": True}}),
        (
            S3, "CompleteMultipartUpload",
            {"Bucket": "b", "Key": "k", "UploadId": "u",
             "MultipartUpload": {"Parts": [{"ETag": '"e"', "PartNumber": 1}]}},
        ),
        (S3, "GetObjectAttributes", {"Bucket": "b", "Key": "k", "ObjectAttributes": ["ETag", "ObjectSize"]}),
        (
            S3, "PutBucketAcl",
            {"Bucket": "b", "AccessControlPolicy": {
                "Grants": [{"Grantee": {"ID": "x", "Type": "CanonicalUser"}, "Permission": "READ"}],
                "Owner": {"ID": "o"}}},
        ),
        (
            S3, "PutBucketLifecycleConfiguration",
            {"Bucket": "b", "LifecycleConfiguration": {"Rules": [
                {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": "p"}, "Expiration": {"Date": AT},
                 "Transitions": [{"Days": 3, "StorageClass": "GLACIER"}]}]}},
        ),
        (
            ROUTE53, "CreateHostedZone",
            {"Name": "n", "CallerReference": "c", "HostedZoneConfig": {"Comment": "x", "PrivateZone": False}},
        ),
        (
            ROUTE53, "ChangeResourceRecordSets",
            {"HostedZoneId": "Z1", "ChangeBatch": {"Changes": [{"Action": "CREATE", "ResourceRecordSet": {
                "Name": "n", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "1"}, {"Value": "2"}]}}]}},
        ),
    ],
)  # fmt: skip
def test_what_botocore_sends(model: ServiceModel, name: str, members: dict[str, Any]) -> None:
    assert sent(model, name, members) == members


@pytest.mark.parametrize(
    ("model", "name", "members"),
    [
        (S3, "ListObjectsV2", {
            "Name": "b", "IsTruncated": True, "KeyCount": 2, "CommonPrefixes": [{"Prefix": "<p>/"}],
            "Contents": [{
                "Key": "a&\"b'", "Size": 3, "LastModified": AT, "ETag": '"e"', "ChecksumAlgorithm": ["CRC32"]}]}),
        (S3, "ListBuckets", {"Buckets": [{"Name": "b", "CreationDate": AT}], "Owner": {"ID": "i"}}),
        (S3, "HeadObject", {"ContentLength": 5, "LastModified": AT, "Metadata": {"a": "b"}, "BucketKeyEnabled": True}),
        (S3, "CopyObject", {"CopyObjectResult": {"ETag": '"e"', "LastModified": AT}, "ServerSideEncryption": "AES256"}),
        (S3, "GetBucketAcl", {
            "Owner": {"ID": "o"}, "Grants": [{"Grantee": {"ID": "x", "Type": "CanonicalUser"}, "Permission": "READ"}]}),
        (ROUTE53, "ListHostedZones", {
            "HostedZones": [{"Id": "i", "Name": "n", "CallerReference": "c"}], "Marker": "", "IsTruncated": False,
            "MaxItems": "100"}),
        (ROUTE53, "GetChange", {"ChangeInfo": {"Id": "i", "Status": "PENDING", "SubmittedAt": AT}}),
        (ROUTE53, "CreateHostedZone", {
            "HostedZone": {"Id": "i", "Name": "n", "CallerReference": "c"}, "Location": "https://l",
            "ChangeInfo": {"Id": "i", "Status": "PENDING", "SubmittedAt": AT},
            "DelegationSet": {"NameServers": ["a", "b"]}}),
    ],
)  # fmt: skip
def test_what_botocore_reads(model: ServiceModel, name: str, members: dict[str, Any]) -> None:
    operation = model.operation_model(name)
    answer = rest_xml.serialise(operation, members, namespace="http://example.com/")
    assert answer.status == operation.http.get("responseCode", 200)
    response = {"status_code": answer.status, "headers": _Headers(answer.headers), "body": answer.body}
    parsed = create_parser("rest-xml").parse(response, operation.output_shape)
    del parsed["ResponseMetadata"]
    assert parsed == members


class _Headers(dict[str, str]):
    """Headers as urllib3 gives them: looked up without regard to case."""

    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__({name.lower(): value for name, value in headers.items()})

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).lower())

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())


@pytest.mark.parametrize(
    "body",
    [
        b"<Delete><Object><Key>a</Key>",
        b'<!DOCTYPE d [<!ENTITY e "x">]><Delete><Object><Key>&e;</Key></Object></Delete>',
        b"<Delete><Object><Key>a</Key></Object><Surprise/></Delete>",
        b"<Delete><Quiet>maybe</Quiet></Delete>",
        b"<Delete><Quiet>true</Quiet><Quiet>true</Quiet></Delete>",
        b"not xml",
    ],
)
def test_documents_that_do_not_fit(body: bytes) -> None:
    with pytest.raises(Unreadable):
        rest_xml.parse(S3.operation_model("DeleteObjects"), Incoming({"Bucket": "b"}, {}, {}), body)


def test_numbers_that_are_none() -> None:
    with pytest.raises(Unreadable):
        rest_xml.parse(S3.operation_model("ListObjectsV2"), Incoming({}, {"max-keys": ["many"]}, {}))


def test_characters_that_xml_cannot_hold() -> None:
    assert rest_xml.element("Key", "a\x01\r<") == "<Key>a&#x1;&#xD;&lt;</Key>"
