"""Messages in, labels with their probabilities out: the functions that SageMaker's scikit-learn container calls."""

import json
from pathlib import Path

import joblib


def model_fn(model_dir):
    return joblib.load(Path(model_dir) / "model.joblib")


def input_fn(body, content_type):
    if content_type == "application/json":
        return json.loads(body)["messages"]
    if content_type == "text/plain":
        return body.decode("utf-8").splitlines()
    raise ValueError(f"send application/json or text/plain, not {content_type}")


def predict_fn(messages, model):
    spam = list(model.classes_).index("spam")
    return [float(row[spam]) for row in model.predict_proba(messages)]


def output_fn(chances, accept):
    if accept != "application/json":
        raise ValueError(f"ask for application/json, not {accept}")
    found = [{"label": "spam" if chance > 0.5 else "ham", "spam": round(chance, 4)} for chance in chances]
    return json.dumps(found), accept
