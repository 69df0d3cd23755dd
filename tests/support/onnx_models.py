"""Small ONNX graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

IR = 8
OPSET = 13


def model(
    nodes: Sequence[Any],
    inputs: dict[str, tuple[int, Sequence[Any]]],
    outputs: dict[str, tuple[int, Sequence[Any]]],
    constants: dict[str, Any] | None = None,
) -> ModelProto:
    """A graph of `nodes`; inputs and outputs by name as (type, shape)."""
    graph = helper.make_graph(
        list(nodes),
        "tests",
        [helper.make_tensor_value_info(name, *one) for name, one in inputs.items()],
        [helper.make_tensor_value_info(name, *one) for name, one in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
        producer_name="tests",
        producer_version="7",
    )


def regressor(weights: Any, inputs: int = 1, batch: Any = "n") -> ModelProto:
    """`x @ weights`, one value a row; of one input of rows, or of one column an input."""
    width = len(weights)
    constants = {"w": np.asarray(weights, np.float32).reshape(width, 1), "flat": np.array([-1], np.int64)}
    last = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Reshape", ["m", "flat"], ["y"])]
    answer = {"y": (TensorProto.FLOAT, ["n"])}
    if inputs == 1:
        return model(last, {"x": (TensorProto.FLOAT, [batch, width])}, answer, constants)
    assert inputs == width
    names = [f"c{at}" for at in range(width)]
    nodes = [helper.make_node("Concat", names, ["x"], axis=1), *last]
    return model(nodes, {name: (TensorProto.FLOAT, [batch, 1]) for name in names}, answer, constants)
