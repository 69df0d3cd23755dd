"""Which estimators answer a row with the same bits whatever rows stand beside it.

A class stands here only because the runtime contract suite shows it: trees walk each row by itself; what goes through
BLAS (linear models, brute-force neighbours) does not qualify. Subclasses do not inherit the promise.
"""

from __future__ import annotations

from typing import Any

from clary.runtimes.base import Joins

_TREES = frozenset(
    {
        "sklearn.tree._classes.DecisionTreeClassifier",
        "sklearn.tree._classes.DecisionTreeRegressor",
        "sklearn.tree._classes.ExtraTreeClassifier",
        "sklearn.tree._classes.ExtraTreeRegressor",
        "sklearn.ensemble._forest.RandomForestClassifier",
        "sklearn.ensemble._forest.RandomForestRegressor",
        "sklearn.ensemble._forest.ExtraTreesClassifier",
        "sklearn.ensemble._forest.ExtraTreesRegressor",
        "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier",
        "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingRegressor",
    }
)
_NEIGHBORS = frozenset(
    {
        "sklearn.neighbors._classification.KNeighborsClassifier",
        "sklearn.neighbors._regression.KNeighborsRegressor",
    }
)
_ELEMENTWISE = frozenset(
    {
        "sklearn.preprocessing._data.StandardScaler",
        "sklearn.preprocessing._data.MinMaxScaler",
        "sklearn.preprocessing._data.MaxAbsScaler",
        "sklearn.preprocessing._data.RobustScaler",
        "sklearn.impute._base.SimpleImputer",
    }
)


def joins_of_estimator(estimator: Any) -> Joins:
    """EXACT for what is listed above, alone or at the end of a pipeline of elementwise steps, else ROUNDING."""
    kind = _kind(estimator)
    if kind == "sklearn.pipeline.Pipeline":
        steps = [step for _, step in estimator.steps]
        exact = all(_elementwise(step) for step in steps[:-1]) and _row_by_row(steps[-1])
    else:
        exact = _row_by_row(estimator)
    return Joins.EXACT if exact else Joins.ROUNDING


def _row_by_row(estimator: Any) -> bool:
    kind = _kind(estimator)
    if kind in _NEIGHBORS:
        by_tree = estimator._fit_method in ("kd_tree", "ball_tree")
        return by_tree and estimator.weights == "uniform" and estimator._y.ndim == 1
    return kind in _TREES


def _elementwise(step: Any) -> bool:
    return step in (None, "passthrough") if step is None or isinstance(step, str) else _kind(step) in _ELEMENTWISE


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
