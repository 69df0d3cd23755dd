"""Estimators fitted on a frame: columns by name, text columns, dictionaries."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from clary.runtimes.base import Joins, LoadOptions, Model, ModelError
from clary.runtimes.sklearn import RUNTIME

FRAME = pd.DataFrame(
    {"miles": [1.0, 2.0, 3.0, 4.0], "zone": ["a", "b", "a", "b"], "count": [1, 2, 1, 2], "y": [3.0, 9.0, 5.0, 11.0]}
)


def double(frame: Any) -> Any:
    return frame[["miles"]] * 2


def loaded(folder: Path, estimator: Any) -> Model:
    joblib.dump(estimator, folder / "model.joblib")
    return RUNTIME.load(LoadOptions(folder, "1.2-1"))


def ask(model: Model, body: bytes | str, content_type: str = "text/csv") -> Any:
    raw = body.encode() if isinstance(body, str) else body
    (result,) = model.predict([model.decode(memoryview(raw), content_type)])
    return np.asarray(result).round(6).tolist()


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


@pytest.fixture
def mixed(tmp_path: Path) -> Model:
    """A pipeline that selects its columns by name, one of them text."""
    columns = ColumnTransformer([("zone", OneHotEncoder(), ["zone"]), ("miles", "passthrough", ["miles"])])
    return loaded(tmp_path, make_pipeline(columns, LinearRegression()).fit(FRAME[["miles", "zone"]], FRAME["y"]))


@pytest.fixture
def plain(tmp_path: Path) -> Model:
    """A forest: its order of columns is all that it needs."""
    forest = RandomForestRegressor(5, random_state=0).fit(FRAME[["miles", "count"]], FRAME["y"])
    return loaded(tmp_path, forest)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("1,a\n2,b", "text/csv"),
        ("miles,zone\n1,a\n2,b\n", "text/csv"),
        ("zone, miles\r\na, 1\r\nb, 2", "text/csv"),
        ('[[1, "a"], [2, "b"]]', "application/json"),
        ('[{"zone": "a", "miles": 1}, {"miles": 2, "zone": "b"}]', "application/json"),
        (npy(np.array([[1, "a"], [2, "b"]])), "application/x-npy"),
    ],
)
def test_columns_by_name_or_in_order(mixed: Model, body: bytes | str, content_type: str) -> None:
    if isinstance(body, bytes):  # an array of texts has no numbers: the model's own refusal, or its own conversion
        assert mixed.decode(memoryview(body), content_type).rows == 2
        return
    assert ask(mixed, body, content_type) == [3.0, 9.0]


def test_one_object_or_one_row_is_one_row(mixed: Model) -> None:
    assert ask(mixed, '{"miles": 1, "zone": "a"}', "application/json") == [3.0]
    assert ask(mixed, '[1, "a"]', "application/json") == [3.0]
    assert ask(mixed, "1,a") == [3.0]


@pytest.mark.parametrize(
    ("body", "content_type", "says"),
    [
        ("miles,zone,tip\n1,a,2", "text/csv", "the model was fitted without the column 'tip'"),
        ("miles,area\n1,a", "text/csv", "the column 'zone' is missing"),
        ("miles,miles\n1,1", "text/csv", "the column 'zone' is missing"),
        ("1,a,2", "text/csv", "rows have 3 columns; the model was fitted on 2: 'miles', 'zone'"),
        ("", "text/csv", "the body holds no row"),
        ('[{"miles": 1}]', "application/json", "the column 'zone' is missing"),
        ('[{"miles": 1, "zone": "a", "x": 1}]', "application/json", "fitted without the column 'x'"),
        ('[[1, "a"], [2]]', "application/json", "rows have 1 columns"),
        ("[]", "application/json", "a list of rows, or of objects by column, is expected"),
        ("3", "application/json", "a list of rows, or of objects by column, is expected"),
        (npy(np.zeros((2, 3))), "application/x-npy", "rows have 3 columns"),
        ("1,unseen", "text/csv", "Found unknown categories"),
    ],
)
def test_columns_that_do_not_fit_are_named(mixed: Model, body: bytes | str, content_type: str, says: str) -> None:
    with pytest.raises(ModelError) as refused:
        ask(mixed, body, content_type)
    assert refused.value.status == 400
    assert says in refused.value.message


def test_what_it_says_of_itself(mixed: Model, plain: Model) -> None:
    assert mixed.signature.names == ("miles", "zone")
    assert mixed.signature.kinds == ("any", "any")
    assert mixed.signature.json_body == "records"
    assert mixed.probe() is None
    assert mixed.joins is Joins.ROUNDING
    assert plain.signature.names == ("miles", "count")
    assert plain.probe() == (b"0,0", "text/csv")
    assert plain.joins is Joins.EXACT


def test_an_estimator_of_numbers_gets_an_array_in_its_order(plain: Model) -> None:
    in_order = ask(plain, "1,1\n2,2")
    assert ask(plain, "count,miles\n1,1\n2,2") == in_order
    assert ask(plain, "count,miles\n2,1") == ask(plain, "1,2") != ask(plain, "2,1")
    assert ask(plain, '[{"count": 2, "miles": 1}]', "application/json") == ask(plain, "1,2")
    assert ask(plain, "[[1, 2]]", "application/json") == ask(plain, "1,2")
    assert ask(plain, npy(np.array([1, 2])), "application/x-npy") == ask(plain, "1,2")
    decoded = plain.decode(memoryview(b"count,miles\n2,1"), "text/csv")
    assert (type(decoded.data), decoded.data.dtype) == (np.ndarray, np.float32)
    together = plain.predict([decoded, plain.decode(memoryview(b"1,2"), "text/csv")])
    assert together[0].tolist() == together[1].tolist()
    for body in ("count,miles", "count,miles\n1", "count,miles\na,b", "count,other\n1,2"):
        with pytest.raises(ModelError) as refused:
            ask(plain, body)
        assert refused.value.status == 400


def test_code_that_may_look_at_columns_gets_a_frame(tmp_path: Path) -> None:
    pipeline = make_pipeline(FunctionTransformer(double), LinearRegression())
    model = loaded(tmp_path, pipeline.fit(FRAME[["miles", "count"]], FRAME["miles"]))
    if not model.signature.names:  # a FunctionTransformer keeps no names unless it validates
        pytest.skip("this release of scikit-learn keeps no names here")
    assert ask(model, "3,0") == [3.0]


def test_dictionaries_for_a_dict_vectorizer(tmp_path: Path) -> None:
    rows = [{"zone": "a", "miles": 1.0}, {"zone": "b", "miles": 2.0}, {"zone": "a", "miles": 3.0}]
    model = loaded(tmp_path, make_pipeline(DictVectorizer(), LinearRegression()).fit(rows, [1.0, 12.0, 3.0]))
    assert ask(model, json.dumps(rows), "application/json") == [1.0, 12.0, 3.0]
    assert ask(model, json.dumps(rows[0]), "application/json") == [1.0]
    together = model.predict([model.decode(memoryview(json.dumps(row).encode()), "application/json") for row in rows])
    assert [round(float(one[0]), 6) for one in together] == [1.0, 12.0, 3.0]
    with pytest.raises(ModelError, match="an object, or a list of objects, is expected"):
        ask(model, "[1]", "application/json")
