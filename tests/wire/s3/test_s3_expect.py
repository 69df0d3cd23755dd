"""`Expect: 100-continue` on the wire: told before the answer, or the connection ends with it."""

from __future__ import annotations

import http.client
import socket
from typing import Any
from urllib.parse import urlsplit

from tests.support.s3 import S3Server


def talk(server: S3Server, url: str, body: bytes, *, expect: bool = True, content_length: int | None = None) -> bytes:
    """PUT with Expect; everything that comes before the body is sent, then all of it."""
    parts = urlsplit(url)
    length = len(body) if content_length is None else content_length
    head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {length}\r\n"
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as wire:
        wire.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
        said = wire.recv(65536)
        if said.startswith(b"HTTP/1.1 100"):
            wire.sendall(body)
            while b"content-length" not in said:
                said += wire.recv(65536)
        return said


def presigned(s3: Any, bucket: str, **more: Any) -> str:
    return s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "k", **more})  # type: ignore[no-any-return]


def test_who_may_upload_is_told_to_go_on(server: S3Server, s3: Any, bucket: str) -> None:
    for body in (b"v", b""):
        said = talk(server, presigned(s3, bucket), body)
        assert said.startswith(b"HTTP/1.1 100 Continue\r\n\r\n"), said
        assert b"HTTP/1.1 200 OK" in said
        assert b"connection: close" not in said
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == body


def test_who_may_not_is_told_at_once_and_the_connection_ends(server: S3Server, s3: Any, bucket: str) -> None:
    url = presigned(s3, bucket)
    refusals = {
        url.replace(bucket, "no-such-bucket"): b"SignatureDoesNotMatch",
        presigned(s3, "no-such-bucket-here"): b"NoSuchBucket",
    }
    for address, code in refusals.items():
        said = talk(server, address, b"never sent")
        assert code in said
        assert said.startswith((b"HTTP/1.1 403", b"HTTP/1.1 404"))
        assert said.lower().count(b"connection: close") == 1


def test_an_empty_upload_leaves_its_connection_in_order(server: S3Server, s3: Any, bucket: str) -> None:
    parts = urlsplit(presigned(s3, bucket))
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    for _ in range(3):
        connection.request("PUT", f"{parts.path}?{parts.query}", b"", {"Expect": "100-continue", "Content-Length": "0"})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
    connection.close()
