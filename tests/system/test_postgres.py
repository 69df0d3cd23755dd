"""A real server whose store is PostgreSQL: boto3 through kills of control and of the database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.support.postgres import Cluster
from tests.support.server import IMAGE, ROLE, Server, free_port, wait_until

ROW = "1,2,3,4"
PASSWORD = "p@ss/w?rd%#é"
SAID = "p%40ss%2Fw%3Frd%25%23%C3%A9"
"""The same in a URL."""


@pytest.fixture(scope="module")
def guarded(postgres: Cluster) -> Iterator[Cluster]:
    """One that asks for a password; skipped where the machine has no PostgreSQL."""
    with Cluster(password=PASSWORD) as cluster:
        yield cluster


def url_of(cluster: Cluster) -> str:
    address = cluster.create()
    return address.url.replace("clary@", f"clary:{SAID}@", 1)


def test_a_server_lives_on_postgresql(guarded: Cluster, tmp_path: Path, regressor: Path) -> None:
    url = url_of(guarded)
    with Server(tmp_path, environ={"CLARY_STORE": url}) as server:
        server.host("regress", regressor.read_bytes())
        said = server.invoke("regress", ROW)
        os.kill(server.pid_of("clary.assembly"), signal.SIGKILL)
        assert server.invoke("regress", ROW) == said
        sagemaker = server.client("sagemaker", retries={"total_max_attempts": 10})
        assert sagemaker.describe_endpoint(EndpointName="regress")["EndpointStatus"] == "InService"
        assert not (tmp_path / "clary.db").exists()
        no_password(tmp_path, server)
    with Server(tmp_path, environ={"CLARY_STORE": url}) as server:
        server.client("sagemaker").get_waiter("endpoint_in_service").wait(EndpointName="regress")
        assert server.invoke("regress", ROW) == said
        server.client("sagemaker").delete_endpoint(EndpointName="regress")
        server.client("sagemaker").get_waiter("endpoint_deleted").wait(EndpointName="regress")


@pytest.mark.slow
def test_another_server_on_the_same_database_is_refused(postgres: Cluster, tmp_path: Path) -> None:
    address = postgres.create()
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with Server(tmp_path / "one", "--store", address.url):
        done = serve(tmp_path / "two", address.url)
    assert done.returncode != 0
    assert f"The store {address} is in use by another Clary: clary control on " in done.stdout
    assert "Traceback" not in done.stdout


def serve(home: Path, url: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "clary.cli.main", "serve", "--home", str(home), "--port", str(free_port())]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "CLARY_"))} | {"CLARY_STORE": url}
    return subprocess.run(
        argv, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, timeout=100
    )


def no_password(home: Path, server: Server) -> None:
    """Neither in argv, nor in a file but one of HOME/secrets, nor in `clary config`."""
    for process in server.family():
        assert SAID not in " ".join(process.cmdline())
    for path in home.rglob("*"):
        if path.is_file() and path.parent.name != "secrets":
            content = path.read_bytes()
            assert SAID.encode() not in content, path
            assert PASSWORD.encode() not in content, path
    assert json.loads((home / "secrets" / "store.json").read_text())["password"] == PASSWORD
    assert (home / "secrets" / "store.json").stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_a_server_moves_from_sqlite_to_postgresql(guarded: Cluster, tmp_path: Path, regressor: Path) -> None:
    """As docs/how-to/postgres.md tells it."""
    url, archive, new = url_of(guarded), str(tmp_path / "clary.tar"), tmp_path / "new"
    (tmp_path / "old").mkdir()
    with Server(tmp_path / "old") as server:
        server.host("regress", regressor.read_bytes())
        said = server.invoke("regress", ROW)
        clary("backup", archive, "--secrets", "--home", str(tmp_path / "old"))
    clary("restore", archive, "--home", str(new), store=url)
    with Server(new, environ={"CLARY_STORE": url}) as server:
        server.client("sagemaker").get_waiter("endpoint_in_service").wait(EndpointName="regress")
        assert server.invoke("regress", ROW) == said
        # Without being told: HOME remembers its store.
        clary("backup", archive, "--force", "--home", str(new))
        checks = json.loads(clary("doctor", "--json", "--home", str(new), status=None))["checks"]
        assert [(one["state"], PASSWORD in one["found"]) for one in checks if one["name"] == "store"] == [("ok", False)]
    shown = json.loads(clary("config", "--json", "--home", str(new), store=url))["options"]
    (store,) = (one for one in shown if one["option"] == "store")
    assert store["value"] == url.replace(f":{SAID}", "")
    assert store["source"] == "CLARY_STORE"
    with tarfile.open(archive) as kept:
        assert "secrets/store.json" not in kept.getnames()
        assert "clary.db" in kept.getnames()


def clary(*arguments: str, store: str = "", status: int | None = 0) -> str:
    """What a command prints; `status` None: any."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "CLARY_"))}
    argv = [sys.executable, "-m", "clary.cli.main", *arguments]
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, env=env | ({"CLARY_STORE": store} if store else {})
    )
    assert status is None or done.returncode == status, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_server_that_cannot_reach_its_store_says_so_in_one_sentence(tmp_path: Path) -> None:
    done = serve(tmp_path, "postgresql://clary:hush@127.0.0.1:1/db")
    assert done.returncode != 0
    assert "The store postgresql://clary@127.0.0.1:1/db cannot be reached: connection" in done.stdout
    assert "hush" not in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("postgres")  # skips where there is none
def test_a_database_that_restarts_under_load_fails_no_invocation(tmp_path: Path, regressor: Path) -> None:
    with Cluster() as cluster, Server(tmp_path, "--store", cluster.create().url) as server:
        server.host("regress", regressor.read_bytes())
        control = server.pid_of("clary.assembly")
        with Load(server) as load:
            for number, how in enumerate((signal.SIGINT, signal.SIGQUIT)):
                cluster.stop(how)
                load.more(20)
                # Asked while it is away, answered when it is back.
                with ThreadPoolExecutor(1) as pool:
                    asked = pool.submit(create_model, server, f"late-{number}")
                    load.more(20)
                    cluster.start()
                    asked.result(40)
                load.more(20)
        assert load.failures == []
        assert server.pid_of("clary.assembly") == control, "control lived through it"
        names = {model["ModelName"] for model in server.client("sagemaker").list_models()["Models"]}
        assert names == {"regress", "late-0", "late-1"}


def create_model(server: Server, name: str) -> None:
    sagemaker = server.client("sagemaker", retries={"total_max_attempts": 1})
    container = {"Image": IMAGE, "ModelDataUrl": "s3://regress/model.tar.gz"}
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)


class Load:
    """Two clients that invoke without a pause; use as a context manager."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stop = threading.Event()
        self.answers = 0
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(2)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def more(self, count: int) -> None:
        """Wait until so many more were answered."""
        until = self.answers + count
        wait_until(lambda: self.answers >= until or self.failures, f"{count} more answers", 30)

    def _ask(self) -> None:
        runtime = self._server.client("sagemaker-runtime", retries={"total_max_attempts": 1})
        while not self._stop.is_set():
            try:
                runtime.invoke_endpoint(EndpointName="regress", Body=ROW, ContentType="text/csv")["Body"].read()
                self.answers += 1
            except (BotoCoreError, ClientError, OSError) as error:
                self.failures.append(str(error))
