"""The worker bundle on every other Python of this machine that a model's environment may have: 3.9 and up."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import clary
from clary.placement.base import ReplicaPhase
from clary.placement.bundle import make_bundle
from tests.support.processes import Ground, Peer, echo_package, ground, phase

FOLDERS = ("~/.pyenv/versions", "~/.local/share/uv/python", "/usr", "/usr/local", "/opt")
STUBS = {
    "setproctitle.py": "def setproctitle(title): pass\n",
    "threadpoolctl.py": "def threadpool_limits(limits): pass\n",
}
"""What a model's environment always has (clary/environments); a wheel of them is not what is tried here."""
IMPORT_ALL = """
import importlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(root))
for path in sorted(root.glob("clary/*/*.py")):
    name = ".".join(path.relative_to(root).with_suffix("").parts)
    if path.parent.name != "runtimes" and path.stem != "bundle_main":
        importlib.import_module(name)
print(len(sys.modules))
"""


def _interpreters() -> dict[str, Path]:
    """One of each minor version but our own: {"3.9": path}."""
    found: dict[str, Path] = {}
    for folder in (Path(name).expanduser() for name in FOLDERS):
        for python in sorted([*folder.glob("bin/python3.*"), *folder.glob("*/bin/python3.*")]):
            matched = re.fullmatch(r"python(3\.(\d+))", python.name)
            if matched and int(matched[2]) >= 9 and int(matched[2]) != sys.version_info.minor:
                found.setdefault(matched[1], python)
    return found


FOUND = _interpreters()
ABSENT = pytest.mark.skip(reason=f"no other Python from 3.9 on in {', '.join(FOLDERS)}")


@pytest.fixture(scope="module", params=sorted(FOUND) or [pytest.param("", marks=ABSENT)])
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of a new environment of that version."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([FOUND[request.param], "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name, source in STUBS.items():
        (packages / name).write_text(source)
    return str(folder / "bin" / "python")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return echo_package(tmp_path_factory.mktemp("package"))


@pytest.fixture
def base(tmp_path: Path, package: Path) -> Iterator[Ground]:
    with ground(tmp_path, package) as it:
        yield it


def test_every_module_of_the_bundle_compiles_and_all_but_runtimes_can_be_imported(python: str, tmp_path: Path) -> None:
    bundle = make_bundle(Path(clary.__file__).parent, tmp_path / "bundles")
    compiled = [python, "-I", "-W", "error", "-m", "compileall", "-q", "-f", str(bundle)]
    assert subprocess.run(compiled, check=False, capture_output=True, text=True).stdout == ""
    imported = [python, "-I", "-W", "error", "-c", IMPORT_ALL, str(bundle)]
    done = subprocess.run(imported, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


async def test_forked_and_spawned_workers_serve_from_the_bundle(python: str, base: Ground, tmp_path: Path) -> None:
    base.start()
    async with base.placement() as placement:
        specs = [base.spec(tmp_path, python=python), base.spec(tmp_path, python=python, runtime="spawned")]
        await placement.apply(specs)
        for spec in specs:
            state = await phase(placement, spec.uid, ReplicaPhase.READY)
            assert psutil.Process(state.pid).cmdline()[0] == python
            with Peer(state.address) as peer:
                assert peer.ask(b"hello") == (200, b"hello")
                assert peer.ask(b"refuse")[0] == 400
                assert peer.ask(b"raise")[0] == 500
