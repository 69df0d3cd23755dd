"""The smallest work that shows whether a forked child can predict: for the zygote's probe, by runtime.

Each builds a model in memory, so that no file and no version of one is involved, and touches the thread pools that
its library keeps (OpenMP, BLAS, joblib): those are what a fork breaks.
"""

from __future__ import annotations

from typing import Callable, Mapping  # noqa: UP035 - Python 3.9

TinyPredict = Callable[[int], None]
"""Called with the number of threads to use; raises, hangs or returns."""


def _xgboost(threads: int) -> None:
    import numpy
    import xgboost

    rows = numpy.arange(4096, dtype=numpy.float32).reshape(1024, 4) % 97
    data = xgboost.DMatrix(rows, label=rows[:, 0], nthread=threads)
    booster = xgboost.train({"nthread": threads, "tree_method": "hist", "max_depth": 2}, data, num_boost_round=2)
    booster.predict(data)
    booster.inplace_predict(rows)


def _sklearn(threads: int) -> None:
    import numpy
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import Ridge

    rows = numpy.arange(65536, dtype=numpy.float64).reshape(256, 256) % 97
    Ridge().fit(rows @ rows, rows[:, 0]).predict(rows)
    RandomForestRegressor(n_estimators=4, max_depth=2, n_jobs=threads).fit(rows, rows[:, 0]).predict(rows)


_TINY: Mapping[str, TinyPredict] = {"xgboost": _xgboost, "sklearn": _sklearn}


def tiny_predict(runtime: str) -> TinyPredict | None:
    """The runtime's; None where it has none, which means that a fork is not proven safe."""
    return _TINY.get(runtime)
