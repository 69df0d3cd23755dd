"""Boosters of every kind, trained once, and what tests ask of them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

from clary.runtimes.base import LoadOptions, Model
from clary.runtimes.xgboost import RUNTIME

WIDTH = 4
RNG = np.random.default_rng(5)
ROWS = RNG.normal(size=(120, WIDTH)).astype(np.float32)
TARGET = ROWS[:, 0] * 2 + np.abs(ROWS[:, 1])
CLASSES = np.digitize(TARGET, [0.0, 1.5])


def trained(target: np.ndarray = TARGET, rounds: int = 4, **params: Any) -> xgboost.Booster:
    data = xgboost.DMatrix(ROWS, target, nthread=1)
    depth = {} if params.get("booster") == "gblinear" else {"max_depth": 3}
    return xgboost.train({**depth, "nthread": 1, **params}, data, rounds)


KINDS: Mapping[str, Callable[[], xgboost.Booster]] = {
    "regression": trained,
    "base score": lambda: trained(base_score=12.5),
    "logistic": lambda: trained((TARGET > 1).astype(int), objective="binary:logistic"),
    "softprob": lambda: trained(CLASSES, objective="multi:softprob", num_class=3),
    "softmax": lambda: trained(CLASSES, objective="multi:softmax", num_class=3),
    "two targets": lambda: trained(
        np.stack([TARGET, -TARGET], axis=1), multi_strategy="multi_output_tree", tree_method="hist"
    ),
    "poisson": lambda: trained(np.abs(TARGET), objective="count:poisson"),
    "forest": lambda: trained(num_parallel_tree=3, subsample=0.6),
    "dart": lambda: trained(booster="dart", rate_drop=0.5, one_drop=1),
    "linear": lambda: trained(booster="gblinear"),
}
BOOSTERS = {name: make() for name, make in KINDS.items()}


def loaded(
    folder: Path, booster: xgboost.Booster, tag: str = "1.7-1", env: Mapping[str, str] | None = None, threads: int = 1
) -> Model:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "xgboost-model").write_bytes(booster.save_raw("ubj"))
    return RUNTIME.load(LoadOptions(folder, tag, env or {}, threads))


def answer(model: Model, body: bytes, content_type: str = "text/csv", accept: str = "") -> bytes:
    accepted = model.check_accept(accept)
    result = model.predict([model.decode(memoryview(body), content_type)])[0]
    return model.encode(result, accepted)[0]


def csv(rows: np.ndarray) -> bytes:
    return "\n".join(",".join("" if np.isnan(v) else repr(float(v)) for v in row) for row in rows).encode()


def expected(booster: xgboost.Booster, rows: np.ndarray) -> list[Any]:
    scores: list[Any] = booster.predict(xgboost.DMatrix(rows, nthread=1)).tolist()
    return scores
