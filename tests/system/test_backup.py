"""`clary backup` beside a server at work, `clary restore` into a new HOME, and the same endpoint answers there."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from clary.cli.exit_codes import Exit
from tests.support.server import Server

ROW = "1,2,3,4"


def clary(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "clary.cli.main", *words, "--home", str(home)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


class Writer(threading.Thread):
    """Puts object after object until told to stop; every error counts."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._s3 = server.client("s3", retries={"total_max_attempts": 1})
        self.stop = threading.Event()
        self.written = 0
        self.errors: list[Exception] = []

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                self._s3.put_object(Bucket="host", Key=f"busy/{self.written:06}", Body=b"x" * 1000)
            except Exception as error:
                self.errors.append(error)
            self.written += 1


@pytest.mark.timeout(240)
def test_a_server_moves_to_another_home_with_its_endpoint_objects_and_keys(tmp_path: Path, regressor: Path) -> None:
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "clary.tar"
    old.mkdir()
    with Server(old, "--auth", "sigv4") as server:
        server.host("host", regressor.read_bytes())
        answer = server.invoke("host", ROW)
        made = clary(old, "keys", "create", "ci")
        assert made.returncode == 0, made.stderr
        writer = Writer(server)
        writer.start()
        try:
            done = clary(old, "backup", str(file), "--secrets")
            assert done.returncode == 0, done.stderr
            assert "artifacts   1" in done.stdout
            # Serves on, and takes writes on.
            at = writer.written
            assert server.invoke("host", ROW) == answer
            while writer.written < at + 3 and writer.is_alive():
                writer.join(0.01)
        finally:
            writer.stop.set()
            writer.join()
        assert writer.errors == []
        refused = clary(old, "restore", str(file), "--force")
        assert (refused.returncode, "Clary serves" in refused.stderr) == (Exit.REFUSED, True)
        server.client("sagemaker").delete_endpoint(EndpointName="host")
    done = clary(new, "restore", str(file))
    assert done.returncode == 0, done.stderr
    with Server(new, "--auth", "sigv4") as server:
        server.client("sagemaker").get_waiter("endpoint_in_service").wait(EndpointName="host")
        assert server.invoke("host", ROW) == answer
        keys = [one["Key"] for one in server.client("s3").list_objects_v2(Bucket="host")["Contents"]]
        assert "model.tar.gz" in keys
        busy = [key for key in keys if key.startswith("busy/")]
        assert busy == [f"busy/{number:06}" for number in range(len(busy))]
        assert "ci" in clary(new, "keys", "list").stdout
    refused = clary(new, "restore", str(file))
    assert (refused.returncode, "--force" in refused.stderr) == (Exit.REFUSED, True)


@pytest.mark.timeout(240)
def test_without_secrets_and_over_what_there_is(tmp_path: Path, regressor: Path) -> None:
    home, file = tmp_path / "home", tmp_path / "clary.tar"
    home.mkdir()
    with Server(home) as server:
        server.host("host", regressor.read_bytes())
        answer = server.invoke("host", ROW)
        assert clary(home, "backup", str(file)).returncode == 0
        server.client("sagemaker").delete_endpoint(EndpointName="host")
        server.client("sagemaker").get_waiter("endpoint_deleted").wait(EndpointName="host")
    assert clary(home, "restore", str(file), "--force").returncode == 0
    with Server(home) as server:
        server.client("sagemaker").get_waiter("endpoint_in_service").wait(EndpointName="host")
        assert server.invoke("host", ROW) == answer
    elsewhere = tmp_path / "elsewhere"
    done = clary(elsewhere, "restore", str(file))
    assert (done.returncode, "new root key" in done.stderr) == (0, True)
    with Server(elsewhere, "--auth", "sigv4") as server:
        server.client("sagemaker").get_waiter("endpoint_in_service").wait(EndpointName="host")
        assert server.invoke("host", ROW) == answer
