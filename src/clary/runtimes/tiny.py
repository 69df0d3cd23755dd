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


def _lightgbm(threads: int) -> None:
    import lightgbm
    import numpy

    rows = numpy.arange(4096, dtype=numpy.float64).reshape(1024, 4) % 97
    told = {"num_threads": threads, "verbosity": -1, "num_leaves": 4}
    booster = lightgbm.train(told, lightgbm.Dataset(rows, rows[:, 0]), num_boost_round=2)
    booster.predict(rows, num_threads=threads)


def _onnx(threads: int) -> None:
    import numpy
    import onnxruntime

    wanted = onnxruntime.SessionOptions()
    wanted.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(_SQUARE_AND_SUM, wanted, providers=["CPUExecutionProvider"])
    session.run(None, {"x": numpy.ones((256, 256), numpy.float32)})


_SQUARE_AND_SUM = (
    b"\x08\x08\x12\x00\x3aX\x0a\x11\x0a\x01x\x0a\x01x\x12\x01m\x22\x06MatMu"
    b"l\x0a\x11\x0a\x01m\x12\x01y\x22\x09ReduceSum\x12\x04ti"
    b"nyZ\x15\x0a\x01x\x12\x10\x0a\x0e\x08\x01\x12\x0a\x0a\x03\x08\x80\x02\x0a\x03\x08\x80"
    b"\x02b\x13\x0a\x01y\x12\x0e\x0a\x0c\x08\x01\x12\x08\x0a\x02\x08\x01\x0a\x02\x08\x01B\x04"
    b"\x0a\x00\x10\x0d"
)
"""An ONNX graph: x of 256 by 256 float32 -> the sum of x @ x, as `onnx.helper` makes it (ir 8, opset 13)."""


def _pyfunc(threads: int) -> None:
    """What every flavour needs; the flavour's own library is loaded in the child, after the fork."""
    import mlflow.pyfunc
    import numpy
    import pandas

    assert threads > 0
    assert mlflow.pyfunc.load_model
    rows = numpy.arange(65536, dtype=numpy.float64).reshape(256, 256) % 97
    pandas.DataFrame(rows @ rows).groupby(0).sum()


def _nothing(threads: int) -> None:
    """Of runtimes that import no library before the fork: a script's own come after it."""
    del threads


_TINY: Mapping[str, TinyPredict] = {
    **dict.fromkeys(("pytorch", "tensorflow", "huggingface"), _nothing),
    "xgboost": _xgboost,
    "sklearn": _sklearn,
    "lightgbm": _lightgbm,
    "onnx": _onnx,
    "pyfunc": _pyfunc,
}


def tiny_predict(runtime: str) -> TinyPredict | None:
    """The runtime's; None where it has none, which means that a fork is not proven safe."""
    return _TINY.get(runtime)
