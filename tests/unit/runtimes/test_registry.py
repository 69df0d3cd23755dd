"""Runtimes by name."""

import ast
from pathlib import Path

import pytest

from clary import runtimes
from clary.runtimes.registry import UnknownRuntimeError, modules_of, names, runtime_named


@pytest.mark.parametrize("name", names())
def test_a_runtime_is_found_by_its_name(name: str) -> None:
    runtime = runtime_named(name)
    assert runtime.name == name
    assert set(runtime.modules) <= set(modules_of(name))


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    for find in (runtime_named, modules_of):
        with pytest.raises(UnknownRuntimeError, match=r"'nowhere'.*xgboost, sklearn"):
            find("nowhere")  # type: ignore[operator]


@pytest.mark.parametrize("file", sorted(Path(runtimes.__file__ or "").parent.glob("*.py")), ids=lambda file: file.name)
def test_runtimes_are_written_for_python_3_9(file: Path) -> None:
    ast.parse(file.read_text(), feature_version=(3, 9))
    assert "from __future__ import annotations" in file.read_text() or file.name == "__init__.py"
