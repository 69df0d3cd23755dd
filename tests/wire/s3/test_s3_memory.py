"""Uploads and downloads of any size pass through the server in bounded memory."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.config import Config

from tests.support.door import ANN

MIB = 1024 * 1024

SERVER = """
import sys
from pathlib import Path
from tests.support.s3 import serve_s3
with serve_s3(Path(sys.argv[1])) as server:
    print(server.served.url, flush=True)
    sys.stdin.read()
"""


class Zeros(io.RawIOBase):
    """A file of zeros of some length that is nowhere. Seekable: boto3 rewinds what it signs."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self._size - self._at)
        buffer[:count] = bytes(count)
        self._at += count
        return count


class Peak:
    """The highest resident set of a process while the block runs, in bytes above what it was."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._over = threading.Event()
        self.growth = 0

    def __enter__(self) -> Peak:
        self._base = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.growth = max(self.growth, self._process.memory_info().rss - self._base)


@contextlib.contextmanager
def server(home: Path) -> Iterator[tuple[int, Any]]:
    command = [sys.executable, "-c", SERVER, str(home)]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1",
            aws_access_key_id=ANN.key_id, aws_secret_access_key=ANN.secret,
            config=Config(s3={"addressing_style": "path", "payload_signing_enabled": False}, read_timeout=300),
        )  # fmt: skip
        try:
            client.create_bucket(Bucket="big-ones")
            client.put_object(Bucket="big-ones", Key="warm", Body=Zeros(4 * MIB))
            client.get_object(Bucket="big-ones", Key="warm")["Body"].read()
            yield process.pid, client
        finally:
            client.close()
            process.communicate()


def passes_through(home: Path, size: int) -> None:
    with server(home) as (pid, client):
        with Peak(pid) as peak:
            client.put_object(Bucket="big-ones", Key="k", Body=Zeros(size))
        assert peak.growth < 24 * MIB, f"an upload of {size // MIB} MiB took {peak.growth / MIB:.0f} MiB"
        with Peak(pid) as peak:
            body = client.get_object(Bucket="big-ones", Key="k")["Body"]
            # A slow reader: the server must wait, not gather.
            assert sum(len(block) for block in body.iter_chunks(MIB)) == size
        assert peak.growth < 24 * MIB, f"a download of {size // MIB} MiB took {peak.growth / MIB:.0f} MiB"


def test_64_mib_do_not_grow_the_server(tmp_path: Path) -> None:
    passes_through(tmp_path, 64 * MIB)


@pytest.mark.slow
def test_2_gib_do_not_grow_the_server(tmp_path: Path) -> None:
    passes_through(tmp_path, 2048 * MIB)
