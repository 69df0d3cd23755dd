"""Evaluation metrics that the image adds to XGBoost's own (its metrics/custom_metrics.py), by numpy alone."""

from __future__ import annotations

from typing import Any, Callable, Mapping  # noqa: UP035 - Python 3.9

import numpy


def evaluation(name: str, predictions: Any, labels: Any) -> float:
    """The value of one of METRICS. `predictions`: (rows,) or (rows, classes); `labels`: (rows,)."""
    return float(METRICS[name](numpy.asarray(predictions), numpy.asarray(labels)))


def _classes(predictions: Any) -> Any:
    """Class numbers: the likeliest of several, a class as it is, a probability from 0.5 on."""
    if predictions.ndim > 1:
        return predictions.argmax(axis=1)
    if predictions.size and predictions.max() > 1:
        return predictions.astype(int)
    return (predictions > 0.5).astype(int)


def _accuracy(predictions: Any, labels: Any) -> float:
    return float((_classes(predictions) == labels).mean())


def _counts(predictions: Any, labels: Any) -> tuple[Any, Any, Any]:
    """True positives, predicted and actual ones, of each class that occurs."""
    found = _classes(predictions)
    kinds = numpy.unique(numpy.concatenate([found, labels]))
    hits = numpy.array([((found == kind) & (labels == kind)).sum() for kind in kinds])
    predicted = numpy.array([(found == kind).sum() for kind in kinds])
    return hits, predicted, numpy.array([(labels == kind).sum() for kind in kinds])


def _ratio(hits: Any, of: Any) -> Any:
    return numpy.divide(hits, of, out=numpy.zeros(len(hits)), where=of > 0)


def _f1(predictions: Any, labels: Any) -> Any:
    hits, predicted, actual = _counts(predictions, labels)
    return _ratio(2 * hits, predicted + actual)


def _binary(values: Any) -> float:
    """Of the class 1, the last of two."""
    return float(values[-1])


def _r2(predictions: Any, labels: Any) -> float:
    spread = ((labels - labels.mean()) ** 2).sum()
    return float(1 - ((labels - predictions) ** 2).sum() / spread) if spread else 0.0


def _precision(predictions: Any, labels: Any) -> Any:
    hits, predicted, _ = _counts(predictions, labels)
    return _ratio(hits, predicted)


def _recall(predictions: Any, labels: Any) -> Any:
    hits, _, actual = _counts(predictions, labels)
    return _ratio(hits, actual)


METRICS: Mapping[str, Callable[[Any, Any], float]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": lambda p, y: float(_recall(p, y)[numpy.isin(numpy.unique(_both(p, y)), y)].mean()),
    "f1": lambda p, y: float(_f1(p, y).mean()),
    "f1_binary": lambda p, y: _binary(_f1(p, y)),
    "f1_macro": lambda p, y: float(_f1(p, y).mean()),
    "mse": lambda p, y: float(((p - y) ** 2).mean()),
    "r2": _r2,
    "precision": lambda p, y: _binary(_precision(p, y)),
    "precision_macro": lambda p, y: float(_precision(p, y).mean()),
    "precision_micro": _accuracy,
    "recall": lambda p, y: _binary(_recall(p, y)),
    "recall_macro": lambda p, y: float(_recall(p, y).mean()),
    "recall_micro": _accuracy,
}
"""By name; micro averages over all classes are the accuracy."""


def _both(predictions: Any, labels: Any) -> Any:
    return numpy.concatenate([_classes(predictions), labels])
