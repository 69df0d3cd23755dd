"""Copies that take longer than clients wait for a byte: kept alive by blanks, errors told in the document."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from clary.edge.aws.s3.service import S3Options
from clary.objects.reader import Reader
from tests.support.s3 import S3Server, refused, serve_s3

DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'
SOURCE = {"Bucket": "slow", "Key": "source"}


class Gate:
    """Holds reads of objects until it is opened; they then end as told."""

    def __init__(self, patch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
        self.opened = threading.Event()
        read = Reader.read_at

        def read_at(reader: Reader, offset: int, count: int) -> bytes:
            assert self.opened.wait(20)
            if error is not None:
                raise error
            return read(reader, offset, count)

        patch.setattr(Reader, "read_at", read_at)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[S3Server]:
    with serve_s3(tmp_path, options=S3Options(patience_s=0.02)) as server:
        server.s3.create_bucket(Bucket="slow")
        server.store.put("slow", "source", [b"v" * 100])
        yield server


def copied(url: str, gate: Gate) -> tuple[int, bytes, bytes]:
    """Status, what came before the gate was opened (declaration and three blanks), and the rest."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    try:
        connection.request("PUT", f"{parts.path}?{parts.query}", headers={"x-amz-copy-source": "slow/source"})
        answer = connection.getresponse()
        before = answer.read(len(DECLARATION) + 3)
        gate.opened.set()
        return answer.status, before, answer.read()
    finally:
        connection.close()


def test_blanks_come_before_the_document(slow: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = slow.s3.generate_presigned_url("copy_object", {"Bucket": "slow", "Key": "copy", "CopySource": SOURCE})
    status, before, rest = copied(url, Gate(monkeypatch))
    assert (status, before) == (200, DECLARATION + b"   ")
    assert rest.strip().startswith(b"<CopyObjectResult")
    assert slow.store.head("slow", "copy").size == 100


def test_an_error_takes_the_place_of_the_document(slow: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = slow.s3.create_multipart_upload(Bucket="slow", Key="copy")["UploadId"]
    part = {"Bucket": "slow", "Key": "copy", "CopySource": SOURCE, "PartNumber": 1, "UploadId": upload}
    url = slow.s3.generate_presigned_url("upload_part_copy", part)
    status, before, rest = copied(url, Gate(monkeypatch, OSError("the disk")))
    assert (status, before) == (200, DECLARATION + b"   ")
    assert rest.strip().startswith(b"<Error><Code>InternalError</Code>")


@pytest.mark.parametrize("error", [None, OSError("the disk")])
def test_boto3_understands_both(slow: S3Server, monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
    gate = Gate(monkeypatch, error)
    opener = threading.Timer(0.2, gate.opened.set)  # ten times the server's patience
    opener.start()
    if error is None:
        assert slow.s3.copy_object(Bucket="slow", Key="copy", CopySource=SOURCE)["CopyObjectResult"]["ETag"]
    else:
        with refused("InternalError", 500):
            slow.s3.copy_object(Bucket="slow", Key="copy", CopySource=SOURCE)
    opener.join()
