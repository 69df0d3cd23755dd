"""A team of threads predicts large batches only, and the scores are the same bits either way."""

from __future__ import annotations

import numpy as np
import xgboost

from clary.runtimes.xgboost_predict import ROWS_A_TEAM_MIN, InPlace, Team


def booster() -> xgboost.Booster:
    rows = np.random.default_rng(3).normal(size=(200, 5)).astype(np.float32)
    return xgboost.train({"max_depth": 4, "nthread": 1}, xgboost.DMatrix(rows, rows[:, 0]), 10)


def test_small_batches_take_one_thread_and_large_ones_the_share() -> None:
    team = Team(booster(), 2)
    assert [team.for_rows(n) for n in (1, ROWS_A_TEAM_MIN - 1, ROWS_A_TEAM_MIN, 10**6, 1)] == [1, 1, 2, 2, 1]


def test_scores_do_not_depend_on_the_team() -> None:
    rows = np.random.default_rng(4).normal(size=(ROWS_A_TEAM_MIN, 5)).astype(np.float32)
    predict = InPlace(booster(), 0, 2)
    together = predict(rows)
    assert together == [score for at in range(0, len(rows), 512) for score in predict(rows[at : at + 512])]
