"""Answers as the XGBoost image of a given version prints them.

Source: aws/sagemaker-xgboost-container, `algorithm_mode/serve.py` and `serve_utils.py` of each release branch;
docs/reference/xgboost.md has the table. Scores are float32 printed as the double they equal (`0.43861907720565796`).
"""

from __future__ import annotations

import json
from typing import Any, Sequence, Union  # noqa: UP035 - Python 3.9

Score = Union[float, list[float]]

CSV = "text/csv"
JSON = "application/json"
JSON_LINES = "application/jsonlines"
RECORDIO = "application/x-recordio-protobuf"
ACCEPTS = (JSON, JSON_LINES, RECORDIO, CSV)

ONE_LINE_TAGS = frozenset({"1", "latest", "0.90-1", "0.90-2", "1.0-1", "1.2-1"})
"""Images that join all scores by commas on one line and answer text/csv whatever Accept says."""


def one_line(scores: Sequence[Score]) -> bytes:
    """`1.5,2.0`: no newline; a row of several outputs prints as a Python list, as those images print it."""
    return ",".join(map(str, scores)).encode()


def lines(scores: Sequence[Score]) -> bytes:
    """One row a line, its outputs separated by commas, the last line ended."""
    if scores and isinstance(scores[0], list):
        return "".join([",".join(map(repr, row)) + "\n" for row in scores if isinstance(row, list)]).encode()
    return ("\n".join(map(repr, scores)) + "\n").encode()


def batch_lines(scores: Sequence[Score]) -> bytes:
    """What any image answers within batch transform: a line a row, several outputs as a Python list."""
    return ("\n".join(map(str, scores)) + "\n").encode()


def as_json(rows: Sequence[Any]) -> bytes:
    """`{"predictions": [...]}`; a score that is not finite prints as NaN or Infinity, as Python's json does."""
    return json.dumps({"predictions": rows}).encode()


def as_json_lines(rows: Sequence[Any]) -> bytes:
    """One JSON value a line, the last line ended."""
    return "".join([json.dumps(row) + "\n" for row in rows]).encode()
