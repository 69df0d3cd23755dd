"""A bundle is what its name says, whole or absent, and runs without the Clary that made it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import clary
from clary.placement import bundle
from clary.placement.bundle import make_bundle, sweep_bundles

PACKAGE = Path(clary.__file__).parent


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name in bundle.PACKAGES:
        (tmp_path / "clary" / name).mkdir(parents=True)
        (tmp_path / "clary" / name / "__init__.py").write_text(f"NAME = {name!r}\n")
    (tmp_path / "clary" / "__init__.py").write_text("")
    shutil.copy(PACKAGE / "worker" / "bundle_main.py", tmp_path / "clary" / "worker")
    return tmp_path / "clary"


def test_equal_sources_are_one_bundle_and_changed_ones_another(package: Path, tmp_path: Path) -> None:
    first = make_bundle(package, tmp_path / "bundles")
    assert make_bundle(package, tmp_path / "bundles") == first
    (package / "kit" / "__init__.py").write_text("NAME = 'other'\n")
    second = make_bundle(package, tmp_path / "bundles")
    assert second != first
    assert (first / "clary" / "kit" / "__init__.py").read_text() == "NAME = 'kit'\n"
    assert {path.name for path in (tmp_path / "bundles").iterdir()} == {first.name, second.name}


def test_an_interrupted_copy_leaves_nothing_that_counts(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(bundle, "_sync", no_room)
        with pytest.raises(OSError, match="No space"):
            make_bundle(package, tmp_path / "bundles")
    assert not list((tmp_path / "bundles").iterdir())
    assert make_bundle(package, tmp_path / "bundles").is_dir()


def test_what_nothing_uses_is_swept(package: Path, tmp_path: Path) -> None:
    kept = make_bundle(package, tmp_path / "bundles")
    (tmp_path / "bundles" / ".new-left").mkdir()
    (tmp_path / "bundles" / "old").mkdir()
    sweep_bundles(tmp_path / "bundles", {kept.name})
    assert list((tmp_path / "bundles").iterdir()) == [kept]


def test_the_real_bundle_runs_by_itself(tmp_path: Path) -> None:
    made = make_bundle(PACKAGE, tmp_path / "bundles")
    code = f"import sys; sys.path.insert(0, {str(made)!r}); import clary.worker.boot, clary; print(clary.__file__)"
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False, env={})
    assert ran.stdout.strip() == str(made / "clary" / "__init__.py"), ran.stderr
    assert not [path for path in made.rglob("*.py") if os.access(path, os.W_OK) and os.getuid() != 0]
