"""Train on four fifths of the customers, judge on the rest, save the pipeline as an MLflow model."""

from pathlib import Path

import mlflow.sklearn
import pandas as pd
from mlflow.models import infer_signature
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

customers = pd.read_csv(Path(__file__).parent.parent / "data" / "telco-churn" / "customers.csv.gz")
customers["TotalCharges"] = pd.to_numeric(customers["TotalCharges"], errors="coerce").fillna(0.0)
customers = customers.astype(dict.fromkeys(customers.select_dtypes("integer"), float))
left = customers.pop("Churn") == "Yes"
facts = customers.drop(columns="customerID")

train, test, train_left, test_left = train_test_split(facts, left, test_size=0.2, stratify=left, random_state=42)
model = make_pipeline(
    make_column_transformer(
        (StandardScaler(), make_column_selector(dtype_include=float)),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude=float)),
    ),
    LogisticRegression(max_iter=1000),
)
model.fit(train, train_left)
print(f"AUC on customers not seen: {roc_auc_score(test_left, model.predict_proba(test)[:, 1]):.3f}")

signature = infer_signature(test, model.predict_proba(test))
mlflow.sklearn.save_model(
    model, "model", signature=signature, pyfunc_predict_fn="predict_proba", serialization_format="cloudpickle"
)
test.head(3).to_csv("sample.csv", index=False)
