"""XGBoost artifacts: every format under any name, models of old libraries, and refusals that say what to do."""

import io
import pickle
import tarfile
from pathlib import Path

import joblib
import numpy as np
import pytest
import xgboost

from clary.runtimes.base import LoadError, LoadOptions
from clary.runtimes.xgboost import RUNTIME
from clary.runtimes.xgboost_files import load_file, version_in
from clary.runtimes.xgboost_legacy import LegacyError, to_ubj
from tests.support.xgboost_cases import BOOSTERS, ROWS, TARGET, WIDTH, csv, expected, loaded

OLD = Path(__file__).parent / "data/old-xgboost-models.tar.xz"


@pytest.mark.parametrize("name", ["xgboost-model", "model.bin", "whatever.json"])
@pytest.mark.parametrize("form", ["json", "ubj", "pickle", "pickle 0", "wrapper", "joblib wrapper"])
def test_every_format_under_any_name(form: str, name: str, tmp_path: Path) -> None:
    booster = BOOSTERS["regression"]
    if form in ("json", "ubj"):
        raw = bytes(booster.save_raw(form))
    elif form.startswith("pickle"):
        raw = pickle.dumps(booster, protocol=0 if form.endswith("0") else None)
    else:
        wrapper = xgboost.XGBRegressor(n_estimators=4, max_depth=3, n_jobs=1).fit(ROWS, TARGET)
        booster = wrapper.get_booster()
        out = io.BytesIO()
        joblib.dump(wrapper, out) if form.startswith("joblib") else pickle.dump(wrapper, out)
        raw = out.getvalue()
    (tmp_path / name).write_bytes(raw)
    model = RUNTIME.load(LoadOptions(tmp_path, "1.7-1"))
    assert model.signature.width == WIDTH
    assert model.predict([model.decode(memoryview(csv(ROWS)), "text/csv")])[0] == expected(booster, ROWS)


def test_feature_names_are_told(tmp_path: Path) -> None:
    data = xgboost.DMatrix(ROWS, TARGET, feature_names=["a", "b", "c", "d"])
    model = loaded(tmp_path, xgboost.train({"max_depth": 2}, data, 2))
    assert model.signature.names == ("a", "b", "c", "d")


def old_models() -> dict[str, bytes]:
    with tarfile.open(OLD) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive.getmembers()}  # type: ignore[union-attr]


OLD_MODELS = old_models()


def lines_of(name: str) -> list[str]:
    return OLD_MODELS[name].decode().split()


@pytest.mark.parametrize("name", [name for name in OLD_MODELS if name.endswith((".bin", ".pkl"))])
def test_models_of_old_libraries_predict_what_those_predicted(name: str, tmp_path: Path) -> None:
    """Bit for bit from 1.3 on; older libraries summed trees in another order (data/README.md)."""
    (tmp_path / "xgboost-model").write_bytes(OLD_MODELS[name])
    found = load_file(tmp_path / "xgboost-model")
    rows = np.array([[float(c or "nan") for c in line.split(",")] for line in lines_of("rows.csv")])
    wanted = [[float(c) for c in line.split(",")] for line in lines_of(name[:-3] + "expected")]
    want = np.array(wanted, dtype=np.float32)
    got = found.booster.predict(xgboost.DMatrix(rows)).reshape(want.shape)
    version = tuple(int(part) for part in name.split("/", maxsplit=1)[0].split(".")[:2])
    if version >= (1, 3) and not (version == (1, 3) and "dart" in name):
        np.testing.assert_array_equal(got, want)
    else:
        np.testing.assert_allclose(got, want, rtol=2e-6, atol=5e-7)
    assert found.version in (version, None)
    assert found.notes or version < (1, 0)
    model = RUNTIME.load(LoadOptions(tmp_path, "1.7-1"))
    assert model.signature.width == 5


@pytest.mark.parametrize("name", ["0.90/dart.bin", "1.2.1/linear.bin", "1.7.6/logistic.bin"])
def test_a_binary_model_cut_anywhere_is_refused(name: str, tmp_path: Path) -> None:
    whole = OLD_MODELS[name]
    for end in range(145, len(whole) - 1, 97):
        try:
            to_ubj(whole[:end])
        except LegacyError:
            continue
        assert len(whole) - end < 200, (
            f"cut at {end} of {len(whole)} was not noticed"
        )  # metrics and attributes at the end
    (tmp_path / "xgboost-model").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LoadError, match="binary format and was not read"):
        load_file(tmp_path / "xgboost-model")


def test_a_model_of_a_newer_library_is_refused_by_version(tmp_path: Path) -> None:
    raw = bytes(BOOSTERS["regression"].save_raw("json"))
    major, minor = version_in(raw) or (0, 0)
    newer = raw.replace(b'"version":[%d,%d' % (major, minor), b'"version":[%d,0' % (major + 1))
    (tmp_path / "xgboost-model").write_bytes(newer)
    with pytest.raises(LoadError, match=rf"was written by XGBoost {major + 1}\.0; this environment has"):
        load_file(tmp_path / "xgboost-model")


@pytest.mark.parametrize(
    ("files", "cause", "remedy"),
    [
        ({}, "holds no file", "xgboost-model"),
        ({"model/xgboost-model": b"x"}, r"no file at its top; the model seems to be model/xgboost-model", "tar czf"),
        ({"xgboost-model": b""}, "xgboost-model is empty", "Save the model again"),
        ({"xgboost-model": b"garbage"}, r"no model that XGBoost .* reads", "save_model"),
        ({"xgboost-model": b'{"learner": 1}'}, r"no model that XGBoost .* reads", "save_model"),
        ({"xgboost-model": bytes(BOOSTERS["regression"].save_raw("json"))[:-50]}, "no model", "save_model"),
        ({"xgboost-model": bytes(BOOSTERS["regression"].save_raw("ubj"))[:-50]}, "no model", "save_model"),
        ({"xgboost-model": pickle.dumps({"a": 1})}, "a pickled builtins.dict, not an XGBoost booster", "scikit-learn"),
        ({"xgboost-model": pickle.dumps(BOOSTERS["regression"])[:-90]}, "cannot be unpickled", "save_model"),
        ({"xgboost-model": b"\x80\x04cnowhere.to\nfind\n."}, "ModuleNotFoundError", "save_model"),
    ],
)
def test_artifacts_that_cannot_serve_say_why_and_what_to_do(
    files: dict[str, bytes], cause: str, remedy: str, tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with pytest.raises(LoadError, match=cause) as refused:
        RUNTIME.load(LoadOptions(tmp_path, "1.7-1"))
    assert remedy in refused.value.remedy
    assert "[bt]" not in refused.value.cause
