"""The TensorFlow Serving image, on TensorFlow: a SavedModel alone, with handlers, and asked at its REST address."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from calls import ask, loaded

TAG = "2.19.0"
HANDLERS = """
import json
def input_handler(data, context):
    return json.dumps({"instances": [json.loads(data.read())["row"]]})
def output_handler(response, context):
    return json.dumps({"first": response.json()["predictions"][0]}), context.accept_header
"""
HANDLER = """
import json, urllib.request
def handler(data, context):
    body = json.dumps({"instances": json.loads(data.read())}).encode()
    with urllib.request.urlopen(urllib.request.Request(context.rest_uri, body)) as answer:
        return answer.read(), "application/json"
"""


class Net(tf.Module):
    """Two outputs of one matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = tf.Variable(np.arange(8, dtype=np.float32).reshape(4, 2) / 7)

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def one(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """The product."""
        return {"y": tf.linalg.matmul(x, self.weights)}

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def two(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """The product, and its sum by row."""
        y = tf.linalg.matmul(x, self.weights)
        return {"y": y, "total": tf.reduce_sum(y, axis=1)}


ROWS = [[1.0, 2.0, 3.0, 4.0], [0.5, 0.25, -1.0, 2.0]]


def saved(folder: Path, script: str = "") -> Path:
    """model.tar.gz's content: the SavedModel of version 1, and a script."""
    net = Net()
    tf.saved_model.save(net, str(folder / "1"), signatures={"serving_default": net.one, "both": net.two})
    if script:
        (folder / "code").mkdir()
        (folder / "code" / "inference.py").write_text(script)
    return folder


def test(folder: Path) -> None:
    """Rows, columns, lines, CSV, another signature, errors, both kinds of script."""
    net = Net()  # held: its functions know it weakly
    expected = net.one(tf.constant(ROWS))["y"].numpy().tolist()
    model = loaded(saved(folder / "alone"), "tensorflow", TAG)
    assert model.libraries == {"tensorflow": tf.__version__}
    for body, content_type in (
        (json.dumps({"instances": ROWS}), "application/json"),
        (json.dumps(ROWS), "application/json"),
        (json.dumps({"instances": [{"x": row} for row in ROWS]}), "application/json"),
        ("\n".join(map(json.dumps, ROWS)), "application/jsonlines"),
        ("\n".join(",".join(map(str, row)) for row in ROWS), "text/csv"),
    ):
        assert json.loads(ask(model, body, content_type))["predictions"] == expected, content_type
    assert json.loads(ask(model, json.dumps({"inputs": {"x": ROWS}}), "application/json"))["outputs"] == expected
    two = json.loads(ask(model, json.dumps({"signature_name": "both", "instances": ROWS}), "application/json"))
    assert [row["y"] for row in two["predictions"]] == expected, two
    assert set(two["predictions"][0]) == {"y", "total"}

    model = loaded(saved(folder / "pair", HANDLERS), "tensorflow", TAG)
    assert json.loads(ask(model, json.dumps({"row": ROWS[0]}), "application/json")) == {"first": expected[0]}
    model = loaded(saved(folder / "handler", HANDLER), "tensorflow", TAG)
    assert json.loads(ask(model, json.dumps(ROWS), "application/json"))["predictions"] == expected
    model.close()


with tempfile.TemporaryDirectory() as name:
    test(Path(name))
print("done", tf.__version__, sys.version.split()[0])
