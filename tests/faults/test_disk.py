"""A disk that fills up while 64 clients invoke and control writes."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clary.edge.aws.errors import DISK_FULL
from tests.faults.clients import Clients
from tests.faults.conftest import ENDPOINT, Tally, error_of
from tests.support.model import ROW, packed_regressor
from tests.support.server import IMAGE, ROLE, Server, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
MORE = 1000
MIB = 1 << 20
DISK_MIB = 96
WRITES_MAX = 3000
"""Small writes that the databases may still take into room of their own."""
ROUNDS = 3


@pytest.fixture
def disk() -> Iterator[Path]:
    """A file system of its own, of 96 MiB."""
    folder = Path(tempfile.mkdtemp(prefix="d-", dir="/tmp"))
    argv = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=0700", "none", str(folder)]
    try:
        done = subprocess.run(argv, check=False, capture_output=True, text=True) if os.getuid() == 0 else None
        if done is None or done.returncode:
            pytest.skip(f"a small disk cannot be mounted: {done.stderr.strip() if done else 'this needs root'}")
        yield folder
        subprocess.run(["umount", "-l", str(folder)], check=True)
    finally:
        shutil.rmtree(folder)


def fill(disk: Path) -> None:
    """Take all the room there is, to the byte."""
    with (disk / "filler").open("ab", buffering=0) as file:
        for size in (MIB, 4096, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass
    assert shutil.disk_usage(disk).free == 0, os.strerror(errno.ENOSPC)


class Control:
    """Writes to control and to the object store, each counted."""

    def __init__(self, server: Server) -> None:
        once = {"retries": {"total_max_attempts": 1}}
        self.sagemaker, self.s3 = server.client("sagemaker", **once), server.client("s3", **once)
        self.made: list[str] = []
        self.refused = 0

    def create(self) -> bool:
        """Whether a model could be created; where not, the refusal names the disk."""
        name = f"model-{len(self.made) + self.refused}"
        container = {"Image": IMAGE, "ModelDataUrl": "s3://ballast/0"}
        error = error_of(self.sagemaker.create_model, ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
        if not error:
            self.made.append(name)
            return True
        self.refused += 1
        assert (error["Code"], error["Message"]) == ("InternalFailure", DISK_FULL)
        return False

    def put(self, number: int) -> dict[str, Any]:
        return error_of(self.s3.put_object, Bucket="ballast", Key=str(number), Body=bytes(MIB))


def test_a_disk_that_fills_up(disk: Path, tally: Tally) -> None:
    (disk / "home").mkdir()
    with Server(disk / "home") as server:
        server.host(ENDPOINT, packed_regressor(), instances=2)
        control = Control(server)
        control.s3.create_bucket(Bucket="ballast")
        for number in range(ROUNDS * 2):
            assert control.put(number) == {}
        lost: list[str] = []
        with Clients(server, ENDPOINT) as clients:
            for number in range(ROUNDS):
                clients.more(MORE)
                assert control.create()
                fill(disk)
                assert any(not control.create() for _ in range(WRITES_MAX)), "control writes although nothing can be"
                assert control.put(99)["Message"] == DISK_FULL
                clients.more(MORE)
                fill(disk)
                for key in (str(number * 2), str(number * 2 + 1)):
                    if error := error_of(control.s3.delete_object, Bucket="ballast", Key=key):
                        lost.append(f"DeleteObject {key}: {error}")
                    fill(disk)
                clients.more(MORE)
                (disk / "filler").unlink()
                wait_until(control.create, "control writes again")
        known = {model["ModelName"] for page in control.sagemaker.get_paginator("list_models").paginate()
                 for model in page["Models"]}  # fmt: skip
        lost += [f"{name} was made and is gone" for name in control.made if name not in known]
        server.host("later", packed_regressor())
        assert server.invoke("later", ROW)
        server.stop()
        server.start()
        assert server.invoke(ENDPOINT, ROW)
    note = (
        f"{len(control.made)} control writes done, {control.refused} refused in as many words; "
        f"{ROUNDS * 2} objects deleted while not a byte was left"
    )
    tally(f"a disk that fills up, {ROUNDS} times", clients.tried, [*clients.lost(), *lost], note)
