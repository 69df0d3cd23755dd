"""A real `clary serve`, as a user starts it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
import psutil
from botocore.config import Config

IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"
ROLE = "arn:aws:iam::123456789012:role/any"
START_S = 30


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(holds: Callable[[], Any], what: str, timeout_s: float = 20.0) -> Any:
    """Poll until `holds()` is true and return it; AssertionError naming `what` otherwise."""
    end = time.monotonic() + timeout_s
    while not (value := holds()):
        assert time.monotonic() < end, f"not within {timeout_s} s: {what}"
        time.sleep(0.01)
    return value


class Server:
    """`clary serve` on a HOME and a free port; use as a context manager."""

    def __init__(self, home: Path, *flags: str, environ: Mapping[str, str] | None = None) -> None:
        """`environ`: variables of the server besides those of the test, whose AWS_ and CLARY_ ones it does not see."""
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._flags = flags
        self._environ = environ or {}
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until it says it is ready."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "CLARY_", "OTEL_"))}
        env |= self._environ
        argv = [sys.executable, "-m", "clary.cli.main", "serve", "--home", str(self.home), "--port", str(self.port)]
        out = self.home / "serve.out"
        with out.open("ab") as output:
            said = output.tell()
            self.process = subprocess.Popen([*argv, *self._flags], stdout=output, stderr=output, env=env)
        # The banner, not only health: after a kill of the agent what it left behind still answers.
        wait_until(lambda: self.healthy() and b"serves at" in out.read_bytes()[said:], f"a banner in {out}", START_S)

    def healthy(self) -> bool:
        """Whether readiness is reported."""
        assert self.process is None or self.process.poll() is None, (self.home / "serve.out").read_text()
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/clary/health", timeout=2) as answer:
            return bool(answer.status == 200)
        return False

    def stop(self) -> None:
        """Ctrl-C, and every process of it gone."""
        if self.process is None:
            return
        family = self.family()
        self.process.send_signal(signal.SIGINT)
        try:
            assert self.process.wait(40) == 0, (self.home / "serve.out").read_text()
        finally:
            self.process = None
            left = [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
            for process in left:
                process.kill()
        assert not left, f"left running after Ctrl-C: {left}"

    def kill(self) -> None:
        """kill -9 of the agent; everything below it goes on."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def family(self) -> list[psutil.Process]:
        """Every process below the agent."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def pid_of(self, title: str) -> int:
        """The one process whose title or command line holds `title`."""
        found = self.pids_of(title)
        assert len(found) == 1, f"{title}: {found}"
        return found.pop()

    def pids_of(self, title: str) -> set[int]:
        """All processes whose title or command line holds `title`; those that end meanwhile are left out."""
        found = set()
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                if title in " ".join(process.cmdline()):
                    found.add(process.pid)
        return found

    def client(self, service: str, **config: Any) -> Any:
        """A boto3 client of this server, with the key that `clary env` would print."""
        key = json.loads((self.home / "secrets" / "root.json").read_text())
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=key["key_id"],
            aws_secret_access_key=key["secret"],
            config=Config(**config),
        )

    def host(self, name: str, archive: bytes, *, image: str = IMAGE, instances: int = 1, wait: bool = True) -> None:
        """Bucket, upload, model, configuration and endpoint, all named `name`."""
        s3, sagemaker = self.client("s3"), self.client("sagemaker")
        s3.create_bucket(Bucket=name)
        s3.put_object(Bucket=name, Key="model.tar.gz", Body=archive)
        sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=ROLE,
            PrimaryContainer={"Image": image, "ModelDataUrl": f"s3://{name}/model.tar.gz"},
        )
        sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {
                    "VariantName": "AllTraffic",
                    "ModelName": name,
                    "InitialInstanceCount": instances,
                    "InstanceType": "ml.t3.medium",
                }
            ],
        )
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        if wait:
            sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name)

    def invoke(self, name: str, body: str, **more: Any) -> str:
        """The answer to a row of CSV."""
        runtime = self.client("sagemaker-runtime", retries={"total_max_attempts": 1})
        answer = runtime.invoke_endpoint(EndpointName=name, Body=body, ContentType="text/csv", **more)
        return answer["Body"].read().decode()  # type: ignore[no-any-return]
