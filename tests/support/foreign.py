"""Another object store: a moto server in a process of its own, which tests may stop and start."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import urllib.request
from typing import Any

import boto3
from botocore.config import Config

from tests.support.server import free_port, wait_until


class MotoServer:
    """S3 by moto on a free port; what it holds is lost when it stops. Use as a context manager."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> MotoServer:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, "moto answers", 60)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def client(self) -> Any:
        """A boto3 client of it; close it."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="moto",
            aws_secret_access_key="moto",
            config=Config(retries={"total_max_attempts": 1}),
        )

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/moto-api/", timeout=2) as answer:
            return bool(answer.status == 200)
        return False
