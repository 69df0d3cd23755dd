"""From float32 rows to scores: XGBoost's in-place prediction without its Python side, DMatrix prediction, ensembles."""

from __future__ import annotations

import ctypes
import json
from typing import TYPE_CHECKING, Any, Callable, Sequence  # noqa: UP035 - Python 3.9

import numpy as np
import xgboost
from xgboost import core

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clary.runtimes.xgboost_output import Score

    Predict = Callable[[NDArray[np.float32]], list[Score]]

_SLICED_SCORES_MAX = 64
"""Up to here copying scores one by one is faster than making an array of them."""


ROWS_A_TEAM_MIN = 4096
"""From here on a predict is shared among a replica's threads. Below, one thread does it: the threads of a team wait for
each other, and where the cores are busy that turned 0.05 ms into 48 ms at p99 (one row; 100 trees, 2 cores, load 4)."""


class Team:
    """How many threads a booster predicts with, by the rows it is given."""

    def __init__(self, booster: Any, threads: int) -> None:
        self._booster = booster
        self._threads = threads
        self._current = 1
        booster.set_param({"nthread": 1})

    def for_rows(self, count: int) -> int:
        """Set and return the threads for a predict of `count` rows."""
        wanted = self._threads if count >= ROWS_A_TEAM_MIN else 1
        if wanted != self._current:
            self._booster.set_param({"nthread": wanted})
            self._current = wanted
        return wanted


class InPlace:
    """`Booster.inplace_predict` of float32 rows in half its time for one row, with the same bits.

    For tree boosters without dart: dart's in-place scores differ from those that the image gives. Not for two threads
    at once: XGBoost's answer lies in memory of the booster until the next call.
    """

    def __init__(self, booster: Any, rounds: int, threads: int) -> None:
        self._team = Team(booster, threads)  # keeps the handle alive
        self._handle = booster.handle
        self._config = json.dumps(
            {
                "type": 0,
                "training": False,
                "iteration_begin": 0,
                "iteration_end": rounds,
                "missing": float("nan"),
                "strict_shape": False,
                "cache_id": 0,
            }
        ).encode()
        self._call = core._LIB.XGBoosterPredictFromDense
        self._shape = ctypes.POINTER(ctypes.c_uint64)()
        self._dims = ctypes.c_uint64()
        self._scores = ctypes.POINTER(ctypes.c_float)()
        self._out = (ctypes.byref(self._shape), ctypes.byref(self._dims), ctypes.byref(self._scores))
        self._no_proxy = ctypes.c_void_p()

    def __call__(self, rows: NDArray[np.float32]) -> list[Score]:
        """Scores of C-contiguous float32 `rows`: a float a row, or a list of floats where there are several."""
        count, width = rows.shape
        self._team.for_rows(count)
        interface = b'{"data": [%d, true], "shape": [%d, %d], "typestr": "<f4", "version": 3, "strides": null}' % (
            rows.ctypes.data,
            count,
            width,
        )
        if self._call(self._handle, interface, self._config, self._no_proxy, *self._out) != 0:
            raise core.XGBoostError(core._LIB.XGBGetLastError().decode("utf-8", "replace"))
        dims = self._dims.value
        outputs = 1
        for axis in range(1, dims):
            outputs *= self._shape[axis]
        total = count * outputs
        if total <= _SLICED_SCORES_MAX:
            flat: list[float] = self._scores[:total]
            return list(flat) if dims == 1 else [flat[at : at + outputs] for at in range(0, total, outputs)]
        scores = np.ctypeslib.as_array(self._scores, shape=(total,))
        answer: list[Score] = (scores if dims == 1 else scores.reshape(count, outputs)).tolist()
        return answer


class ByMatrix:
    """`Booster.predict` through a DMatrix, as the image predicts: for linear boosters and dart."""

    def __init__(self, booster: Any, rounds: int, threads: int) -> None:
        self._booster = booster
        self._range = (0, rounds)
        self._team = Team(booster, threads)

    def __call__(self, rows: NDArray[np.float32]) -> list[Score]:
        """As `InPlace.__call__`."""
        matrix = xgboost.DMatrix(rows, nthread=self._team.for_rows(len(rows)))
        scores = self._booster.predict(matrix, iteration_range=self._range, validate_features=False)
        answer: list[Score] = scores.tolist()
        return answer


class Ensemble:
    """Several boosters: the mean of their scores, or the most frequent where scores are classes.

    The mean is numpy's of float32, as in the image. Of classes equally frequent the smallest is taken.
    """

    def __init__(self, members: Sequence[Predict], *, vote: bool) -> None:
        self._members = members
        self._vote = vote

    def __call__(self, rows: NDArray[np.float32]) -> list[Score]:
        """As `InPlace.__call__`."""
        scores = np.array([member(rows) for member in self._members], dtype=np.float32)
        answer: list[Score] = (_mode(scores) if self._vote else np.mean(scores, axis=0)).tolist()
        return answer


def _mode(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """The most frequent value of each column of (members, rows); the smallest of several."""
    found = np.empty(scores.shape[1], dtype=np.float32)
    for row in range(scores.shape[1]):
        values, counts = np.unique(scores[:, row], return_counts=True)
        found[row] = values[counts.argmax()]
    return found
