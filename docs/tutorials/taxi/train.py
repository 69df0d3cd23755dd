"""Train on January, judge on February, write the model and a sample of what it takes."""

import gzip
from pathlib import Path

import joblib
import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

DATA = Path(__file__).parent.parent / "data" / "nyc-taxi-green"


def rides(month):
    """Rows of a month as (features, minutes)."""
    rows = np.loadtxt(DATA / f"{month}.csv.gz", delimiter=",", skiprows=1)
    return rows[:, :-1], rows[:, -1]


features, minutes = rides("2023-01")
model = make_pipeline(SimpleImputer(), HistGradientBoostingRegressor(max_iter=100, learning_rate=0.2, random_state=0))
model.fit(features, minutes)

features, minutes = rides("2023-02")
error = np.sqrt(np.mean((model.predict(features) - minutes) ** 2))
print(f"February, rides the model has not seen: RMSE {error:.2f} minutes")

joblib.dump(model, "model.joblib")
with gzip.open(DATA / "2023-02.csv.gz", "rt") as source, Path("sample.csv").open("w") as sample:
    for _ in range(4):
        sample.write(source.readline().rpartition(",")[0] + "\n")
