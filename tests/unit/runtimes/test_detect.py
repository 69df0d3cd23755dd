"""What a file is, from its bytes: nothing runs."""

import io
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
import xgboost
from hypothesis import given
from hypothesis import strategies as st
from lightgbm import LGBMRegressor
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from clary.runtimes.base import LoadError
from clary.runtimes.detect import detect
from clary.runtimes.onnx_file import read_onnx
from clary.runtimes.picklescan import scan
from clary.runtimes.trust import unknown
from tests.support import mlflow_models, onnx_models
from tests.support.xgboost_cases import BOOSTERS, ROWS, TARGET

OLD = Path(__file__).parent / "data/old-xgboost-models.tar.xz"
PIPELINE = make_pipeline(StandardScaler(), Ridge()).fit(ROWS, TARGET)
LIGHTGBM = LGBMRegressor(n_estimators=2, verbosity=-1).fit(ROWS, TARGET)


def dumped(value: Any, compress: Any = 0) -> bytes:
    out = io.BytesIO()
    joblib.dump(value, out, compress=compress)
    return out.getvalue()


def zipped(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return out.getvalue()


FILES: dict[str, tuple[bytes, str, str]] = {
    "json": (bytes(BOOSTERS["regression"].save_raw("json")), "xgboost", "json, written by XGBoost"),
    "ubj": (bytes(BOOSTERS["regression"].save_raw("ubj")), "xgboost", "ubj, written by XGBoost"),
    "pickle": (pickle.dumps(BOOSTERS["regression"]), "xgboost", "pickle of Booster, written by XGBoost"),
    "pickle 0": (pickle.dumps(BOOSTERS["regression"], protocol=0), "xgboost", "pickle of Booster"),
    "wrapper": (pickle.dumps(xgboost.XGBRegressor(n_estimators=1).fit(ROWS, TARGET)), "xgboost", "XGBRegressor"),
    "joblib": (dumped(PIPELINE), "sklearn", "Pipeline, written by scikit-learn"),
    "forest": (dumped(RandomForestRegressor(2).fit(ROWS, TARGET)), "sklearn", "RandomForestRegressor"),
    "zlib": (dumped(PIPELINE, 3), "sklearn", "Pipeline"),
    "gzip": (dumped(PIPELINE, ("gzip", 3)), "sklearn", "Pipeline"),
    "bz2": (dumped(PIPELINE, ("bz2", 3)), "sklearn", "Pipeline"),
    "xz": (dumped(PIPELINE, ("xz", 3)), "sklearn", "Pipeline"),
    "onnx": (
        onnx_models.regressor([1, 2, 3]).SerializeToString(),
        "onnx",
        "an ONNX graph (3 features, made by tests 7)",
    ),
    "onnx of columns": (onnx_models.regressor([1, 2], 2).SerializeToString(), "onnx", "an ONNX graph (2 features"),
    "lightgbm": (LIGHTGBM.booster_.model_to_string().encode(), "lightgbm", "a LightGBM model (text; 4 features)"),
    "lightgbm pickle": (dumped(LIGHTGBM), "lightgbm", "a LightGBM model (pickle of LGBMRegressor; 4 features)"),
    "skops": (skops.io.dumps(PIPELINE), "sklearn", "a scikit-learn model (Pipeline; saved by skops)"),
    "torchscript": (zipped("net/constants.pkl", "net/data.pkl"), "pytorch", "a TorchScript model"),
    **{f"protocol {n}": (pickle.dumps(PIPELINE, protocol=n), "sklearn", "Pipeline") for n in range(1, 6)},
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_shows_its_kind(kind: str, tmp_path: Path) -> None:
    raw, runtime, why = FILES[kind]
    (tmp_path / "model").write_bytes(raw)
    found = detect(tmp_path / "model")
    assert found.runtime == runtime
    assert why in found.why
    assert found.files == ("model",)
    packed = tmp_path / "model.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(tmp_path / "model", "./model")
    assert detect(packed).why == found.why


def test_what_a_file_tells_of_its_model(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(FILES["json"][0])
    found = detect(tmp_path / "m")
    assert found.signature.width == 4
    assert found.libraries == {"xgboost": ".".join(xgboost.__version__.split(".")[:2])}
    (tmp_path / "m").write_bytes(FILES["joblib"][0])
    assert detect(tmp_path / "m").signature.width == 4
    assert list(detect(tmp_path / "m").libraries) == ["scikit-learn"]


def test_models_of_old_libraries(tmp_path: Path) -> None:
    with tarfile.open(OLD) as archive:
        for member in archive.getmembers():
            if member.name.endswith((".bin", ".pkl")):
                content = archive.extractfile(member)
                assert content is not None
                (tmp_path / "m").write_bytes(content.read())
                assert detect(tmp_path / "m").runtime == "xgboost", member.name


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "xgboost-model").write_bytes(FILES["ubj"][0])
    (tmp_path / "README.md").write_text("about")
    (tmp_path / ".hidden").write_bytes(FILES["joblib"][0])
    assert detect(tmp_path).files == ("xgboost-model",)
    (tmp_path / "model.joblib").write_bytes(FILES["joblib"][0])
    with pytest.raises(LoadError, match=r"several kinds: model.joblib \(sklearn\), xgboost-model \(xgboost\)"):
        detect(tmp_path)


def test_an_mlflow_folder_is_known_by_its_mlmodel(tmp_path: Path) -> None:
    mlflow_models.save(tmp_path / "saved", PIPELINE, ["a", "b", "c", "d"])
    found = detect(tmp_path / "saved")
    assert (found.runtime, found.files) == ("pyfunc", ("MLmodel",))
    assert found.why.startswith("an MLflow model (sklearn; 4 features, saved by MLflow ")
    assert found.signature.names == ("a", "b", "c", "d")
    assert detect(tmp_path).files == ("saved/MLmodel",)


def test_an_mlmodel_that_is_none_is_refused(tmp_path: Path) -> None:
    for text in ("", "a: [", "flavors: {sklearn: {}}"):
        (tmp_path / "MLmodel").write_text(text)
        with pytest.raises(LoadError, match=r"MLmodel is not|no python_function"):
            detect(tmp_path)


@given(st.one_of(st.binary(max_size=80), st.binary(max_size=60).map(lambda tail: b"\x08\x08:" + tail)))
def test_reading_onnx_of_anything_does_not_raise(raw: bytes) -> None:
    read_onnx(raw)


def test_several_boosters_are_an_ensemble(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(FILES["ubj"][0])
    found = detect(tmp_path)
    assert found.files == ("a", "b")
    assert found.why.startswith("2 models, the first an XGBoost model (ubj")


@pytest.mark.parametrize(
    ("raw", "cause"),
    [
        (b"", "is empty"),
        (b"hello", "no kind that Clary knows"),
        (b"PK\x03\x04....", "zip archive that cannot be read"),
        (zipped("archive/data.pkl"), "pickled by PyTorch, without the code"),
        (zipped("config.json", "model.weights.h5"), "a Keras archive"),
        (zipped("a.txt"), "zip archive of no kind"),
        (pickle.dumps({"a": 1}), "a pickle of no class"),
        (pickle.dumps(np.zeros(3)), "a pickle of no class"),
        (b"\x80\x04cos\nsystem\n(X\x02\x00\x00\x00idtR.", "a pickle of os.system"),
        (b"\x80\x04ccatboost.core\nCatBoost\n.", "a pickled CatBoost model"),
        (b"\x08\x08no protobuf", "no kind that Clary knows"),
    ],
)
def test_what_is_not_served_is_named(raw: bytes, cause: str, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(raw)
    with pytest.raises(LoadError, match=cause) as refused:
        detect(tmp_path / "m")
    remedies = ("XGBoost models (json, ubj, binary, pickle)", "torch.jit.script", "SavedModel")
    assert any(remedy in refused.value.remedy for remedy in remedies)


def test_a_saved_model_is_known_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "1" / "variables").mkdir(parents=True)
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"\x08\x01\x12")
    (tmp_path / "1" / "variables" / "variables.index").write_bytes(b"x")
    found = detect(tmp_path)
    assert (found.runtime, found.files) == ("tensorflow", ("1/saved_model.pb",))


def test_nothing_there(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(LoadError):
            detect(path)


class Bomb:
    """Its pickle would write a file."""

    def __init__(self, target: str) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (open, (self.target, "w"))


def test_what_loading_would_import_is_known_in_advance(tmp_path: Path) -> None:
    forest = RandomForestRegressor(2).fit(ROWS, TARGET)
    (tmp_path / "m").write_bytes(dumped(forest))
    found = detect(tmp_path / "m").imports
    assert {"sklearn.ensemble._forest.RandomForestRegressor", "sklearn.tree._classes.DecisionTreeRegressor"} <= {*found}
    assert unknown(found) == ()
    forest.note = Bomb("x")
    for raw in (dumped(forest), dumped(forest, 3), pickle.dumps(forest, protocol=2)):
        (tmp_path / "m").write_bytes(raw)
        assert unknown(detect(tmp_path / "m").imports) in (("io.open",), ("_io.open",))
    (tmp_path / "m").write_bytes(FILES["json"][0])
    assert detect(tmp_path / "m").imports == ()


def test_scanning_runs_nothing(tmp_path: Path) -> None:
    raw = pickle.dumps(Bomb(str(tmp_path / "ran")))
    assert scan(raw).names == ("io.open",)
    assert not (tmp_path / "ran").exists()


@given(st.one_of(st.binary(max_size=200), st.integers(0, 400).map(lambda end: FILES["joblib"][0][:end])))
def test_scanning_anything_does_not_raise(raw: bytes) -> None:
    scan(raw)
