"""What a pickle may ask for: every fitted model loads, and nothing that runs does."""

import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn import (
    cluster,
    compose,
    decomposition,
    ensemble,
    feature_extraction,
    linear_model,
    naive_bayes,
    neighbors,
    neural_network,
    pipeline,
    preprocessing,
    svm,
    tree,
)
from sklearn.calibration import CalibratedClassifierCV
from sklearn.feature_selection import SelectKBest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from xgboost import XGBClassifier, XGBRegressor

from clary.runtimes.base import LoadError
from clary.runtimes.trust import known, unknown
from clary.worker.guard import Guard, UntrustedError
from clary.worker.load import Loaded, Refused, load
from clary.worker.options import WorkerOptions
from tests.support.xgboost_cases import BOOSTERS, CLASSES, ROWS, TARGET

QUIET: dict[str, Any] = {"n_estimators": 2, "verbosity": -1}
SAFE: dict[str, Callable[[], Any]] = {
    "ridge": lambda: pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.Ridge()).fit(ROWS, TARGET),
    "forest": lambda: ensemble.RandomForestClassifier(3, random_state=np.random.RandomState(1)).fit(ROWS, CLASSES),
    "boosting": lambda: ensemble.GradientBoostingClassifier(n_estimators=2).fit(ROWS, CLASSES),
    "histograms": lambda: ensemble.HistGradientBoostingClassifier(max_iter=2).fit(ROWS, CLASSES),
    "isolation": lambda: ensemble.IsolationForest(n_estimators=3).fit(ROWS),
    "voting": lambda: ensemble.VotingClassifier([("a", linear_model.LogisticRegression())]).fit(ROWS, CLASSES),
    "stacking": lambda: ensemble.StackingRegressor([("a", linear_model.Ridge())]).fit(ROWS, TARGET),
    "tree": lambda: tree.DecisionTreeRegressor().fit(ROWS, TARGET),
    "kd tree": lambda: neighbors.KNeighborsClassifier(algorithm="kd_tree").fit(ROWS, CLASSES),
    "ball tree": lambda: neighbors.KNeighborsRegressor(algorithm="ball_tree").fit(ROWS, TARGET),
    "svm": lambda: svm.SVC().fit(ROWS, CLASSES),
    "sgd": lambda: linear_model.SGDClassifier().fit(ROWS, CLASSES),
    "bayes": lambda: naive_bayes.GaussianNB().fit(ROWS, CLASSES),
    "network": lambda: neural_network.MLPClassifier(4, solver="lbfgs", max_iter=2000).fit(ROWS, CLASSES),
    "process": lambda: GaussianProcessRegressor().fit(ROWS[:20], TARGET[:20]),
    "isotonic": lambda: IsotonicRegression().fit(ROWS[:, 0], TARGET),
    "grid": lambda: GridSearchCV(linear_model.Ridge(), {"alpha": [1, 2]}).fit(ROWS, TARGET),
    "calibrated": lambda: CalibratedClassifierCV(linear_model.LogisticRegression(), cv=2).fit(ROWS, CLASSES),
    "one against the rest": lambda: OneVsRestClassifier(linear_model.LogisticRegression()).fit(ROWS, CLASSES),
    "kmeans": lambda: cluster.KMeans(2, n_init=1).fit(ROWS),
    "pca": lambda: pipeline.make_pipeline(decomposition.PCA(2), SelectKBest(k=1), tree.DecisionTreeRegressor()).fit(
        ROWS, TARGET
    ),
    "texts": lambda: pipeline.make_pipeline(
        feature_extraction.text.TfidfVectorizer(), linear_model.LogisticRegression()
    ).fit(["aa bb", "cc dd"], [0, 1]),
    "columns": lambda: pipeline.make_pipeline(
        compose.ColumnTransformer(
            [("o", preprocessing.OneHotEncoder(sparse_output=False), [0]), ("n", SimpleImputer(), [1])]
        ),
        KNNImputer(),
        linear_model.Lasso(),
    ).fit(np.round(ROWS), TARGET),
    "xgboost": lambda: XGBClassifier(n_estimators=2).fit(ROWS, CLASSES),
    "xgboost in a pipeline": lambda: pipeline.make_pipeline(XGBRegressor(n_estimators=2)).fit(ROWS, TARGET),
    "booster": lambda: BOOSTERS["regression"],
    "lightgbm": lambda: LGBMClassifier(**QUIET).fit(ROWS, CLASSES),
    "lightgbm in a pipeline": lambda: pipeline.make_pipeline(LGBMRegressor(**QUIET)).fit(ROWS, TARGET),
}


class Bomb:
    """Runs something when unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.does = (function, arguments)

    def __reduce__(self) -> Any:
        return self.does


def dumped(value: Any, by: Any = joblib.dump) -> bytes:
    out = io.BytesIO()
    by(value, out)
    return out.getvalue()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", SAFE)
def test_fitted_models_are_known(kind: str) -> None:
    model = SAFE[kind]()
    for by in (joblib.dump, pickle.dump):
        raw = dumped(model, by)
        with Guard(refuse=True) as guard:
            joblib.load(io.BytesIO(raw))
        assert guard.unknown == []
        guard.verdict()


def bombs(target: Path) -> dict[str, bytes]:
    touch = Bomb(open, str(target), "w")
    return {
        "a call": pickle.dumps(touch),
        "protocol 0": pickle.dumps(touch, protocol=0),
        "by joblib": dumped(touch),
        "in an array of joblib": dumped({"weights": np.array([touch], dtype=object)}),
        "system": pickle.dumps(Bomb(os.system, f"touch {target}")),
        "getattr": pickle.dumps(Bomb(getattr, "text", "upper")),
        "eval": pickle.dumps(Bomb(eval, f"open({str(target)!r}, 'w')")),
        "numpy runs strings": b"\x80\x04\x8c\x0dnumpy.testing\x8c\x09runstring\x93.",
        "an attribute of a module": b"\x80\x04\x8c\x0csklearn.base\x8c\x10warnings.sys.Foo\x93.",
        "a class that a module imported": b"\x80\x04\x8c\x16sklearn.datasets._base\x8c\x04Path\x93.",
        "another package's class": b"\x80\x04\x8c\x16sklearn.ensemble._base\x8c\x07ABCMeta\x93.",
        "a memory map": b"\x80\x04\x8c\x05numpy\x8c\x06memmap\x93.",
    }


@pytest.mark.parametrize("kind", list(bombs(Path("x"))))
def test_what_runs_is_refused_before_it_runs(kind: str, tmp_path: Path) -> None:
    raw = bombs(tmp_path / "ran")[kind]
    with Guard(refuse=True) as guard, pytest.raises((UntrustedError, Exception)):
        joblib.load(io.BytesIO(raw)) if b"joblib" in raw else pickle.loads(raw)
    assert len(guard.unknown) == 1
    assert not (tmp_path / "ran").exists()
    with pytest.raises(LoadError, match="trusts no model"):
        guard.verdict()


def test_without_refusing_unknown_names_are_noted(tmp_path: Path) -> None:
    raw = pickle.dumps([Bomb(open, str(tmp_path / "ran"), "w"), pipeline.Pipeline([])])
    with Guard(refuse=False) as guard:
        pickle.loads(raw)[0].close()
    assert guard.unknown == ["_io.open"] or guard.unknown == ["io.open"]
    assert "sklearn" in guard.packages
    guard.verdict()


def test_a_guard_that_is_off_sees_nothing() -> None:
    with Guard(refuse=True) as guard:
        pass
    assert pickle.loads(pickle.dumps(Path("x"))) == Path("x")
    assert guard.unknown == []


@pytest.mark.parametrize(
    "name",
    ["os.system", "builtins.eval", "builtins.getattr", "numpy.load", "numpy.f2py.compile", "joblib.load", "io.open"]
    + ["sklearn.datasets._base.Path", "sklearn.utils._testing.TestCase", "numpy.core._ufunc_reconstruct"]
    + ["functools.partial", "sklearn.os", "xgboost.core.DMatrix", "__main__.Model", "numpy.testing.runstring"],
)
def test_names_that_are_not_known(name: str) -> None:
    assert not known(name)
    assert unknown([name, "numpy.ndarray", name]) == (name,)


def loaded(folder: Path, raw: bytes, *, untrusted: bool, runtime: str = "sklearn", **env: str) -> Loaded | Refused:
    (folder / "model.joblib").write_bytes(raw)
    return load(WorkerOptions("u", "", runtime, str(folder), "1.2-1", env=env, untrusted=untrusted), 1)


def test_a_worker_that_trusts_nobody_serves_known_models_only(tmp_path: Path) -> None:
    assert isinstance(loaded(tmp_path, dumped(SAFE["ridge"]()), untrusted=True), Loaded)
    refused = loaded(tmp_path, bombs(tmp_path / "ran")["a call"], untrusted=True)
    assert isinstance(refused, Refused)
    assert "Its pickle asks for" in refused.report.cause
    assert "--untrusted" in refused.report.cause
    assert not (tmp_path / "ran").exists()


def test_a_worker_that_trusts_tells_what_is_unknown(tmp_path: Path) -> None:
    class Own(linear_model.Ridge):
        pass

    module = sys.modules[__name__]
    Own.__qualname__ = "Own"
    module.Own = Own  # type: ignore[attr-defined]
    found = loaded(tmp_path, dumped(Own().fit(ROWS, TARGET)), untrusted=False)
    assert isinstance(found, Loaded)
    (note,) = found.notes
    assert note.endswith(f"do not hold: {__name__}.Own.")


def test_scripts_and_code_are_refused_by_a_worker_that_trusts_nobody(tmp_path: Path) -> None:
    raw = dumped(SAFE["ridge"]())
    for env in ({"SAGEMAKER_PROGRAM": "inference.py"}, {}):
        if not env:
            (tmp_path / "code").mkdir()
            (tmp_path / "code/inference.py").write_text("")
        refused = loaded(tmp_path, raw, untrusted=True, **env)
        assert isinstance(refused, Refused)
        assert "trusts no model" in refused.report.cause


def test_a_model_that_names_types_to_trust_is_refused_by_a_worker_that_trusts_nobody(tmp_path: Path) -> None:
    refused = loaded(tmp_path, dumped(SAFE["ridge"]()), untrusted=True, CLARY_TRUSTED_TYPES="os.system")
    assert isinstance(refused, Refused)
    assert "asks to trust os.system" in refused.report.cause


def test_the_hook_costs_a_process_nothing_that_does_not_guard() -> None:
    code = "import clary.worker.guard, pickle; print(pickle.loads(pickle.dumps(print)) is print)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
