"""Clients as published, each in an environment of its own, run by `clary exec` against a real `clary serve`."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.model import packed_regressor
from tests.support.server import Server

HERE = Path(__file__).parent
NO_INDEX = ("error sending request", "dns error", "Could not connect", "Failed to fetch", "Connect error", "timed out")
"""What uv says where no package index can be reached."""
NOWHERE = "http://127.0.0.1:9"
"""A proxy that is not there: what a client asks of the internet fails at once, as on a machine without any."""
BARE = ("-u", "AWS_ENDPOINT_URL", "-u", "SAGEMAKER_USER_CONFIG_OVERRIDE")
"""What `env` takes away of that which `clary exec` sets."""

Run = Callable[..., str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server on its own HOME and port."""
    with Server(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="session")
def regressor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.tar.gz of a small XGBoost regressor of four features."""
    path = tmp_path_factory.mktemp("model") / "model.tar.gz"
    path.write_bytes(packed_regressor())
    return path


def environment(name: str, cache: Path) -> Path:
    """Folder of the programs of client `name`: those of NAME.txt, installed once for each content of that file."""
    wanted = HERE / f"{name}.txt"
    key = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = cache / f"{name}-{key}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            uv = [sys.executable, "-m", "uv"]
            _uv([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
            _uv([*uv, "pip", "install", "--quiet", "--python", str(folder), "--requirements", str(wanted)])
            (folder / "ready").touch()
    return folder / "bin"


def _uv(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and any(sign in done.stderr for sign in NO_INDEX):
        pytest.skip(f"no package index is reachable: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def run(server: Server, tmp_path: Path, pytestconfig: pytest.Config) -> Run:
    """`run(client, script, *args)`: a script of this folder under `clary exec`; its output. Fails where it fails.

    `bare`: nothing names an endpoint or a default bucket; the proxy alone leads to the server, as a role's session.
    """
    cache = pytestconfig.cache.mkdir("clients")

    def one(client: str, script: str, *args: str, bare: bool = False) -> str:
        programs = environment(client, cache)
        env = {
            name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CLARY_", "SAGEMAKER_"))
        }
        env |= {"HTTPS_PROXY": NOWHERE, "HTTP_PROXY": NOWHERE, "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        env["PATH"] = f"{programs}{os.pathsep}{env['PATH']}"
        command = [sys.executable, "-m", "clary.cli.main", "exec", "--home", str(server.home)]
        command += ["--proxy", "--role", "notebook", "--", "env", *BARE] if bare else ["--"]
        command += ["sh" if script.endswith(".sh") else str(programs / "python"), str(HERE / script), *args]
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-6000:]}"
        return done.stdout

    return one
