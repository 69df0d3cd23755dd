"""A small real model, packed as SageMaker wants it."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import xgboost

WIDTH = 4
ROW = "0.5,-1.25,3,0.125"


def regressor(seed: int = 0) -> xgboost.Booster:
    """Twenty trees over four features."""
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(400, WIDTH)).astype(np.float32)
    labels = rows @ np.array([1.0, -2.0, 0.5, 0.0]) + seed
    return xgboost.train({"max_depth": 3, "nthread": 1, "seed": seed}, xgboost.DMatrix(rows, labels), 20)


def expected(booster: xgboost.Booster, csv: str) -> list[float]:
    """What the model itself says of rows of CSV."""
    rows = np.array([line.split(",") for line in csv.strip().splitlines()], dtype=np.float32)
    return [float(value) for value in booster.inplace_predict(rows)]


def packed_regressor(seed: int = 0) -> bytes:
    """`regressor(seed)` in a model.tar.gz."""
    return pack({"xgboost-model": bytes(regressor(seed).save_raw("ubj"))})


def pack(files: dict[str, bytes]) -> bytes:
    """A tar.gz of files by name."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
