"""Signature Version 4, with botocore's own signers and the S3 reference's worked examples as oracles."""

from __future__ import annotations

import contextlib
import hashlib
from datetime import UTC, datetime
from typing import Any
from unittest import mock
from urllib.parse import quote, urlsplit

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from clary.kit import sigv4

NOW_S = 1_924_329_600
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
KEY = sigv4.Key("AKIDEXAMPLE", SECRET, "123456789012", "arn:aws:iam::123456789012:user/ann")


def signed_by_botocore(
    signer: type[botocore.auth.SigV4Auth],
    method: str,
    url: str,
    headers: dict[str, str],
    body: bytes,
    service: str,
    **options: Any,
) -> AWSRequest:
    request = AWSRequest(method=method, url=url, headers=headers, data=body)
    request.context["payload_signing_enabled"] = True
    with mock.patch("botocore.auth.get_current_datetime", return_value=datetime.fromtimestamp(NOW_S, UTC)):
        signer(Credentials(KEY.key_id, SECRET), service, "eu-west-3", **options).add_auth(request)
    return request


def on_the_wire(request: AWSRequest) -> dict[str, Any]:
    parts = urlsplit(request.url)
    headers = {name.lower(): value for name, value in request.headers.items()}
    headers.setdefault("host", parts.netloc)
    return {"method": request.method, "path": parts.path, "query": parts.query, "headers": headers}


def verify(wire: dict[str, Any], payload: str, now_s: float = NOW_S, key: sigv4.Key | None = KEY) -> sigv4.Proof:
    claim = sigv4.parse(wire["headers"], wire["query"])
    assert claim is not None
    return sigv4.verify(claim, key, payload=payload, now_s=now_s, **wire)


segments = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
paths = st.lists(segments, max_size=4).map(lambda parts: "/" + "/".join(quote(part, safe="~") for part in parts))
queries = st.lists(st.tuples(segments, segments), max_size=4).map(
    lambda pairs: "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in pairs if name)
)
header_values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
headers = st.dictionaries(st.sampled_from(["X-Amz-Target", "Content-Type", "x-extra", "X-Amz-Meta-A"]), header_values)
bodies = st.binary(max_size=64)
methods = st.sampled_from(["GET", "PUT", "POST", "HEAD", "DELETE"])


def url_of(path: str, query: str) -> str:
    return f"http://127.0.0.1:8430{path}" + (f"?{query}" if query else "")


@given(methods, paths, queries, headers, bodies)
def test_what_botocore_signs_in_headers_is_accepted(method, path, query, headers, body):
    request = signed_by_botocore(botocore.auth.SigV4Auth, method, url_of(path, query), headers, body, "sagemaker")
    proof = verify(on_the_wire(request), hashlib.sha256(body).hexdigest())
    assert proof.key == KEY
    assert proof.claim.credential == ("AKIDEXAMPLE", "20301224", "eu-west-3", "sagemaker")


@given(methods, paths, queries, headers, bodies)
def test_what_botocore_signs_for_s3_is_accepted(method, path, query, headers, body):
    request = signed_by_botocore(botocore.auth.S3SigV4Auth, method, url_of(path, query), headers, body, "s3")
    wire = on_the_wire(request)
    assert verify(wire, sigv4.payload_literal(wire["headers"], presigned=False)).verified


@given(methods, paths, queries, st.integers(1, 7 * 24 * 3600))
def test_what_botocore_presigns_is_accepted_while_it_lives(method, path, query, expires):
    request = signed_by_botocore(
        botocore.auth.S3SigV4QueryAuth, method, url_of(path, query), {}, b"", "s3", expires=expires
    )
    wire = on_the_wire(request)
    payload = sigv4.payload_literal(wire["headers"], presigned=True)
    assert verify(wire, payload, NOW_S + expires - 1).claim.expires_s == expires
    with pytest.raises(sigv4.Expired) as expired:
        verify(wire, payload, NOW_S + expires)
    assert expired.value.expired_s == NOW_S + expires


@given(methods, paths, queries, header_values, bodies, st.sampled_from(["s3", "sagemaker"]))
def test_sign_gives_what_botocore_gives(method, path, query, value, body, service):
    signer = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
    theirs = signed_by_botocore(signer, method, url_of(path, query), {"X-Extra": value}, body, service)
    ours = sigv4.sign(
        method=method, path=path, query=query, headers={"Host": "127.0.0.1:8430", "X-Extra": value}, payload=body,
        key_id=KEY.key_id, secret=SECRET, region="eu-west-3", service=service, now_s=NOW_S,
    )  # fmt: skip
    assert ours["authorization"] == theirs.headers["Authorization"]


def a_request(service: str = "sagemaker", **headers: str) -> dict[str, Any]:
    signed = sigv4.sign(
        method="POST", path="/", query="b=2&a=1", headers={"host": "localhost:8430", **headers}, payload=b"{}",
        key_id=KEY.key_id, secret=SECRET, region="us-east-1", service=service, now_s=NOW_S,
    )  # fmt: skip
    return {"method": "POST", "path": "/", "query": "b=2&a=1", "headers": signed}


PAYLOAD = hashlib.sha256(b"{}").hexdigest()


@pytest.mark.parametrize(
    ("part", "value"),
    [("method", "PUT"), ("path", "/x"), ("query", "b=2&a=3"), ("query", ""), ("headers", {"host": "evil.example"})],
)
def test_a_changed_request_is_a_bad_signature(part, value):
    wire = a_request()
    wire[part] = wire[part] | value if part == "headers" else value
    with pytest.raises(sigv4.BadSignature) as bad:
        verify(wire, PAYLOAD)
    assert bad.value.canonical_request.startswith(wire["method"])
    assert bad.value.string_to_sign.startswith("AWS4-HMAC-SHA256\n20301224T080000Z\n20301224/us-east-1/sagemaker/")


def test_a_changed_body_is_a_bad_signature():
    with pytest.raises(sigv4.BadSignature):
        verify(a_request(), hashlib.sha256(b"{ }").hexdigest())


def test_another_secret_is_a_bad_signature():
    with pytest.raises(sigv4.BadSignature):
        verify(a_request(), PAYLOAD, key=KEY._replace(secret="other"))


def test_a_path_encoded_otherwise_than_it_was_signed_is_accepted():
    signed = sigv4.sign(
        method="GET", path="/b/a%3Ab%20c", query="prefix=a%2Fb", headers={"host": "h"}, payload=b"", key_id=KEY.key_id,
        secret=SECRET, region="us-east-1", service="s3", now_s=NOW_S,
    )  # fmt: skip
    wire = {"method": "GET", "path": "/b/a:b%20c", "query": "prefix=a/b", "headers": signed}
    assert verify(wire, sigv4.EMPTY_SHA256).verified


def test_an_unknown_key_is_told_from_a_bad_signature():
    with pytest.raises(sigv4.UnknownKey) as unknown:
        verify(a_request(), PAYLOAD, key=None)
    assert unknown.value.key_id == "AKIDEXAMPLE"


@pytest.mark.parametrize(("away_s", "too_old"), [(901, True), (-901, False)])
def test_more_than_fifteen_minutes_of_skew_is_stale(away_s, too_old):
    with pytest.raises(sigv4.Stale) as stale:
        verify(a_request(), PAYLOAD, NOW_S + away_s)
    assert stale.value.too_old is too_old
    assert verify(a_request(), PAYLOAD, NOW_S + (900 if too_old else -900)).verified


def test_a_presigned_url_from_the_future_is_stale():
    url = url_of("/b/k", "")
    wire = on_the_wire(signed_by_botocore(botocore.auth.S3SigV4QueryAuth, "GET", url, {}, b"", "s3", expires=60))
    with pytest.raises(sigv4.Stale):
        verify(wire, sigv4.UNSIGNED_PAYLOAD, NOW_S - 901)


def test_an_amz_header_added_after_signing_is_refused():
    wire = a_request()
    wire["headers"] |= {"x-amz-target": "SageMaker.DeleteEndpoint"}
    with pytest.raises(sigv4.Unsigned, match="x-amz-target"):
        verify(wire, PAYLOAD)


def test_a_host_that_was_not_signed_is_refused():
    wire = a_request()
    wire["headers"]["authorization"] = wire["headers"]["authorization"].replace("host;", "")
    with pytest.raises(sigv4.Unsigned, match="host"):
        verify(wire, PAYLOAD)


GOOD = "AWS4-HMAC-SHA256 Credential=AK/20301224/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=ab"


@pytest.mark.parametrize(
    ("authorization", "text"),
    [
        ("AWS4-HMAC-SHA256", "requires 'Credential' parameter. Authorization header requires 'SignedHeaders'"),
        (GOOD.replace("Signature=ab", ""), "requires 'Signature' parameter"),
        (GOOD.replace("Credential=AK/2", "Credential=2"), "Error parsing the credential"),
        (GOOD.replace("aws4_request", "aws3_request"), "Error parsing the credential"),
        (GOOD.replace("20301224", "2030122a"), "Error parsing the credential"),
        (GOOD.replace("20301224", "20301225"), "Date in Credential scope does not match"),
        (GOOD.replace("AWS4-HMAC", "AWS4-ECDSA"), "Unsupported AWS 'algorithm'"),
        ("Basic dXNlcjpwYXNz", "Unsupported AWS 'algorithm': 'Basic'"),
    ],
)
def test_a_header_that_cannot_be_read_is_malformed(authorization, text):
    with pytest.raises(sigv4.Malformed) as malformed:
        sigv4.parse_headers({"authorization": authorization, "x-amz-date": "20301224T080000Z"})
    assert text in malformed.value.message


@given(st.text(st.characters(max_codepoint=255), max_size=80), st.text(st.characters(max_codepoint=255), max_size=20))
def test_any_header_is_read_or_malformed(authorization, date):
    for value in (authorization, "AWS4-HMAC-SHA256 " + authorization, GOOD[: len(authorization)] + authorization):
        with contextlib.suppress(sigv4.Malformed):
            sigv4.parse_headers({"authorization": value, "x-amz-date": date})


@given(st.text(max_size=60))
def test_any_query_is_read_or_malformed(text):
    for query in (text, "X-Amz-Signature=" + text, "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + text):
        with contextlib.suppress(sigv4.Malformed):
            sigv4.parse_query(query)


def test_parts_may_stand_in_any_order_and_without_blanks():
    head, _, signature = GOOD.partition(", Signature=")
    scheme, _, rest = head.partition(" ")
    odd = f"{scheme} Signature={signature},{rest.replace(', ', ',')}"
    headers = {"x-amz-date": "20301224T080000Z"}
    assert sigv4.parse_headers({"authorization": odd, **headers}) == sigv4.parse_headers(
        {"authorization": GOOD, **headers}
    )


def test_the_date_header_stands_in_for_the_amz_one():
    claim = sigv4.parse_headers({"authorization": GOOD, "date": "Tue, 24 Dec 2030 08:00:00 GMT"})
    assert claim is not None
    assert claim.timestamp == "20301224T080000Z"
    with pytest.raises(sigv4.Malformed, match="existence of either"):
        sigv4.parse_headers({"authorization": GOOD})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("X-Amz-Expires=60", "X-Amz-Expires=604801"), "less than a week"),
        (("X-Amz-Expires=60", "X-Amz-Expires=-1"), "should be a number"),
        (("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"), "only supports"),
        (("X-Amz-Date=2030", "X-Amz-Date=x030"), "ISO8601"),
        (("X-Amz-SignedHeaders=host&", ""), "requires the X-Amz-Algorithm"),
    ],
)
def test_a_presigned_url_that_cannot_be_read_is_malformed(change, text):
    url = url_of("/b/k", "")
    request = signed_by_botocore(botocore.auth.S3SigV4QueryAuth, "GET", url, {}, b"", "s3", expires=60)
    query = urlsplit(request.url).query
    assert change[0] in query + "&"
    with pytest.raises(sigv4.Malformed) as malformed:
        sigv4.parse_query((query + "&").replace(*change).rstrip("&"))
    assert text in malformed.value.message
    assert malformed.value.presigned


def test_an_unsigned_request_has_no_claim():
    assert sigv4.parse({"host": "localhost"}, "list-type=2&X-Amz-Foo=1") is None


# The worked examples of the S3 API reference, "Example: PUT object" with chunks of 64 KiB, 1 KiB and none.
EXAMPLE_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


def example_proof(seed: str, payload: str) -> sigv4.Proof:
    credential = sigv4.Credential("AKIAIOSFODNN7EXAMPLE", "20130524", "us-east-1", "s3")
    claim = sigv4.Claim(credential, ("host",), seed, "20130524T000000Z")
    return sigv4.Proof(claim, payload, KEY, sigv4.signing_key(EXAMPLE_SECRET, *credential[1:]))


def chain(proof: sigv4.Proof) -> list[str]:
    signatures = [proof.claim.signature]
    for chunk in (b"a" * 65536, b"a" * 1024, b""):
        signatures.append(proof.chunk_signature(signatures[-1], hashlib.sha256(chunk).hexdigest()))
    return signatures[1:]


def test_chunk_signatures_are_those_of_the_reference():
    seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    assert chain(example_proof(seed, sigv4.STREAMING_SIGNED)) == [
        "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    ]


def test_trailer_signatures_are_those_of_the_reference():
    seed = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
    proof = example_proof(seed, sigv4.STREAMING_SIGNED_TRAILER)
    chunks = chain(proof)
    assert chunks == [
        "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
        "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
        "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
    ]
    trailer = hashlib.sha256(b"x-amz-checksum-crc32c:sOO8/Q==\n").hexdigest()
    assert (
        proof.trailer_signature(chunks[-1], trailer)
        == "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"
    )
