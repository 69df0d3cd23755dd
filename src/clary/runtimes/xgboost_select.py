"""Selectable inference: SAGEMAKER_INFERENCE_OUTPUT names what each prediction shows.

Keys, objectives and numbers are those of aws/sagemaker-xgboost-container, `algorithm_mode/serve_utils.py`.
"""

from __future__ import annotations

import json
from typing import Any, Mapping, Sequence  # noqa: UP035 - Python 3.9

from clary.runtimes import recordio
from clary.runtimes.base import LoadError
from clary.runtimes.xgboost_output import CSV, JSON, JSON_LINES, Score, as_json, as_json_lines

VARIABLE = "SAGEMAKER_INFERENCE_OUTPUT"
KEYS = ("predicted_label", "labels", "probability", "probabilities", "raw_score", "raw_scores", "predicted_score")
_CLASSES = KEYS[:6]
_CLASSES_WITHOUT_PROBABILITY = ("predicted_label", "labels", "raw_score", "raw_scores")
_ALLOWED: Mapping[str, tuple[str, ...]] = {
    "binary:logistic": _CLASSES,
    "binary:logitraw": _CLASSES_WITHOUT_PROBABILITY,
    "binary:hinge": _CLASSES_WITHOUT_PROBABILITY,
    "multi:softmax": _CLASSES_WITHOUT_PROBABILITY,
    "multi:softprob": _CLASSES,
}


class Selection:
    """What one model shows of each score."""

    def __init__(self, variable: str, objective: str, classes: int) -> None:
        """`variable` is the environment's text. LoadError for unknown keys and objectives that have none."""
        self.keys = tuple(key for key in variable.replace(" ", "").lower().split(",") if key)
        unknown = [key for key in self.keys if key not in KEYS]
        if unknown or not self.keys:
            raise LoadError(
                f"{VARIABLE}={variable!r} names {', '.join(unknown) or 'nothing'}.",
                f"Name one or more of {', '.join(KEYS)}, separated by commas.",
            )
        allowed = _ALLOWED.get(objective, ("predicted_score",) if objective.startswith("reg:") else None)
        if allowed is None:
            raise LoadError(
                f"Objective `{objective}` unsupported for selectable inference predictions.",
                f"Remove {VARIABLE} from the model's environment.",
            )
        self._allowed = frozenset(allowed)
        self._objective = objective
        self._labels = [0, 1] if objective.startswith("binary:") else list(range(classes))

    def rows(self, scores: Sequence[Score]) -> list[dict[str, Any]]:
        """A mapping a score, keys in the image's order; a key that the objective does not have is NaN, at the end."""
        ordered = [key for key in KEYS if key in self.keys and key in self._allowed]
        rest = [key for key in self.keys if key not in self._allowed]
        return [
            {**{key: self._value(key, score) for key in ordered}, **dict.fromkeys(rest, float("nan"))}
            for score in scores
        ]

    def encode(self, scores: Sequence[Score], accept: str, *, batch: bool) -> bytes:
        """Selected predictions as `accept`; CSV columns stand in the variable's order, lists quoted."""
        rows = self.rows(scores)
        if accept == JSON:
            return as_json(rows)
        if accept == JSON_LINES:
            return as_json_lines(rows)
        if accept != CSV:
            return recordio.encode_labels([{k: v if isinstance(v, list) else [v] for k, v in r.items()} for r in rows])
        text = "\n".join([",".join([_cell(row[key]) for key in self.keys]) for row in rows])
        return (text + "\n" if batch else text).encode()

    def _value(self, key: str, score: Score) -> Any:
        if key == "predicted_score":
            return score
        if key == "labels":
            return self._labels
        if key == "predicted_label":
            return self._label(score)
        if isinstance(score, list):  # multi:softprob
            return max(score) if key in ("probability", "raw_score") else score
        return score if key in ("probability", "raw_score") else [1.0 - score, score]

    def _label(self, score: Score) -> Any:
        if isinstance(score, list):
            return score.index(max(score))
        if self._objective == "binary:logistic":
            return int(score > 0.5)
        if self._objective == "binary:logitraw":
            return int(score > 0)
        return score


def _cell(value: Any) -> str:
    return f'"{json.dumps(value)}"' if isinstance(value, list) else str(value)
