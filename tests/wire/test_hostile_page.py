"""A web page of somebody else, open in a browser on this machine, against an open server (no --auth)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.door import EchoS3, Served, operation, serve_door

SEEN: list[Any] = []
S3 = EchoS3()
CREDENTIAL = (
    "AWS4-HMAC-SHA256 Credential=clary/20310105/us-east-1/sagemaker/aws4_request, SignedHeaders=host;x-amz-date, "
    "Signature=00"
)
SIGNED = {"authorization": CREDENTIAL, "x-amz-date": "20310105T000000Z", "x-amz-target": "SageMaker.DeleteTags"}
BODY = b'{"ResourceArn": "arn:aws:sagemaker:us-east-1:123456789012:endpoint/e", "TagKeys": ["k"]}'


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serve_door([operation("sagemaker", "DeleteTags", {}, SEEN)], s3=S3, hosts=("models.example",)) as served:
        yield served


def post(served: Served, **headers: str) -> int:
    SEEN.clear()
    S3.calls.clear()
    status, _, _ = served.get(
        "/", {**SIGNED, **{name.replace("_", "-"): text for name, text in headers.items()}}, "POST", BODY
    )
    assert (status == 200) is bool(SEEN), "a refused request must not reach the operation"
    return status


def test_a_client_of_this_machine_is_answered(served: Served) -> None:
    assert post(served) == 200
    assert post(served, host="localhost:8430") == 200
    assert post(served, host="bucket.localhost:8430") == 200
    assert post(served, host="[::1]:8430") == 200
    assert post(served, host="models.example") == 200
    assert post(served, origin="http://localhost:8888", sec_fetch_site="same-site") == 200


REBOUND = (
    "rebind.attacker.example", "127.0.0.1.attacker.example:80", "localhost.attacker.example", "10.0.0.7", "", "[::1",
    "a:b", "notmodels.example", "models.example.attacker.example", "0x7f.1",
)  # fmt: skip


@pytest.mark.parametrize("host", REBOUND)
def test_a_name_that_was_made_to_resolve_here_is_refused(served: Served, host: str) -> None:
    assert post(served, host=host) == 403


def test_fetch_from_another_site_is_refused(served: Served) -> None:
    assert post(served, origin="https://attacker.example", sec_fetch_site="cross-site", sec_fetch_mode="cors") == 403


def test_fetch_without_cors_is_refused(served: Served) -> None:
    # no-cors: an image or a script tag sends no Origin, but says where it comes from.
    assert post(served, sec_fetch_site="cross-site", sec_fetch_mode="no-cors") == 403


@pytest.mark.parametrize("origin", ["null", "https://attacker.example", "file://", "http://localhost.attacker.example"])
def test_a_foreign_origin_is_refused(served: Served, origin: str) -> None:
    # An older browser sends no Sec-Fetch-Site.
    assert post(served, origin=origin) == 403


def test_a_form_cannot_sign_and_so_gets_nothing(served: Served) -> None:
    SEEN.clear()
    form = {"content-type": "application/x-www-form-urlencoded", "origin": "https://attacker.example"}
    assert served.get("/", form, "POST", b"Action=GetCallerIdentity&Version=2011-06-15")[0] == 403
    # Even where the browser told nothing on the page.
    plain = {"content-type": "text/plain"}
    assert served.get("/bucket/key", plain, "POST", b"x")[0] == 403
    assert not SEEN
    assert not S3.calls


def test_a_preflight_allows_nothing(served: Served) -> None:
    asked = {"origin": "https://attacker.example", "access-control-request-method": "POST"}
    status, headers, _ = served.get("/", asked, "OPTIONS")
    assert status == 403
    assert not any(name.startswith("access-control-allow") for name in headers)


def test_a_bucket_is_out_of_reach_too(served: Served) -> None:
    S3.calls.clear()
    signed = {"authorization": CREDENTIAL.replace("sagemaker", "s3"), "x-amz-date": "20310105T000000Z"}
    status, _, body = served.get("/bucket/key", {**signed, "origin": "https://attacker.example"}, "PUT", b"x")
    assert (status, S3.calls) == (403, [])
    assert b"<Code>AccessDenied</Code>" in body
