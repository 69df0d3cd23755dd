"""MLflow's scoring protocol, against MLflow's own scoring server where both answer."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clary.runtimes.base import LoadError, LoadOptions, Model, ModelError
from clary.runtimes.pyfunc import RUNTIME
from tests.support import mlflow_models
from tests.support.mlflow_models import ModelSignature, PythonModel, types

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

COLUMNS = {"age": "long", "income": "double", "region": "string"}


class Sum(PythonModel):
    def predict(self, context, model_input, params=None):
        kinds = [str(kind) for kind in model_input.dtypes]
        return pd.DataFrame({"total": model_input["age"] + model_input["income"], "kinds": " ".join(kinds)})


class Shout(PythonModel):
    def predict(self, context, model_input, params=None):
        if params and params["fail"]:
            raise KeyError("asked to fail")
        return np.asarray(model_input) * (params or {}).get("factor", 1)


def loaded(folder: Path, model: Any, signature: ModelSignature | None = None, **more: Any) -> Model:
    mlflow_models.save_python(folder / "model", model, signature, **more)
    return RUNTIME.load(LoadOptions(folder / "model", "1"))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return loaded(tmp_path_factory.mktemp("table"), Sum(), mlflow_models.signature(COLUMNS))


@pytest.fixture(scope="module")
def tensor(tmp_path_factory: pytest.TempPathFactory) -> Model:
    params = types.schema.ParamSchema(
        [types.ParamSpec("factor", types.DataType.long, 1), types.ParamSpec("fail", types.DataType.boolean, False)]
    )
    schema = types.Schema([types.TensorSpec(np.dtype("float64"), (-1, 2))])
    return loaded(tmp_path_factory.mktemp("tensor"), Shout(), ModelSignature(inputs=schema, params=params))


def ask(it: Model, document: Any, content_type: str = "application/json") -> Any:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    (result,) = it.predict([it.decode(memoryview(body), content_type)])
    return json.loads(it.encode(result, it.check_accept(""))[0])


def refused(it: Model, document: Any, content_type: str = "application/json") -> tuple[int, dict[str, str]]:
    with pytest.raises(ModelError) as error:
        ask(it, document, content_type)
    return error.value.status, json.loads(error.value.message)


WANTED = {"predictions": [{"total": 44.5, "kinds": "int64 float64 str"}]}


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["age", "income", "region"], "index": [0], "data": [[34, 10.5, "n"]]}},
        {"dataframe_split": {"columns": ["region", "age", "extra", "income"], "data": [["n", 34, 1, 10.5]]}},
        {"dataframe_records": [{"age": 34, "income": 10.5, "region": "n"}]},
        {"inputs": {"age": [34], "income": [10.5], "region": ["n"]}},
        {"instances": [{"age": 34, "income": 10.5, "region": "n"}]},
    ],
)
def test_every_form_is_the_same_frame(table: Model, body: Any) -> None:
    found = ask(table, body)["predictions"]
    assert [row["total"] for row in found] == [44.5]
    assert found[0]["kinds"].startswith("int64 float64 ")


def test_csv_has_a_header(table: Model) -> None:
    assert ask(table, b"age,income,region\n34,10.5,n\n1,2,m\n", "text/csv")["predictions"][1]["total"] == 3.0
    assert ask(table, b"age,income,region\n34,10.5,n\n", "text/csv; charset=UTF-8")["predictions"][0]["total"] == 44.5


def test_the_signature_is_enforced(table: Model) -> None:
    status, said = refused(table, {"dataframe_records": [{"age": 34, "region": "n"}]})
    assert status == 400
    assert "Failed to enforce schema" in said["message"]
    assert "income" in said["message"]
    status, said = refused(table, {"dataframe_records": [{"age": "x", "income": 1.0, "region": "n"}]})
    assert (status, said["error_code"]) == (400, "BAD_REQUEST")
    assert "age" in said["message"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ([[1]], "BAD_REQUEST"),
        ({}, "BAD_REQUEST"),
        ({"instances": [1], "inputs": [1]}, "BAD_REQUEST"),
        ({"signature_name": "x", "instances": [1]}, "BAD_REQUEST"),
        (b"{", "INVALID_PARAMETER_VALUE"),
        ({"dataframe_split": [1]}, "BAD_REQUEST"),
        ({"dataframe_records": {"age": 1}}, "BAD_REQUEST"),
    ],
)
def test_other_bodies_are_refused_by_the_protocol(table: Model, body: Any, code: str) -> None:
    status, said = refused(table, body)
    assert (status, said["error_code"]) == (400, code)
    assert said["message"]


@pytest.mark.parametrize("content_type", ["", "text/plain", "text/csv; charset=latin-1", "application/json; version=2"])
def test_other_content_types_are_415(table: Model, content_type: str) -> None:
    with pytest.raises(ModelError) as error:
        table.decode(memoryview(b"{}"), content_type)
    assert error.value.status == 415


def test_params_reach_the_model_and_are_checked(tensor: Model) -> None:
    body = {"inputs": [[1.0, 2.0]]}
    assert ask(tensor, body) == {"predictions": [[1.0, 2.0]]}
    assert ask(tensor, {**body, "params": {"factor": 3}}) == {"predictions": [[3.0, 6.0]]}
    status, said = refused(tensor, {**body, "params": {"factor": "many"}})
    assert status == 400
    assert "factor" in said["message"]


def test_what_the_model_raises_is_400_with_its_stack(tensor: Model) -> None:
    status, said = refused(tensor, {"instances": [[1.0, 2.0]], "params": {"fail": True}})
    assert (status, said["error_code"]) == (400, "BAD_REQUEST")
    assert "asked to fail" in said["stack_trace"]


def test_a_tensors_shape_is_enforced(tensor: Model) -> None:
    status, said = refused(tensor, {"instances": [[1.0, 2.0, 3.0]]})
    assert status == 400
    assert "shape" in said["message"].lower()
    assert tensor.signature.width == 2


def test_an_llms_own_form_is_neither_parsed_nor_wrapped(tmp_path: Path) -> None:
    class Echo(PythonModel):
        def predict(self, context, model_input, params=None):
            return {"got": sorted(model_input)}

    it = loaded(tmp_path, Echo())
    assert ask(it, {"messages": [{"role": "user"}], "temperature": 0}) == {"got": ["messages", "temperature"]}


def test_the_saved_example_is_the_probe(tmp_path: Path) -> None:
    example = pd.DataFrame({"age": [3], "income": [4.0], "region": ["n"]})
    it = loaded(tmp_path, Sum(), mlflow_models.signature(COLUMNS), input_example=example)
    probe = it.probe()
    assert probe is not None
    assert ask(it, *probe)["predictions"][0]["total"] == 7.0


def test_texts_have_no_probe(table: Model) -> None:
    assert table.probe() is None


def test_code_of_the_folder_is_importable(tmp_path: Path) -> None:
    (tmp_path / "helper_of_test.py").write_text("def f():\n    return 41\n")

    class Calls(PythonModel):
        def predict(self, context, model_input, params=None):
            import helper_of_test

            return [helper_of_test.f() + 1]

    it = loaded(tmp_path, Calls(), code_paths=[str(tmp_path / "helper_of_test.py")])
    (tmp_path / "helper_of_test.py").unlink()
    assert ask(it, {"inputs": [1]}) == {"predictions": [42]}


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    mlflow_models.save_python(tmp_path / "model", Shout())
    told = tmp_path / "model" / "MLmodel"
    told.write_text(told.read_text().replace("mlflow.pyfunc.model", "no_such_library"))
    with pytest.raises(LoadError, match="'no_such_library', which is not installed") as error:
        RUNTIME.load(LoadOptions(tmp_path, "1"))
    assert "requirements.txt" in error.value.remedy


def test_a_folder_without_an_mlmodel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"x")
    with pytest.raises(LoadError, match=r"holds model\.pkl; the folder of one MLflow model"):
        RUNTIME.load(LoadOptions(tmp_path, "1"))


def test_names_are_the_columns(table: Model) -> None:
    assert (table.signature.width, table.signature.names) == (3, ("age", "income", "region"))
