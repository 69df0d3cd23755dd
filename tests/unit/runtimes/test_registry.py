"""Runtimes by name."""

import pytest

from clary.runtimes.registry import UnknownRuntimeError, modules_of, names, runtime_named


@pytest.mark.parametrize("name", names())
def test_a_runtime_is_found_by_its_name(name: str) -> None:
    runtime = runtime_named(name)
    assert runtime.name == name
    assert set(runtime.modules) <= set(modules_of(name))


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    for find in (runtime_named, modules_of):
        with pytest.raises(UnknownRuntimeError, match=r"'onnx'.*xgboost, sklearn"):
            find("onnx")  # type: ignore[operator]
