"""A library of another version than the one that wrote a pickle: refused with the remedy, or allowed by name."""

import warnings
from pathlib import Path

import joblib
import pytest
import sklearn
from sklearn.linear_model import Ridge

from clary.runtimes.base import LoadError, LoadOptions
from clary.runtimes.pickles import unpickled
from clary.runtimes.sklearn import RUNTIME
from clary.runtimes.versions import allowed, check_version
from tests.support.xgboost_cases import ROWS, TARGET


def test_a_patch_is_a_note_and_a_minor_a_refusal() -> None:
    assert check_version("m was saved by", "lib", "1.2.3", "1.2.9", {}).startswith("m was saved by lib 1.2.3;")
    with pytest.raises(LoadError, match=r"m was saved by lib 1\.2\.3; this environment has 1\.3\.0\.") as refused:
        check_version("m was saved by", "lib", "1.2.3", "1.3.0", {"CLARY_ALLOW_VERSION_MISMATCH": "other"})
    assert "Put lib==1.2.3 into the model's code/requirements.txt" in refused.value.remedy
    assert "CLARY_ALLOW_VERSION_MISMATCH=lib" in refused.value.remedy
    note = check_version("m was saved by", "lib", "1.2.3", "2.0", {"CLARY_ALLOW_VERSION_MISMATCH": "other, lib"})
    assert note.endswith("CLARY_ALLOW_VERSION_MISMATCH allows it; its predictions may differ.")
    assert allowed({}) == frozenset()


def test_an_estimator_of_another_minor_loads_where_it_is_allowed(tmp_path: Path) -> None:
    joblib.dump(Ridge().fit(ROWS, TARGET), tmp_path / "m.joblib")
    major, minor, patch = sklearn.__version__.split(".")
    other = f"{major}.{int(minor) - 1}.{patch}"
    assert len(other) == len(sklearn.__version__)
    raw = (tmp_path / "m.joblib").read_bytes().replace(sklearn.__version__.encode(), other.encode())
    (tmp_path / "m.joblib").write_bytes(raw)
    with pytest.raises(LoadError, match=f"saved by scikit-learn {other}"):
        RUNTIME.load(LoadOptions(tmp_path, "1.2-1"))
    model = RUNTIME.load(LoadOptions(tmp_path, "1.2-1", {"CLARY_ALLOW_VERSION_MISMATCH": "scikit-learn"}))
    assert "allows it" in model.notes[0]


def test_what_goes_wrong_while_unpickling_is_told(tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(b"\x80\x04\x8c\x0bno_such_lib\x8c\x01X\x93.")
    with pytest.raises(LoadError, match="needs the module 'no_such_lib'") as refused:
        unpickled(path, {}, joblib.load)
    assert "code/requirements.txt" in refused.value.remedy

    def warns(_: Path) -> str:
        warnings.warn("an old form\nwith details", stacklevel=1)
        warnings.warn("an old form\nwith details", stacklevel=1)
        return "value"

    assert unpickled(path, {}, warns) == ("value", ("m.pkl: an old form",))
