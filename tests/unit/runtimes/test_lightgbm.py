"""LightGBM models: what each kind of file answers."""

import json
import pickle
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pandas as pd
import pytest

from clary.runtimes.base import Joins, LoadError, LoadOptions, Model, ModelError
from clary.runtimes.lightgbm import RUNTIME
from tests.support.xgboost_cases import CLASSES, ROWS, TARGET

SMALL: dict[str, Any] = {"n_estimators": 5, "num_leaves": 7, "verbosity": -1, "n_jobs": 1}
REGRESSOR = lightgbm.LGBMRegressor(**SMALL).fit(ROWS, TARGET)
LABELS = np.array(["low", "middle", "high"])[CLASSES]
CLASSIFIER = lightgbm.LGBMClassifier(**SMALL).fit(ROWS, LABELS)
BINARY = lightgbm.LGBMClassifier(**SMALL).fit(ROWS, TARGET > 1)


def loaded(folder: Path, model: Any, **env: str) -> Model:
    joblib.dump(model, folder / "model.joblib")
    return RUNTIME.load(LoadOptions(folder, "1", env))


def ask(it: Model, rows: Any) -> Any:
    body = json.dumps(np.asarray(rows, dtype=float).tolist()).encode()
    (result,) = it.predict([it.decode(memoryview(body), "application/json")])
    return json.loads(it.encode(result, it.check_accept(""))[0])


def test_a_text_file_answers_as_its_booster(tmp_path: Path) -> None:
    REGRESSOR.booster_.save_model(tmp_path / "model.txt")
    it = RUNTIME.load(LoadOptions(tmp_path, "1"))
    assert ask(it, ROWS) == REGRESSOR.booster_.predict(ROWS.astype(float)).tolist()
    assert it.joins is Joins.EXACT
    assert it.libraries["lightgbm"] == lightgbm.__version__


@pytest.mark.parametrize("dump", [joblib.dump, lambda model, path: path.write_bytes(pickle.dumps(model))])
def test_wrappers_answer_as_themselves(dump: Any, tmp_path: Path) -> None:
    for number, model in enumerate((REGRESSOR, CLASSIFIER, BINARY, REGRESSOR.booster_)):
        folder = tmp_path / str(number)
        folder.mkdir()
        dump(model, folder / "model.pkl")
        it = RUNTIME.load(LoadOptions(folder, "1"))
        assert ask(it, ROWS) == model.predict(ROWS.astype(float)).tolist()


def test_doubles_are_not_rounded(tmp_path: Path) -> None:
    """A threshold lies between two values that are one float32."""
    rows = np.array([[1.0], [1.0 + 1e-9]] * 40)
    labels = np.array([0.0, 1.0] * 40)
    model = lightgbm.LGBMRegressor(n_estimators=1, min_child_samples=1, verbosity=-1, learning_rate=1.0).fit(
        rows, labels
    )
    it = loaded(tmp_path, model)
    assert ask(it, rows[:2]) == model.predict(rows[:2]).tolist()
    csv = b"1.0\n1.000000001\n"
    (result,) = it.predict([it.decode(memoryview(csv), "text/csv")])
    assert result.tolist() == model.predict(rows[:2]).tolist()


def test_names_are_those_it_was_trained_with(tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS, columns=["a", "b", "c", "d"])
    assert loaded(tmp_path, lightgbm.LGBMRegressor(**SMALL).fit(frame, TARGET)).signature.names == ("a", "b", "c", "d")
    assert loaded(tmp_path, REGRESSOR).signature.names == ()


def test_blank_cells_are_missing(tmp_path: Path) -> None:
    it = loaded(tmp_path, REGRESSOR)
    (result,) = it.predict([it.decode(memoryview(b"1,,2,"), "text/csv")])
    assert result.tolist() == REGRESSOR.booster_.predict(np.array([[1, np.nan, 2, np.nan]])).tolist()


def test_pandas_categories_are_refused_with_a_remedy(tmp_path: Path) -> None:
    frame = pd.DataFrame({"c": pd.Categorical(LABELS), "x": ROWS[:, 0]})
    with pytest.raises(LoadError, match="dtype category") as refused:
        loaded(tmp_path, lightgbm.LGBMRegressor(**SMALL).fit(frame, TARGET))
    assert "MLflow" in refused.value.remedy


def test_another_kind_of_object_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"holds a numpy\.ndarray, not a LightGBM model"):
        loaded(tmp_path, ROWS)


@pytest.mark.parametrize("body", [b'[["a", "b", "c", "d"]]', b"[[[1]]]", b'{"a": 1}', b"[[1, [2]]]", b"[]"])
def test_what_is_no_row_is_400(body: bytes, tmp_path: Path) -> None:
    it = loaded(tmp_path, REGRESSOR)
    with pytest.raises(ModelError) as refused:
        it.decode(memoryview(body), "application/json")
    assert refused.value.status == 400


def test_a_default_answer_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="'image/png' is no type"):
        loaded(tmp_path, REGRESSOR, SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT="image/png")
