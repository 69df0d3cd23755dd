"""Formats of ONNX graphs: what follows from a graph's inputs and outputs."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from clary.runtimes.base import LoadError, LoadOptions, Model, ModelError
from clary.runtimes.onnx import RUNTIME
from tests.support.onnx_models import model, regressor


def loaded(folder: Path, graph: ModelProto, **env: str) -> Model:
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    return RUNTIME.load(LoadOptions(folder, "1", env))


def ask(it: Model, body: bytes, content_type: str, accept: str = "") -> bytes:
    accepted = it.check_accept(accept)
    (result,) = it.predict([it.decode(memoryview(body), content_type)])
    return it.encode(result, accepted)[0]


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


TWO_TYPES = model(
    [
        helper.make_node("Cast", ["age"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Identity", ["city"], ["where"]),
    ],
    {"age": (TensorProto.INT64, ["n", 1]), "city": (TensorProto.STRING, ["n", 1])},
    {"number": (TensorProto.FLOAT, ["n", 1]), "where": (TensorProto.STRING, ["n", 1])},
)


def test_rows_come_as_csv_json_or_npy(tmp_path: Path) -> None:
    it = loaded(tmp_path, regressor([1.0, 2.0]))
    rows = [[1.0, 2.0], [3.0, 4.0]]
    bodies = {
        "text/csv": b"1,2\n3,4\n",
        "application/json": json.dumps(rows).encode(),
        "application/x-npy": npy(np.array(rows)),
    }
    for content_type, body in bodies.items():
        assert json.loads(ask(it, body, content_type)) == [5.0, 11.0]
    assert json.loads(ask(it, json.dumps({"instances": rows}).encode(), "")) == [5.0, 11.0]
    assert json.loads(ask(it, json.dumps({"inputs": {"x": rows}}).encode(), "")) == [5.0, 11.0]
    assert json.loads(ask(it, json.dumps({"x": rows}).encode(), "")) == [5.0, 11.0]
    assert json.loads(ask(it, b"[1, 2]", "")) == [5.0]
    assert ask(it, b"1,2\n", "text/csv", "text/csv") == b"5.0\n"
    assert np.load(io.BytesIO(ask(it, b"1,2", "text/csv", "application/x-npy"))).tolist() == [5.0]


def test_columns_of_several_types_go_to_their_inputs(tmp_path: Path) -> None:
    it = loaded(tmp_path, TWO_TYPES)
    assert it.signature.names == ("age", "city")
    wanted = {"number": [[34.0], [5.0]], "where": [["Oslo"], ["Bern, CH"]]}
    assert json.loads(ask(it, b'34,Oslo\n5,"Bern, CH"\n', "text/csv")) == wanted
    records = [{"age": 34, "city": "Oslo"}, {"age": 5, "city": "Bern, CH"}]
    assert json.loads(ask(it, json.dumps(records).encode(), "")) == wanted
    named = {"inputs": {"age": [34, 5], "city": ["Oslo", "Bern, CH"]}}
    assert json.loads(ask(it, json.dumps(named).encode(), "")) == wanted
    assert ask(it, b"34,Oslo", "text/csv", "text/csv") == b"34.0\n"


def test_outputs_can_be_chosen(tmp_path: Path) -> None:
    it = loaded(tmp_path, TWO_TYPES, CLARY_ONNX_OUTPUTS="where")
    assert json.loads(ask(it, b"34,Oslo", "text/csv")) == [["Oslo"]]
    assert ask(it, b'34,"a,b"', "text/csv", "text/csv") == b'"a,b"\n'
    with pytest.raises(LoadError, match="'other', which is no output"):
        loaded(tmp_path, TWO_TYPES, CLARY_ONNX_OUTPUTS="other")


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        (b"3.5,Oslo", "text/csv", "int64; a value of the body does not fit"),
        (b"x,Oslo", "text/csv", "could not convert"),
        (b"1", "text/csv", "1 columns where the model has 2: age, city"),
        (b'{"age": [1]}', "", "the inputs age, city; given are age"),
        (b'{"age": [1, 2], "city": ["a"]}', "", r"\[1, 2\] rows"),
        (b'[{"age": 1}]', "", "city"),
        (b"[]", "", "rows"),
        (b"[[[1]]]", "", "columns|shape|expected"),
        (b'{"age": [[1, 2]], "city": [["a"]]}', "", r"age has the shape \?x1; the body has 1x2"),
        (b"{", "", "Expecting property name"),
    ],
)
def test_what_does_not_fit_is_named(body: bytes, content_type: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=said) as refused:
        ask(loaded(tmp_path, TWO_TYPES), body, content_type)
    assert refused.value.status == 400


def test_a_graph_of_one_row_is_run_row_by_row(tmp_path: Path) -> None:
    it = loaded(tmp_path, regressor([1.0, 2.0], batch=1))
    assert json.loads(ask(it, b"1,2\n3,4\n5,6", "text/csv")) == [5.0, 11.0, 17.0]


def test_a_graph_of_a_fixed_batch_takes_no_other(tmp_path: Path) -> None:
    it = loaded(tmp_path, regressor([1.0, 2.0], batch=2))
    assert json.loads(ask(it, b"1,2\n3,4", "text/csv")) == [5.0, 11.0]
    with pytest.raises(ModelError, match="exactly 2 rows at once; the body has 3"):
        ask(it, b"1,2\n3,4\n5,6", "text/csv")


def test_images_come_as_arrays(tmp_path: Path) -> None:
    graph = model(
        [helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=0)],
        {"image": (TensorProto.FLOAT, ["n", 3, 2, 2])},
        {"mean": (TensorProto.FLOAT, ["n"])},
    )
    it = loaded(tmp_path, graph)
    assert it.signature.width is None
    assert json.loads(ask(it, npy(np.ones((2, 3, 2, 2), np.uint8)), "application/x-npy")) == [1.0, 1.0]
    with pytest.raises(ModelError, match="no rows of numbers"):
        ask(it, b"1,2", "text/csv")
    with pytest.raises(ModelError, match=r"the shape \?x3x2x2; the body has 2x3"):
        ask(it, npy(np.ones((2, 3))), "application/x-npy")
    probe = it.probe()
    assert probe is not None
    assert ask(it, *probe) == b"[0.0]"


def test_no_number_is_null_in_json(tmp_path: Path) -> None:
    graph = model(
        [helper.make_node("Div", ["x", "x"], ["y"])],
        {"x": (TensorProto.FLOAT, ["n", 2])},
        {"y": (TensorProto.FLOAT, ["n", 2])},
    )
    assert json.loads(ask(loaded(tmp_path, graph), b"0,2", "text/csv")) == [[None, 1.0]]


def test_a_classifiers_maps_are_answered_as_json(tmp_path: Path) -> None:
    nodes = [helper.make_node("ZipMap", ["p"], ["scores"], domain="ai.onnx.ml", classlabels_int64s=[3, 7])]
    shape = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    )
    graph = helper.make_graph(
        nodes,
        "zip",
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", 2])],
        [helper.make_value_info("scores", shape)],
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("ai.onnx.ml", 1)]
    it = loaded(tmp_path, helper.make_model(graph, opset_imports=opsets, ir_version=8))
    assert json.loads(ask(it, b"0.25,0.75", "text/csv")) == {"scores": [{"3": 0.25, "7": 0.75}]}
    with pytest.raises(ModelError, match="scores is no array of rows"):
        ask(it, b"0.25,0.75", "text/csv", "text/csv")


def test_two_graphs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(b"x")
    with pytest.raises(LoadError, match=r"The artifact holds model.onnx, other.onnx"):
        loaded(tmp_path, regressor([1.0]))


def test_files_that_say_what_to_install_are_no_models(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "requirements.txt").write_text("x")
    (tmp_path / "requirements.txt").write_text("x")
    assert loaded(tmp_path, regressor([1.0])).signature.width == 1
