"""Bodies as they come over the wire: aws-chunked, digests, lengths, refusals before the body."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import itertools
import socket
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clary.edge.aws.s3.chunked import ChunkedDecoder
from clary.edge.aws.s3.errors import S3Error
from clary.kit import sigv4
from tests.support.door import ANN
from tests.support.s3 import S3Server

EMPTY = hashlib.sha256(b"").hexdigest()
BODY = bytes(range(256)) * 600
CRC = base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()


@dataclass
class Signer:
    """Signs chunks as the S3 API reference describes, independently of the code under test."""

    key: bytes
    timestamp: str
    scope: str
    seed: str
    previous: str = field(init=False)

    def __post_init__(self) -> None:
        self.previous = self.seed

    def chunk(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        text = "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", self.timestamp, self.scope, self.previous, EMPTY, digest])
        self.previous = hmac.new(self.key, text.encode(), "sha256").hexdigest()
        return self.previous

    def trailer(self, lines: str) -> str:
        digest = hashlib.sha256(lines.encode()).hexdigest()
        text = "\n".join(["AWS4-HMAC-SHA256-TRAILER", self.timestamp, self.scope, self.previous, digest])
        return hmac.new(self.key, text.encode(), "sha256").hexdigest()


class Documented:
    """Verifies like a Proof, with the key of the example."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def chunk_signature(self, previous: str, chunk_sha256: str) -> str:
        claim = sigv4.Claim(
            sigv4.Credential("k", *self._signer.scope.split("/")[:3]), (), self._signer.seed, self._signer.timestamp
        )
        return sigv4.Proof(claim, "", None, self._signer.key).chunk_signature(previous, chunk_sha256)

    def trailer_signature(self, previous: str, trailer_sha256: str) -> str:
        raise AssertionError("the example has no trailer")


def test_the_example_of_the_api_reference() -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html: 65 KiB of `a` in two chunks."""
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    key = sigv4.signing_key(secret, "20130524", "us-east-1", "s3")
    signer = Signer(key, "20130524T000000Z", "20130524/us-east-1/s3/aws4_request", seed)
    signatures = (
        "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    )
    wire = b"".join(
        f"{len(data):x};chunk-signature={signature}\r\n".encode() + data + b"\r\n"
        for data, signature in zip((b"a" * 65536, b"a" * 1024, b""), signatures, strict=True)
    )
    decoder = ChunkedDecoder((), Documented(signer), seed, sign_trailer=False)
    assert b"".join(decoder.feed(wire)) == b"a" * 66560
    decoder.finish()
    for at in (50, 40_000, len(wire) - 20):
        decoder = ChunkedDecoder((), Documented(signer), seed, sign_trailer=False)
        with pytest.raises(S3Error) as caught:
            list(decoder.feed(wire[:at] + b"!" + wire[at + 1 :]))
        assert caught.value.code == "SignatureDoesNotMatch"


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(8192, 9000), max_size=3), last=st.integers(0, 300), cuts=st.lists(st.integers(0, 40_000))
)
def test_chunks_come_out_whole_however_they_are_cut(sizes: list[int], last: int, cuts: list[int]) -> None:
    pieces = [bytes([n]) * size for n, size in enumerate([*sizes, last]) if size]
    wire = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    wire += b"0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
    edges = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    decoder = ChunkedDecoder(["x-amz-checksum-crc32"], None, "", sign_trailer=False)
    out = b"".join(bytes(data) for start, end in itertools.pairwise(edges) for data in decoder.feed(wire[start:end]))
    decoder.finish()
    assert out == b"".join(pieces)
    assert decoder.trailers == {"x-amz-checksum-crc32": "AAAAAA=="}


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"5\r\nab", "IncompleteBody"),
        (b"zz\r\n", "IncompleteBody"),
        (b"-5\r\n", "IncompleteBody"),
        (b"2\r\nabc\r\n0\r\n\r\n", "IncompleteBody"),
        (b"2\r\nab\r\n", "IncompleteBody"),
        (b"2\r\nab\r\n0\r\n\r\nmore", "IncompleteBody"),
        (b"2\r\nab\r\n2\r\nab\r\n0\r\n\r\n", "InvalidChunkSizeError"),
        (b"2\r\nab\r\n0\r\nx-amz-checksum-sha1:AA\r\n\r\n", "MalformedTrailerError"),
        (b"f" * 5000, "IncompleteBody"),
    ],
)
def test_bodies_that_are_not_aws_chunked(wire: bytes, code: str) -> None:
    decoder = ChunkedDecoder((), None, "", sign_trailer=False)

    def whole() -> None:
        list(decoder.feed(wire))
        decoder.finish()

    with pytest.raises(S3Error) as caught:
        whole()
    assert caught.value.code == code


def chunks(size: int = 65536) -> Iterator[bytes]:
    for start in range(0, len(BODY), size):
        yield BODY[start : start + size]
    yield b""


class Wire:
    """A client of few manners: signs a PUT's head, then sends what it is told."""

    def __init__(self, server: S3Server, bucket: str) -> None:
        self.host = server.served.url.removeprefix("http://")
        self.path = f"/{bucket}/k"

    def head(self, payload: str, **extra: str) -> tuple[dict[str, str], Signer]:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        headers = {"host": self.host, "x-amz-date": stamp, "x-amz-content-sha256": payload}
        headers.update({name.replace("_", "-"): value for name, value in extra.items()})
        names = sorted(headers)
        request = "\n".join(
            ["PUT", self.path, "", *(f"{name}:{headers[name]}" for name in names), "", ";".join(names), payload]
        )
        scope = f"{stamp[:8]}/us-east-1/s3/aws4_request"
        key = sigv4.signing_key(ANN.secret, stamp[:8], "us-east-1", "s3")
        to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.new(key, to_sign.encode(), "sha256").hexdigest()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={ANN.key_id}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
        )
        return headers, Signer(key, stamp, scope, signature)

    def put(self, headers: dict[str, str], body: bytes | Iterable[bytes]) -> tuple[int, str]:
        """Status and error code."""
        connection = http.client.HTTPConnection(self.host, timeout=20)
        try:
            connection.request("PUT", self.path, body, headers, encode_chunked="content-length" not in headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            return answer.status, text.partition("<Code>")[2].partition("</Code>")[0]
        finally:
            connection.close()


@pytest.fixture
def wire(server: S3Server, bucket: str) -> Wire:
    return Wire(server, bucket)


def signed_body(signer: Signer, trailer: str = "", spoil: int = -1) -> bytes:
    out = b""
    for number, data in enumerate(chunks()):
        signature = signer.chunk(data)
        sent = b"!" + data[1:] if number == spoil else data
        out += f"{len(sent):x};chunk-signature={signature}\r\n".encode() + sent + (b"\r\n" if sent else b"")
    if trailer:
        lines = f"x-amz-checksum-crc32:{trailer}\n"
        out += f"x-amz-checksum-crc32:{trailer}\r\nx-amz-trailer-signature:{signer.trailer(lines)}\r\n".encode()
    return out + b"\r\n"


def test_signed_chunks(wire: Wire, s3: Any, bucket: str) -> None:
    length = {"x_amz_decoded_content_length": str(len(BODY)), "content_encoding": "aws-chunked,gzip"}
    headers, signer = wire.head("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", **length)
    assert wire.put(headers, signed_body(signer)) == (200, "")
    got = s3.get_object(Bucket=bucket, Key="k")
    assert (got["Body"].read(), got["ContentEncoding"]) == (BODY, "gzip")
    headers, signer = wire.head("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", **length)
    assert wire.put(headers, signed_body(signer, spoil=1)) == (403, "SignatureDoesNotMatch")
    headers, signer = wire.head("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", **length)
    unsigned = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    assert wire.put(headers, unsigned) == (403, "SignatureDoesNotMatch")


def test_signed_trailer(wire: Wire, s3: Any, bucket: str) -> None:
    literal = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    length = {"x_amz_decoded_content_length": str(len(BODY)), "x_amz_trailer": "x-amz-checksum-crc32"}
    headers, signer = wire.head(literal, **length)
    assert wire.put(headers, signed_body(signer, CRC)) == (200, "")
    assert s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["ChecksumCRC32"] == CRC
    headers, signer = wire.head(literal, **length)
    assert wire.put(headers, signed_body(signer, "AAAAAA==")) == (400, "BadDigest")
    headers, signer = wire.head(literal, **length)
    swapped = signed_body(signer, CRC).replace(CRC.encode(), b"AAAAAA==")
    assert wire.put(headers, swapped) == (403, "SignatureDoesNotMatch")
    headers, signer = wire.head(literal, **length)
    assert wire.put(headers, signed_body(signer)) == (400, "MalformedTrailerError")


def test_unsigned_trailer(wire: Wire, s3: Any, bucket: str) -> None:
    literal = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    length = {"x_amz_decoded_content_length": str(len(BODY)), "x_amz_trailer": "x-amz-checksum-crc32"}

    def body(trailer: str) -> bytes:
        wired = b"".join(b"%x\r\n%b\r\n" % (len(data), data) for data in chunks() if data)
        return wired + f"0\r\nx-amz-checksum-crc32:{trailer}\r\n\r\n".encode()

    headers, _ = wire.head(literal, **length)
    assert wire.put(headers, body(CRC)) == (200, "")
    assert s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["Body"].read() == BODY
    headers, _ = wire.head(literal, **length)
    assert wire.put({**headers, "transfer-encoding": "chunked"}, iter([body(CRC)])) == (200, "")
    headers, _ = wire.head(literal, **length)
    assert wire.put(headers, body("AAAAAA==")) == (400, "BadDigest")
    headers, _ = wire.head(literal, **{**length, "x_amz_decoded_content_length": str(len(BODY) - 1)})
    assert wire.put(headers, body(CRC)) == (400, "IncompleteBody")
    headers, _ = wire.head(literal, x_amz_trailer="x-amz-checksum-crc32")
    assert wire.put(headers, body(CRC)) == (411, "MissingContentLength")


def test_a_signed_payload_is_what_was_signed(wire: Wire) -> None:
    headers, _ = wire.head(hashlib.sha256(BODY).hexdigest())
    assert wire.put(headers, BODY) == (200, "")
    assert wire.put(headers, BODY[:-1] + b"!") == (400, "XAmzContentSHA256Mismatch")
    headers, _ = wire.head("UNSIGNED-PAYLOAD")
    assert wire.put({**headers, "transfer-encoding": "chunked"}, iter([BODY])) == (411, "MissingContentLength")
    headers, _ = wire.head("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD")
    assert wire.put(headers, BODY) == (501, "NotImplemented")


def receive_until(connection: socket.socket, end: bytes) -> bytes:
    data = b""
    while end not in data:
        more = connection.recv(65536)
        if not more:
            break
        data += more
    return data


def head_bytes(wire: Wire, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"PUT {wire.path} HTTP/1.1\r\n{lines}\r\n".encode()


def test_100_continue(wire: Wire) -> None:
    """The server asks for a body that it wants, and says no at once to one that it does not want."""
    host, port = wire.host.split(":")
    headers, _ = wire.head("UNSIGNED-PAYLOAD")
    waiting = {**headers, "content-length": "5", "expect": "100-continue"}
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(head_bytes(wire, waiting))
        assert receive_until(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"hello")
        assert receive_until(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    wire.path = "/no-such-bucket-here/k"
    headers, _ = wire.head("UNSIGNED-PAYLOAD")
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(head_bytes(wire, {**headers, "content-length": "5", "expect": "100-continue"}))
        answer = receive_until(connection, b"</Error>")
        assert answer.startswith(b"HTTP/1.1 404 ")
        assert b"connection: close" in answer.lower()


def test_a_refused_upload_leaves_the_connection_usable(wire: Wire, s3: Any, bucket: str) -> None:
    good = wire.path
    connection = http.client.HTTPConnection(wire.host, timeout=20)
    try:
        for path, status in (("/no-such-bucket-here/k", 404), (good, 200)):
            wire.path = path
            headers, _ = wire.head("UNSIGNED-PAYLOAD")
            connection.request("PUT", path, BODY * 30, headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
    finally:
        connection.close()
    assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == len(BODY) * 30


def test_a_client_that_goes_leaves_nothing(wire: Wire, server: S3Server, s3: Any, bucket: str) -> None:
    host, port = wire.host.split(":")
    headers, _ = wire.head("UNSIGNED-PAYLOAD")
    incoming = server.store.blobs.folder(".incoming")
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(head_bytes(wire, {**headers, "content-length": "5000000"}) + b"x" * 2_000_000)
        deadline = time.monotonic() + 10
        while not list(incoming.iterdir()) and time.monotonic() < deadline:
            pass
    deadline = time.monotonic() + 10
    while list(incoming.iterdir()) and time.monotonic() < deadline:
        pass
    assert list(incoming.iterdir()) == []
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
