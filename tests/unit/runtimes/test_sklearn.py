"""The scikit-learn runtime: the container's defaults, honest joining, refusals at load."""

import io
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn
import skops.io
from sklearn.base import BaseEstimator
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, PolynomialFeatures, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

from clary.runtimes.base import Joins, LoadError, LoadOptions, Model, ModelError
from clary.runtimes.sklearn import RUNTIME

RNG = np.random.default_rng(11)
ROWS = RNG.normal(size=(150, 5)).astype(np.float32)
TARGET = (ROWS[:, 0] * 2 + ROWS[:, 1]).astype(np.float64)
CLASSES = np.where(TARGET > 0, "yes", "no")


class Own(BaseEstimator):
    """An estimator of nobody's library."""

    def predict(self, rows: Any) -> Any:
        return np.zeros(len(rows))


def loaded(folder: Path, estimator: Any, env: Mapping[str, str] | None = None) -> Model:
    folder.mkdir(exist_ok=True, parents=True)
    joblib.dump(estimator, folder / "model.joblib")
    return RUNTIME.load(LoadOptions(folder, "1.2-1", env or {}))


def csv(rows: np.ndarray) -> memoryview:
    return memoryview("\n".join(",".join(repr(float(v)) for v in row) for row in rows).encode())


def answer(model: Model, body: bytes, content_type: str, accept: str = "") -> tuple[bytes, str]:
    return model.encode(model.predict([model.decode(memoryview(body), content_type)])[0], model.check_accept(accept))


EXACT = {
    "tree": DecisionTreeRegressor(max_depth=4, random_state=0).fit(ROWS, TARGET),
    "tree classes": DecisionTreeClassifier(max_depth=4, random_state=0).fit(ROWS, CLASSES),
    "extra tree": ExtraTreeRegressor(random_state=0).fit(ROWS, TARGET),
    "extra tree classes": ExtraTreeClassifier(random_state=0).fit(ROWS, CLASSES),
    "forest": RandomForestRegressor(12, n_jobs=2, random_state=0).fit(ROWS, TARGET),
    "forest classes": RandomForestClassifier(12, random_state=0).fit(ROWS, CLASSES),
    "forest of two targets": RandomForestRegressor(5, random_state=0).fit(ROWS, np.stack([TARGET, -TARGET], axis=1)),
    "extra trees": ExtraTreesRegressor(12, random_state=0).fit(ROWS, TARGET),
    "extra trees classes": ExtraTreesClassifier(12, random_state=0).fit(ROWS, CLASSES),
    "boosting": HistGradientBoostingRegressor(max_iter=8, random_state=0).fit(ROWS, TARGET),
    "boosting classes": HistGradientBoostingClassifier(max_iter=8, random_state=0).fit(ROWS, CLASSES),
    "neighbours": KNeighborsRegressor(7, algorithm="kd_tree").fit(ROWS, TARGET),
    "neighbours classes": KNeighborsClassifier(3, algorithm="ball_tree").fit(ROWS, CLASSES),
    "pipeline": make_pipeline(
        SimpleImputer(), StandardScaler(), "passthrough", MinMaxScaler(), RandomForestRegressor(6, random_state=0)
    ).fit(ROWS, TARGET),
}
XGBOOST_JSON = b'{"learner":{"learner_model_param":{"num_feature":"4"}},"version":[3,2,0]}'

ROUNDING = {
    "ridge": make_pipeline(StandardScaler(), Ridge()).fit(ROWS, TARGET),
    "logistic": LogisticRegression().fit(ROWS, CLASSES),
    "boosting by float sums": GradientBoostingRegressor(n_estimators=5).fit(ROWS, TARGET),
    "brute neighbours": KNeighborsRegressor(algorithm="brute").fit(ROWS, TARGET),
    "weighted neighbours": KNeighborsRegressor(algorithm="kd_tree", weights="distance").fit(ROWS, TARGET),
    "polynomial": make_pipeline(PolynomialFeatures(), DecisionTreeRegressor()).fit(ROWS, TARGET),
}


class Subclass(DecisionTreeRegressor):
    """What a user may override anything in."""


@pytest.mark.parametrize("name", EXACT)
def test_what_says_exact_is_exact(name: str, tmp_path: Path) -> None:
    model = loaded(tmp_path, EXACT[name])
    assert model.joins is Joins.EXACT
    rows = RNG.normal(size=(36, 5)).astype(np.float32)
    rows[RNG.random(rows.shape) < 0.1] = 0
    for size in (1, 3, 12):
        parts = [model.decode(csv(rows[at : at + size]), "text/csv") for at in range(0, 36, size)]
        joined = model.predict(parts)
        assert [one.tobytes() if one.dtype != object else one.tolist() for one in joined] == [
            alone.tobytes() if alone.dtype != object else alone.tolist()
            for alone in (model.predict([part])[0] for part in parts)
        ]


@pytest.mark.parametrize("name", ROUNDING)
def test_what_is_not_proven_is_not_joined(name: str, tmp_path: Path) -> None:
    assert loaded(tmp_path, ROUNDING[name]).joins is Joins.ROUNDING


def test_a_subclass_does_not_inherit_the_promise() -> None:
    from clary.runtimes.sklearn_joins import joins_of_estimator

    assert joins_of_estimator(Subclass().fit(ROWS, TARGET)) is Joins.ROUNDING


@pytest.mark.parametrize("name", [*EXACT, *ROUNDING])
def test_predictions_are_the_estimators_on_float32(name: str, tmp_path: Path) -> None:
    estimator = {**EXACT, **ROUNDING}[name]
    model = loaded(tmp_path, estimator)
    want = estimator.predict(ROWS)
    got = model.predict([model.decode(csv(ROWS), "text/csv")])[0]
    np.testing.assert_allclose(got, want, rtol=1e-6) if want.dtype.kind == "f" else np.testing.assert_array_equal(
        got, want
    )


def test_one_row_is_one_row_in_every_type(tmp_path: Path) -> None:
    model = loaded(tmp_path, EXACT["tree"])
    npy = io.BytesIO()
    np.save(npy, ROWS[:1])
    for content_type, body in {
        "text/csv": bytes(csv(ROWS[:1])),
        "application/json": json.dumps(ROWS[0].tolist()).encode(),
        "": json.dumps(ROWS[:1].tolist()).encode(),
        "application/x-npy": npy.getvalue(),
    }.items():
        row = model.decode(memoryview(body), content_type)
        np.testing.assert_array_equal(row.data, ROWS[:1])
        assert row.data.dtype == np.float32


def test_npy_keeps_its_type_and_does_not_join_with_another(tmp_path: Path) -> None:
    model = loaded(tmp_path, EXACT["tree"])
    out = io.BytesIO()
    np.save(out, ROWS[:2].astype(np.float64))
    double = model.decode(memoryview(out.getvalue()), "application/x-npy")
    assert double.data.dtype == np.float64
    assert double.key != model.decode(csv(ROWS[:2]), "text/csv").key


def test_answers_are_as_the_default_output_function_writes_them(tmp_path: Path) -> None:
    body = bytes(csv(ROWS[:2]))
    number = loaded(tmp_path / "a", EXACT["tree"])
    want = EXACT["tree"].predict(ROWS[:2])
    assert answer(number, body, "text/csv") == (json.dumps(want.tolist()).encode(), "application/json")
    text = io.StringIO()
    np.savetxt(text, want, delimiter=",", fmt="%s")
    assert answer(number, body, "text/csv", "text/csv") == (text.getvalue().encode(), "text/csv")
    saved, kind = answer(number, body, "text/csv", "application/x-npy")
    np.testing.assert_array_equal(np.load(io.BytesIO(saved)), want)
    assert kind == "application/x-npy"

    ridge = loaded(tmp_path / "b", make_pipeline(Ridge()).fit(ROWS, TARGET.astype(np.float32)))
    text = io.StringIO()
    np.savetxt(text, ridge.predict([ridge.decode(csv(ROWS[:2]), "text/csv")])[0], delimiter=",", fmt="%s")
    assert answer(ridge, body, "text/csv", "text/csv")[0] == text.getvalue().encode()

    classes = loaded(tmp_path / "c", EXACT["tree classes"])
    assert answer(classes, body, "text/csv", "text/csv")[0] == "".join(c + "\n" for c in CLASSES[:2]).encode()
    two = loaded(tmp_path / "d", EXACT["forest of two targets"])
    lines = answer(two, body, "text/csv", "text/csv")[0].decode().splitlines()
    assert [[float(v) for v in line.split(",")] for line in lines] == EXACT["forest of two targets"].predict(
        ROWS[:2]
    ).tolist()


def test_texts_are_rows_for_a_text_pipeline(tmp_path: Path) -> None:
    texts = ["good film", "bad film", "good", "bad"]
    model = loaded(tmp_path, make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1, 0]))
    assert answer(model, b'["good", "bad film"]', "application/json")[0] == b"[1, 0]"
    assert model.probe() is None
    assert model.signature.width is None


@pytest.mark.parametrize(
    ("body", "content_type", "status", "message"),
    [
        (b"1,2,3,4,5", "image/png", 415, "Content type image/png is not supported by this framework."),
        (b"1,2", "text/csv", 400, "X has 2 features, but DecisionTreeRegressor is expecting 5 features as input."),
        (b"x", "text/csv", 400, "could not convert string to float: 'x'"),
        (b"", "text/csv", 400, "The body is not text/csv"),
        (b"{}", "application/json", 400, "a list of rows is expected"),
        (b"[[1], [1, 2]]", "application/json", 400, "inhomogeneous"),
        (b"[" * 100_000, "application/json", 400, "The body is not application/json"),
        (b"[]", "application/json", 400, "no row"),
        (b'[["a"]]', "application/json", 400, "rows of numbers, or a list of texts"),
        (b"[1e300, 1, 1, 1, 1]", "application/json", 400, "`inf`"),
        (b"junk", "application/x-npy", 400, "The body is not application/x-npy"),
    ],
)
def test_refusals(body: bytes, content_type: str, status: int, message: str, tmp_path: Path) -> None:
    model = loaded(tmp_path, EXACT["tree"])
    with pytest.raises(ModelError) as refused:
        model.decode(memoryview(body), content_type)
    assert refused.value.status == status
    assert message in refused.value.message


def test_a_pickle_in_an_npy_body_is_never_run(tmp_path: Path) -> None:
    model = loaded(tmp_path, EXACT["tree"])
    out = io.BytesIO()
    np.save(out, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ModelError, match="allow_pickle"):
        model.decode(memoryview(out.getvalue()), "application/x-npy")


def test_accept(tmp_path: Path) -> None:
    model = loaded(tmp_path, EXACT["tree"], env={"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv"})
    assert model.check_accept("") == model.check_accept("*/*") == "text/csv"
    with pytest.raises(ModelError) as refused:
        model.check_accept("text/html")
    assert refused.value.status == 406
    with pytest.raises(LoadError, match="'text/xml'"):
        loaded(tmp_path, EXACT["tree"], env={"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/xml"})


def test_what_the_estimator_raises_is_the_clients_error(tmp_path: Path) -> None:
    model = loaded(tmp_path, ROUNDING["ridge"])
    with pytest.raises(ModelError, match="ValueError: Input X contains NaN") as refused:
        model.predict([model.decode(memoryview(b"1,,3,4,5"), "text/csv")])
    assert refused.value.status == 400


def saved_by(version: str, estimator: Any) -> bytes:
    raw = pickle.dumps(estimator)
    ours = sklearn.__version__.encode()
    assert len(version) == len(ours)
    return raw.replace(ours, version.encode())


def test_another_version_of_scikit_learn_is_refused_with_the_remedy(tmp_path: Path) -> None:
    major, minor, patch = sklearn.__version__.split(".")
    (tmp_path / "m.pkl").write_bytes(saved_by(f"{major}.{int(minor) - 1}.{patch}", ROUNDING["ridge"]))
    with pytest.raises(LoadError, match=rf"saved by scikit-learn {major}\.{int(minor) - 1}") as refused:
        RUNTIME.load(LoadOptions(tmp_path, "1.2-1"))
    assert f"scikit-learn=={major}.{int(minor) - 1}.{patch}" in refused.value.remedy
    (tmp_path / "m.pkl").write_bytes(saved_by(f"{major}.{minor}.{int(patch) + 1}", ROUNDING["ridge"]))
    (note,) = RUNTIME.load(LoadOptions(tmp_path, "1.2-1")).notes
    assert note == (
        f"m.pkl was saved by scikit-learn {major}.{minor}.{int(patch) + 1}; this environment has {sklearn.__version__}."
    )


def test_skops_files_answer_as_pickles_do(tmp_path: Path) -> None:
    (tmp_path / "model.skops").write_bytes(skops.io.dumps(ROUNDING["ridge"]))
    model = RUNTIME.load(LoadOptions(tmp_path, "1.2-1"))
    body, _ = model.probe() or (b"", "")
    one = model.decode(memoryview(body), "text/csv")
    assert np.array_equal(model.predict([one])[0], ROUNDING["ridge"].predict(one.data))


def test_skops_makes_no_type_that_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "m.skops").write_bytes(skops.io.dumps(Own()))
    name = f"{Own.__module__}.Own"
    with pytest.raises(LoadError, match=f"does not trust: {name}") as refused:
        RUNTIME.load(LoadOptions(tmp_path, "1.2-1"))
    assert f"CLARY_TRUSTED_TYPES={name}" in refused.value.remedy
    assert RUNTIME.load(LoadOptions(tmp_path, "1.2-1", {"CLARY_TRUSTED_TYPES": name})).signature.width is None


@pytest.mark.parametrize(
    ("files", "env", "cause"),
    [
        ({}, {}, "holds nothing; one model file"),
        ({"a.joblib": b"x", "b.joblib": b"y"}, {}, "holds a.joblib, b.joblib; one model file"),
        ({"m.joblib": b"junk"}, {}, "m.joblib cannot be loaded"),
        ({"m.json": XGBOOST_JSON}, {}, r"m.json is an XGBoost model \(json, .*\), which this image does not serve"),
        ({"m.joblib": pickle.dumps(StandardScaler())}, {}, "StandardScaler, which has no predict"),
        ({"m.pkl": b"\x80\x04cnowhere.to\nfind\n."}, {}, "needs the module 'nowhere'"),
        ({"m.joblib": b"", "code/inference.py": b""}, {}, "The script has no model_fn"),
        ({"m.joblib": b""}, {"SAGEMAKER_PROGRAM": "train.py"}, "no script train.py in the artifact"),
    ],
)
def test_artifacts_that_cannot_serve(files: dict[str, bytes], env: dict[str, str], cause: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with pytest.raises(LoadError, match=cause) as refused:
        RUNTIME.load(LoadOptions(tmp_path, "1.2-1", env))
    assert refused.value.remedy


def test_other_files_beside_the_model_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("about")
    assert loaded(tmp_path, EXACT["tree"]).signature.width == 5


def test_forests_use_one_job(tmp_path: Path) -> None:
    model = loaded(tmp_path, make_pipeline(StandardScaler(), RandomForestRegressor(3, n_jobs=-1)).fit(ROWS, TARGET))
    assert model._estimator.steps[-1][1].n_jobs == 1  # type: ignore[attr-defined]
