"""Signed invocations: botocore signs, the router checks."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from clary.dataplane.routes import KeyRoute
from tests.support.hot_path import Answer, Rig, endpoint, parse_answers, snapshot

KEY = KeyRoute("AKIDEXAMPLE", "secret", "123456789012", "arn:aws:iam::123456789012:user/ann")
NOW = datetime.datetime(2023, 11, 14, 22, 13, 20, tzinfo=datetime.UTC)


@pytest.fixture
def guarded(tmp_path: Path) -> Rig:
    rig = Rig(tmp_path)
    rig.use(snapshot(endpoint(), auth=True, keys=(KEY,)))
    return rig


def signed(
    monkeypatch: pytest.MonkeyPatch, *, at: datetime.datetime = NOW, secret: str = "secret", **scope: str
) -> bytes:
    """What boto3 would send, up to the body `1,2`."""
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda remove_tzinfo=True: at.replace(tzinfo=None))
    url = f"http://10.0.0.5:8430/endpoints/{scope.get('name', 'Ridge')}/invocations"
    request = AWSRequest("POST", url, {"Content-Type": "text/csv", "X-Amzn-SageMaker-Inference-Id": "i"}, b"1,2")
    credentials = Credentials(scope.get("key_id", "AKIDEXAMPLE"), secret, scope.get("token"))
    service, region = scope.get("service", "sagemaker"), scope.get("region", "eu-west-1")
    SigV4Auth(credentials, service, region).add_auth(request)
    lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    path = url.removeprefix("http://10.0.0.5:8430")
    return f"POST {path} HTTP/1.1\r\nHost: 10.0.0.5:8430\r\nContent-Length: 3\r\n{lines}\r\n1,2".encode()


def send(rig: Rig, raw: bytes) -> Answer | None:
    connection, transport = rig.client()
    connection.data_received(raw)
    rig.turn()
    return parse_answers(transport.written)[0] if transport.written else None


def test_a_good_signature_is_served(guarded: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    assert send(guarded, signed(monkeypatch)) is None
    assert len(guarded.wires["v-AllTraffic-0"].requests) == 1


MISMATCH = "The request signature we calculated does not match the signature you provided."


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"secret": "other"}, "InvalidSignatureException", MISMATCH),
        (
            {"key_id": "AKIDOTHER"},
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
        ({"token": "t"}, "UnrecognizedClientException", "The security token included in the request is invalid."),
        (
            {"service": "s3"},
            "InvalidSignatureException",
            "Credential should be scoped to correct service: 'sagemaker'.",
        ),
        ({"at": NOW - datetime.timedelta(minutes=16)}, "InvalidSignatureException", "Signature expired: "),
        ({"at": NOW + datetime.timedelta(minutes=16)}, "InvalidSignatureException", "Signature not yet current: "),
    ],
)
def test_a_bad_one_is_refused_in_the_service_s_own_words(
    guarded: Rig, monkeypatch: pytest.MonkeyPatch, change: dict[str, str], code: str, text: str
) -> None:
    error = send(guarded, signed(monkeypatch, **change))  # type: ignore[arg-type]
    assert error is not None
    assert (error.status, error.headers["x-amzn-errortype"]) == (403, code)
    assert error.json["Message"].startswith(text)
    assert guarded.wires["v-AllTraffic-0"].batches == []


def test_a_changed_body_header_or_missing_signature_is_refused(guarded: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    good = signed(monkeypatch)
    unsigned = b"\r\n".join(line for line in good.split(b"\r\n") if not line.startswith(b"Authorization"))
    for raw, code in (
        (good[:-1] + b"3", "InvalidSignatureException"),
        (good.replace(b"Inference-Id: i", b"Inference-Id: j"), "InvalidSignatureException"),
        (good.replace(b"Signature=", b"Signatures="), "IncompleteSignatureException"),
        (unsigned, "MissingAuthenticationTokenException"),
    ):
        error = send(guarded, raw)
        assert error is not None
        assert error.headers["x-amzn-errortype"] == code


def test_a_revoked_key_is_refused_with_the_next_snapshot(guarded: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = signed(monkeypatch)
    assert send(guarded, raw) is None
    guarded.use(snapshot(endpoint(), auth=True))
    error = send(guarded, raw)
    assert error is not None
    assert error.headers["x-amzn-errortype"] == "UnrecognizedClientException"


def test_the_region_of_the_scope_decides(guarded: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    error = send(guarded, signed(monkeypatch, region="us-east-1"))
    assert error is not None
    assert error.json["Message"] == "Endpoint Ridge of account 123456789012 not found."
