"""What browsers do: cross-origin requests, and forms signed by boto3's generate_presigned_post."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest

from clary.edge.aws.s3.errors import S3Error
from clary.edge.aws.s3.formdata import FIELD_BYTES_MAX, FormData
from tests.support.s3 import S3Server, refused, serve_s3

PAGE = "https://app.example.com"
RULES = {
    "CORSRules": [
        {
            "ID": "app",
            "AllowedOrigins": ["https://*.example.com"],
            "AllowedMethods": ["GET", "PUT"],
            "AllowedHeaders": ["x-amz-*", "Content-Type"],
            "ExposeHeaders": ["ETag"],
            "MaxAgeSeconds": 600,
        },
        {"AllowedOrigins": ["*"], "AllowedMethods": ["HEAD"]},
    ]
}


def asks(server: S3Server, path: str, origin: str, method: str, headers: str = "") -> tuple[int, dict[str, str], bytes]:
    given = {"Origin": origin, "Access-Control-Request-Method": method}
    if headers:
        given["Access-Control-Request-Headers"] = headers
    return server.served.get(path, given, "OPTIONS")


def test_cors(server: S3Server, s3: Any, bucket: str) -> None:
    with refused("NoSuchCORSConfiguration", 404):
        s3.get_bucket_cors(Bucket=bucket)
    status, _, body = asks(server, f"/{bucket}/k", PAGE, "PUT")
    assert status == 403
    assert b"CORS is not enabled" in body
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration=RULES)
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == RULES["CORSRules"]

    status, headers, body = asks(server, f"/{bucket}/k", PAGE, "PUT", "X-Amz-Date, content-type")
    assert (status, body) == (200, b"")
    assert headers["access-control-allow-origin"] == PAGE
    assert headers["access-control-allow-methods"] == "GET, PUT"
    assert headers["access-control-allow-headers"] == "x-amz-date, content-type"
    assert headers["access-control-expose-headers"] == "ETag"
    assert headers["access-control-max-age"] == "600"
    assert headers["access-control-allow-credentials"] == "true"
    assert asks(server, f"/{bucket}", "https://else.where", "HEAD")[1]["access-control-allow-origin"] == "*"
    for wrong in (("https://example.org", "PUT", ""), (PAGE, "DELETE", ""), (PAGE, "PUT", "authorization")):
        assert asks(server, f"/{bucket}/k", *wrong)[0] == 403
    assert server.served.get(f"/{bucket}/k", method="OPTIONS")[0] == 400
    assert asks(server, "/no-such-bucket-here", PAGE, "GET")[0] == 403

    s3.put_object(Bucket=bucket, Key="k", Body=b"v")
    url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"})
    path = "{0.path}?{0.query}".format(urlsplit(url))
    status, headers, body = server.served.get(path, {"Origin": PAGE})
    assert (status, body, headers["access-control-allow-origin"]) == (200, b"v", PAGE)
    assert headers["vary"].startswith("Origin")
    assert "access-control-allow-origin" not in server.served.get(path, {"Origin": "https://example.org"})[1]
    assert "access-control-allow-origin" not in server.served.get(path)[1]
    gone = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "gone"})
    status, headers, _ = server.served.get("{0.path}?{0.query}".format(urlsplit(gone)), {"Origin": PAGE})
    assert (status, headers["access-control-allow-origin"]) == (404, PAGE), "a page may read why it failed"

    s3.delete_bucket_cors(Bucket=bucket)
    assert asks(server, f"/{bucket}/k", PAGE, "PUT")[0] == 403


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ({"AllowedOrigins": ["*"], "AllowedMethods": ["PATCH"]}, "InvalidRequest"),
        ({"AllowedOrigins": ["*.*"], "AllowedMethods": ["GET"]}, "InvalidRequest"),
        ({"AllowedOrigins": ["*"], "AllowedMethods": ["GET"], "ExposeHeaders": ["x-*"]}, "InvalidRequest"),
        ({"AllowedOrigins": [], "AllowedMethods": ["GET"]}, "MalformedXML"),
    ],
)
def test_rules_that_s3_refuses(s3: Any, bucket: str, rule: dict[str, Any], code: str) -> None:
    with refused(code, 400):
        s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})


def test_an_open_server_answers_no_foreign_page_whatever_its_buckets_say(tmp_path: Path) -> None:
    with serve_s3(tmp_path, auth=False) as server:
        server.s3.create_bucket(Bucket="open")
        server.s3.put_bucket_cors(Bucket="open", CORSConfiguration=RULES)
        status, headers, _ = asks(server, "/open/k", PAGE, "GET")
        assert (status, "access-control-allow-origin" in headers) == (403, False)
        assert asks(server, "/open/k", "http://localhost:3000", "HEAD")[0] == 200


# -- forms -------------------------------------------------------------------------------------------------------------


def form(
    fields: dict[str, str], file: bytes, name: str = "a.txt", boundary: str = "XX"
) -> tuple[dict[str, str], bytes]:
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'.encode()
        for field, value in fields.items()
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: text/plain\r\n\r\n".encode()
    )
    body = b"".join(parts) + file + f"\r\n--{boundary}--\r\n".encode()
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, body


def post(server: S3Server, signed: dict[str, Any], file: bytes, **more: Any) -> tuple[int, dict[str, str], bytes]:
    changed = {**signed["fields"], **more.pop("fields", {})}
    headers, body = form({name: value for name, value in changed.items() if value is not None}, file, **more)
    return server.served.get(urlsplit(signed["url"]).path, headers, "POST", body)


@pytest.mark.parametrize("signature", ["s3", "s3v4"])
def test_a_form(server: S3Server, bucket: str, signature: str) -> None:
    s3, signer = server.s3, server.client(signature_version=signature)
    said = {
        "Content-Type": "text/plain",
        "x-amz-meta-team": "growth",
        "success_action_status": "201",
        "tagging": "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
    }
    limits: list[Any] = [{name: value} for name, value in said.items()]
    signed = signer.generate_presigned_post(
        bucket, "up/${filename}", Fields=said, Conditions=[*limits, ["content-length-range", 1, 3 * 1024 * 1024]]
    )
    content = b"\r\n--X\r\n" + b"half a boundary \r\n--" * 60_000
    status, headers, body = post(server, signed, content, name="dir\\\u00e9.txt")
    assert status == 201, body
    told = {one.tag: one.text for one in ElementTree.fromstring(body)}
    assert (told["Bucket"], told["Key"], told["ETag"]) == (bucket, "up/\u00e9.txt", headers["etag"])
    got = s3.get_object(Bucket=bucket, Key="up/\u00e9.txt")
    assert got["Body"].read() == content
    assert (got["ContentType"], got["Metadata"], got["TagCount"]) == ("text/plain", {"team": "growth"}, 1)
    for size, code in ((0, b"EntityTooSmall"), (3 * 1024 * 1024 + 1, b"EntityTooLarge")):
        status, _, body = post(server, signed, b"x" * size)
        assert (status, code in body) == (400, True)


def test_what_a_form_answers(server: S3Server, s3: Any, bucket: str) -> None:
    signed = s3.generate_presigned_post(bucket, "k")
    status, headers, body = post(server, signed, b"1")
    assert (status, body) == (204, b"")
    assert headers["location"].endswith(f"/{bucket}/k")
    where = "https://app.example.com/done?a=1"
    signed = s3.generate_presigned_post(
        bucket, "k", Fields={"success_action_redirect": where}, Conditions=[{"success_action_redirect": where}]
    )
    status, headers, _ = post(server, signed, b"1")
    assert status == 303
    assert headers["location"].startswith(f"{where}&bucket={bucket}&key=k&etag=%22")


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({"key": "else"}, 403, b"Policy Condition failed"),
        ({"x-amz-meta-a": "b"}, 403, b"Extra input fields: x-amz-meta-a"),
        ({"x-ignore-me": "b"}, 204, b""),
        ({"signature": "AAAA"}, 403, b"SignatureDoesNotMatch"),
        ({"AWSAccessKeyId": "AKIAUNKNOWN"}, 403, b"InvalidAccessKeyId"),
        ({"signature": None}, 403, b"AccessDenied"),
        ({"key": None}, 400, b"must contain a field named"),
        ({"policy": "e30="}, 403, b"SignatureDoesNotMatch"),
    ],
)
def test_forms_that_are_refused(
    server: S3Server, s3: Any, bucket: str, fields: dict[str, Any], code: int, text: bytes
) -> None:
    signed = s3.generate_presigned_post(bucket, "k")
    status, _, body = post(server, signed, b"v" * 3_000_000, fields=fields)
    assert (status, text in body) == (code, True), body
    assert ("Contents" in s3.list_objects_v2(Bucket=bucket)) == (code == 204)


def test_a_policy_is_for_its_bucket_and_its_time(server: S3Server, s3: Any, bucket: str) -> None:
    s3.create_bucket(Bucket=f"{bucket}-2")
    signed = s3.generate_presigned_post(bucket, "k")
    status, _, body = post(server, {**signed, "url": signed["url"] + "-2"}, b"v")
    assert (status, b"Policy Condition failed" in body) == (403, True)
    signed = s3.generate_presigned_post(bucket, "k", ExpiresIn=-5)
    status, _, body = post(server, signed, b"v")
    assert (status, b"Policy expired" in body) == (403, True)


def test_a_policy_is_needed_on_an_open_server_too(tmp_path: Path) -> None:
    with serve_s3(tmp_path, auth=False) as server:
        server.s3.create_bucket(Bucket="open")
        headers, body = form({"key": "k"}, b"v")
        assert server.served.get("/open", headers, "POST", body)[0] == 403
        unreadable = {
            "url": "/open",
            "fields": {"key": "k", "awsaccesskeyid": "a", "signature": "b", "policy": "nonsense"},
        }
        assert b"InvalidPolicyDocument" in post(server, unreadable, b"v")[2]
        signed = server.s3.generate_presigned_post("open", "k")
        assert post(server, signed, b"v")[0] == 204


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"conditions": []},
        {"expiration": "soon", "conditions": []},
        {"expiration": "2100-01-01T00:00:00Z", "conditions": [["like", "$key", "k"]]},
        {"expiration": "2100-01-01T00:00:00Z", "conditions": [["eq", "key", "k"]]},
        {"expiration": "2100-01-01T00:00:00Z", "conditions": [{"key": ["k"]}]},
        {"expiration": "2100-01-01T00:00:00Z", "conditions": [["content-length-range", "a", 2]]},
    ],
)
def test_policies_that_cannot_be_read(tmp_path_factory: pytest.TempPathFactory, document: Any) -> None:
    from clary.edge.aws.s3.policy import check

    with pytest.raises(S3Error) as caught:
        check(base64.b64encode(json.dumps(document).encode()).decode(), {"key": "k"}, 0)
    assert caught.value.code == "InvalidPolicyDocument"


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_a_form_in_any_pieces(step: int) -> None:
    headers, body = form({"Key": "k", "empty": ""}, b"\r\n--X file \r\n--", name="n", boundary="XX")
    data = FormData(headers["Content-Type"])
    file = b"".join(data.feed(body[at : at + step]) for at in range(0, len(body), step))
    data.finish()
    assert (file, data.fields, data.file_name) == (b"\r\n--X file \r\n--", {"key": "k", "empty": ""}, "n")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"--XX\r\nContent-Disposition: form-data\r\n\r\nv\r\n--XX--", "MalformedPOSTRequest"),
        (b"--XXjunk", "MalformedPOSTRequest"),
        (b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--XX--', "MalformedPOSTRequest"),
        (b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\nv\r\n--XX--', "IncorrectNumberOfFilesInPostRequest"),
        (b"no delimiter", "MalformedPOSTRequest"),
        (b"x" * (FIELD_BYTES_MAX + 1), "MaxPostPreDataLengthExceeded"),
        (b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\nv' * 2 + b"\r\n--XX--", "IncorrectNumberOf"),
    ],
)
def test_forms_that_are_none(body: bytes, code: str) -> None:
    data = FormData("multipart/form-data; boundary=XX")
    with pytest.raises(S3Error) as caught:
        (data.feed(body), data.finish())
    assert caught.value.code.startswith(code)
