"""docs/reference/scripts.md names every image, function and module of script mode; its example streams."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clary.runtimes import script, script_modules
from clary.runtimes.base import LoadOptions
from clary.runtimes.handler import Handler, Invocation
from clary.runtimes.images import _REPOSITORIES
from clary.runtimes.registry import runtime_named

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "scripts.md").read_text()
SCRIPTED = {"sklearn", "xgboost", "pytorch", "tensorflow", "huggingface"}


def test_every_image_stands_there() -> None:
    images = {name for name, (runtime, _) in _REPOSITORIES.items() if runtime in SCRIPTED and name != "xgboost"}
    assert not [name for name in images if f"`{name}`" not in PAGE]


def test_every_function_stands_there() -> None:
    assert not [name for name in script._NAMES if f"`{name}" not in PAGE]


def test_every_stand_in_stands_there() -> None:
    source = Path(script_modules.__file__).read_text()
    names = {name for name in re.findall(r'_module\(\s*"(sagemaker_[\w.]+)"', source) if name.count(".") < 4}
    assert {"sagemaker_inference", "sagemaker_containers.beta.framework"} <= names
    last = {name.rpartition(".")[2] for name in names if "." in name} - {"beta", "framework"}
    assert not [name for name in last if f"`{name}`" not in PAGE]


def test_the_example_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    model = "class Words:\n    def generate(self, data): return data.split()\n"
    rest = "def model_fn(d): return Words()\ndef input_fn(data, content_type): return data\n"
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference.py").write_text(model + rest + example)
    monkeypatch.setattr("sys.path", [])
    loaded = runtime_named("pytorch").load(LoadOptions(tmp_path, "2.6.0"))
    assert isinstance(loaded, Handler)
    assert list(loaded.handle(Invocation(b"a b", "text/csv")).body) == [b"a", b"b"]
