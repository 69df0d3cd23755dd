"""Script mode: which script serves, how its functions are called, what defaults do, how each image reports errors."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clary.runtimes import script_codec as codec
from clary.runtimes.base import Joins, LoadError, LoadOptions, ModelError, joins_of
from clary.runtimes.handler import Handler, Invocation, Reply, whole
from clary.runtimes.registry import runtime_named

TAGS = {
    "sklearn": "1.2-1",
    "xgboost": "1.7-1",
    "pytorch": "2.6.0",
    "huggingface": "2.6.0-transformers4.51.3",
    "tensorflow": "2.19.0",
}
LINEAR = """
    class Sum:
        def predict(self, rows):
            self.seen = rows
            return rows.sum(axis=-1)

    def model_fn(model_dir):
        return Sum()
"""


@pytest.fixture(autouse=True)
def own_modules(tmp_path: Path) -> Iterator[None]:
    """What a script imports from beside it, and the path of imports, end with its test."""
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(content))
    return folder


def load(folder: Path, files: dict[str, str], runtime: str = "sklearn", **env: str) -> Handler:
    options = LoadOptions(write(folder, files), TAGS[runtime], env)
    model = runtime_named(runtime).load(options)
    assert isinstance(model, Handler)
    assert joins_of(runtime_named(runtime), model) is Joins.NEVER
    return model


def scripted(folder: Path, script: str, runtime: str = "sklearn", **env: str) -> Handler:
    return load(folder, {"code/inference.py": script}, runtime, **env)


def ask(model: Handler, body: bytes | str, content_type: str = "text/csv", accept: str = "", **more: str) -> Reply:
    raw = body.encode() if isinstance(body, str) else body
    return model.handle(Invocation(raw, content_type, accept, **more))


def refused(model: Handler, body: bytes | str, content_type: str = "text/csv", accept: str = "") -> ModelError:
    with pytest.raises(ModelError) as error:
        whole(ask(model, body, content_type, accept).body)
    return error.value


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


# Which script


SAYS = (
    "def model_fn(model_dir): return None\ndef transform_fn(model, data, content_type, accept): return {!r}, accept\n"
)


@pytest.mark.parametrize(
    ("files", "env", "says"),
    [
        ({"code/inference.py": "code"}, {}, "code"),
        ({"code/inference.py": "code", "code/serve.py": "serve"}, {"SAGEMAKER_PROGRAM": "serve.py"}, "serve"),
        ({"code/serve.py": "serve"}, {"SAGEMAKER_PROGRAM": "serve"}, "serve"),
        ({"code/inner/serve.py": "inner"}, {"SAGEMAKER_PROGRAM": "inner/serve.py"}, "inner"),
        ({"train.py": "root"}, {"SAGEMAKER_PROGRAM": "train.py"}, "root"),
        ({"src/inference.py": "src"}, {"SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/src"}, "src"),
        ({"code/inference.py": "code"}, {"SAGEMAKER_SUBMIT_DIRECTORY": "file:///opt/ml/model/code"}, "code"),
        ({"inference.py": "root"}, {"SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model"}, "root"),
        ({"src/a.py": "a"}, {"SAGEMAKER_SUBMIT_DIRECTORY": "src", "SAGEMAKER_PROGRAM": "a.py"}, "a"),
    ],
)
def test_the_script_that_serves(tmp_path: Path, files: dict[str, str], env: dict[str, str], says: str) -> None:
    model = load(tmp_path, {name: SAYS.format(word) for name, word in files.items()}, **env)
    assert ask(model, "x").body == says.encode()


def test_a_submit_directory_on_s3_was_put_into_code(tmp_path: Path) -> None:
    env = {"SAGEMAKER_SUBMIT_DIRECTORY": "s3://b/sourcedir.tar.gz", "SAGEMAKER_PROGRAM": "entry.py"}
    assert ask(load(tmp_path, {"code/entry.py": SAYS.format("x")}, **env), "x").body == b"x"


@pytest.mark.parametrize(
    ("files", "env", "cause"),
    [
        ({"code/a.py": ""}, {}, "no script inference.py in code/; it holds a.py"),
        ({"model": ""}, {"SAGEMAKER_PROGRAM": "a.py"}, "no script a.py in the artifact; it holds no script"),
        ({"model": ""}, {"SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"}, "names no folder of the artifact"),
        ({"model": ""}, {"SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/code"}, "is no folder of the artifact"),
        ({"model": ""}, {"SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/../.."}, "names no folder of the artifact"),
        ({"code/a.py": ""}, {"SAGEMAKER_PROGRAM": "../../outside.py"}, "no script ../../outside.py"),
        ({"code/inference.py": "import nowhere.at_all"}, {}, "Importing inference.py needs the module 'nowhere'"),
        ({"code/inference.py": "def f(:"}, {}, "Importing inference.py raised SyntaxError"),
        ({"code/inference.py": "\n\n1 / 0"}, {}, r"ZeroDivisionError: division by zero \(inference.py, line 3\)"),
        ({"code/inference.py": "raise SystemExit"}, {}, "Importing inference.py raised SystemExit"),
        ({"code/inference.py": "def model_fn(d): return open(d + '/x')"}, {}, "model_fn raised FileNotFoundError"),
        ({"code/inference.py": "def model_fn(): 1"}, {}, "model_fn takes 0 arguments but 1 were given"),
        ({"code/inference.py": "def predict_fn(a, b): 1"}, {}, "The script has no model_fn, and the scikit-learn"),
        (
            {"code/inference.py": "def model_fn(d): 1\ndef transform_fn(*a): 1\ndef predict_fn(a, b): 1"},
            {},
            "Cannot use transform_fn implementation in conjunction with",
        ),
    ],
)
def test_scripts_that_cannot_serve_say_why(
    tmp_path: Path, files: dict[str, str], env: dict[str, str], cause: str
) -> None:
    (tmp_path / "outside.py").touch()
    with pytest.raises(LoadError, match=cause) as error:
        load(tmp_path / "artifact" / "model", files, **env)
    assert error.value.remedy.endswith(".")


def test_a_script_imports_what_lies_beside_it(tmp_path: Path) -> None:
    files = {
        "code/inference.py": "import beside\nimport below\n"
        + SAYS.format("x").replace("'x'", "beside.WORD + below.WORD"),
        "code/beside.py": "WORD = 'beside '",
        "code/lib/below.py": "WORD = 'below'",
    }
    assert ask(load(tmp_path, files), "x").body == b"beside below"


# Functions


def test_functions_take_a_context_where_they_want_one(tmp_path: Path) -> None:
    model = scripted(
        tmp_path,
        """
        def model_fn(model_dir, context):
            return context.system_properties["model_dir"] == model_dir

        def input_fn(data, content_type, context):
            return data, context.get_request_header(0, "x-amzn-sagemaker-custom-attributes")

        def predict_fn(data, model, context):
            return [*data, model, context.request_processor[0].get_request_properties()["Content-Type"]]

        def output_fn(prediction, accept, context):
            context.set_response_content_type(0, "text/own")
            context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", "said")
            context.set_response_status(201)
            context.metrics.add_time("x", 1)
            return repr(prediction)
        """,
        "pytorch",
    )
    reply = ask(model, "1,2", custom_attributes="mine")
    assert reply == Reply(b"['1,2', 'mine', True, 'text/csv']", "text/own", 201, "said")


def test_trace_headers_are_headers_of_the_context(tmp_path: Path) -> None:
    model = scripted(
        tmp_path,
        """
        def model_fn(folder): return None
        def input_fn(body, content_type): return body
        def predict_fn(data, model, context):
            return context.get_request_header(0, "TraceParent") + context.get_all_request_header(0)["X-Amzn-Trace-Id"]
        def output_fn(prediction, accept): return prediction
        """,
        "pytorch",
    )
    invocation = Invocation(b"1", "text/csv", trace=(("traceparent", "00-1-2-01"), ("X-Amzn-Trace-Id", "Root=1")))
    assert whole(model.handle(invocation).body) == b"00-1-2-01Root=1"


def test_hooks_run_around_model_fn(tmp_path: Path) -> None:
    model = scripted(
        tmp_path,
        """
        calls = []
        def pre_model_fn(model_dir): calls.append("pre")
        def model_fn(model_dir): calls.append("model"); return calls
        def model_warmup_fn(model_dir, model): model.append("warm")
        def transform_fn(model, data, content_type, accept): return " ".join(model)
        """,
        "pytorch",
    )
    assert ask(model, "").body == b"pre model warm"


ECHO = """
    def model_fn(model_dir): return None
    def input_fn(data, content_type): return [type(data).__name__, content_type]
    def predict_fn(data, model): return data
    def output_fn(prediction, accept): return repr([*prediction, accept]), "text/plain"
"""


@pytest.mark.parametrize("runtime", ["sklearn", "pytorch", "huggingface"])
def test_bodies_are_text_for_json_and_csv_exactly(tmp_path: Path, runtime: str) -> None:
    model = scripted(tmp_path, ECHO, runtime)
    for content_type, kind in (
        ("text/csv", "str"),
        ("application/json", "str"),
        ("text/csv; charset=utf-8", "bytes"),
        ("image/png", "bytes"),
    ):
        assert ask(model, "x", content_type, "a/b").body == repr([kind, content_type, "a/b"]).encode()
    untyped = {"sklearn": ["str", "application/json", "application/json"]}
    assert ask(model, "x", "", "*/*").body == repr(untyped.get(runtime, ["bytes", None, "application/json"])).encode()


def test_the_default_accept_is_the_environments_but_for_hugging_face(tmp_path: Path) -> None:
    env = {"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv"}
    for runtime, accept in (("sklearn", "text/csv"), ("pytorch", "text/csv"), ("huggingface", "application/json")):
        assert repr(accept).encode() in ask(scripted(tmp_path, ECHO, runtime, **env), "x").body


@pytest.mark.parametrize("runtime", ["sklearn", "pytorch", "huggingface"])
def test_results_of_every_form(tmp_path: Path, runtime: str) -> None:
    model = scripted(
        tmp_path,
        """
        from sagemaker_containers.beta.framework import worker
        RESULTS = {
            "text": "é", "bytes": b"raw", "array": bytearray(b"raw"), "dict": {"a": 1},
            "tuple": (b"raw", "a/b"),
            "response": worker.Response("made", mimetype="text/x", status=202, headers={"a": "b"}),
        }
        def model_fn(model_dir): return None
        def transform_fn(model, data, content_type, accept): return RESULTS[data]
        """,
        runtime,
    )
    html = "text/html; charset=utf-8" if runtime == "sklearn" else "application/json"
    assert ask(model, "text") == Reply("é".encode(), html)
    assert ask(model, "bytes") == ask(model, "array") == Reply(b"raw", html)
    assert json.loads(whole(ask(model, "dict").body)) == {"a": 1}
    assert ask(model, "dict").content_type == "application/json"
    assert ask(model, "tuple") == Reply(b"raw", "a/b")
    assert ask(model, "response") == Reply(b"made", "text/x; charset=utf-8", 202)


def test_what_public_scripts_import_is_there(tmp_path: Path) -> None:
    """The imports and the answer of the featurizer in AWS's own inference pipeline sample."""
    model = scripted(
        tmp_path,
        """
        from sagemaker_containers.beta.framework import (
            content_types, encoders, env, modules, transformer, worker)
        from sagemaker_inference import content_types as others, decoder, encoder, errors

        def model_fn(model_dir): return None

        def input_fn(input_data, content_type):
            assert content_type == content_types.CSV == others.CSV
            return encoders.decode(input_data, content_type)

        def predict_fn(input_data, model): return input_data

        def output_fn(prediction, accept):
            if accept == "application/json":
                body = encoders.encode({"instances": prediction.tolist()}, accept)
                return worker.Response(body, accept, mimetype=accept)
            return worker.Response(encoders.encode(prediction, accept), accept, mimetype=accept)
        """,
    )
    assert ask(model, "1,2\n3,4") == Reply(b'{"instances": [[1.0, 2.0], [3.0, 4.0]]}', "application/json")
    assert ask(model, "1,2\n3,4", accept="text/csv") == Reply(b"1.0,2.0\n3.0,4.0\n", "text/csv; charset=utf-8")


# Streams


@pytest.mark.parametrize("where", ["transform_fn", "predict_fn", "output_fn", "returned", "mapped"])
def test_functions_that_yield_are_streams(tmp_path: Path, where: str) -> None:
    functions = {
        "transform_fn": "def transform_fn(m, data, c, a):\n    yield from ('a', b'b')\n",
        "predict_fn": "def input_fn(d, c): return d\ndef predict_fn(data, model):\n    yield from ('a', b'b')\n",
        "output_fn": "def input_fn(d, c): return d\ndef predict_fn(data, model): return ['a', b'b']\n"
        "def output_fn(p, a):\n    yield from p\n",
        "returned": "def transform_fn(m, d, c, a): return iter(['a', b'b']), 'text/event-stream'\n",
        "mapped": "def input_fn(d, c): return d\ndef predict_fn(data, model): return map(str.lower, 'AB')\n",
    }
    model = scripted(tmp_path, "def model_fn(model_dir): return None\n" + functions[where], "pytorch")
    reply = ask(model, "x")
    assert not isinstance(reply.body, bytes)
    assert list(reply.body) == [b"a", b"b"]
    assert reply.content_type == ("text/event-stream" if where == "returned" else "application/json")


def test_parts_that_are_values_are_lines_of_json(tmp_path: Path) -> None:
    functions = ("model_fn(d): return None", "input_fn(d, c): return d", "predict_fn(d, m): return iter([{'a': 1}, 2])")
    script = "\n".join(f"def {function}" for function in functions)
    assert list(ask(scripted(tmp_path, script), "x").body) == [b'{"a": 1}\n', b"2\n"]


def test_a_stream_that_breaks_says_why_and_one_that_is_left_is_closed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = scripted(
        tmp_path,
        """
        def model_fn(model_dir): return []
        def transform_fn(model, data, content_type, accept):
            try:
                yield "one"
                raise ValueError("broken")
            finally:
                print("closed")
        """,
    )
    parts = ask(model, "x").body
    assert isinstance(parts, Iterator)
    assert next(parts) == b"one"
    with pytest.raises(ModelError, match="ValueError: broken"):
        next(parts)
    assert "ValueError: broken" in capfd.readouterr().err
    left: Any = ask(model, "x").body
    next(left)
    left.close()
    assert capfd.readouterr().out == "closed\n"


# scikit-learn


def test_scikit_learns_defaults(tmp_path: Path) -> None:
    model = scripted(tmp_path, LINEAR)
    assert ask(model, "1,2\n3,4") == Reply(b"[3.0, 7.0]", "application/json")
    assert ask(model, "[[1, 2], [3, 4]]", "") == Reply(b"[3.0, 7.0]", "application/json")
    assert ask(model, npy(np.array([[1, 2]])), codec.NPY) == Reply(b"[3]", "application/json")
    assert ask(model, "1,2\n3,4", accept="text/csv") == Reply(b"3.0\n7.0\n", "text/csv; charset=utf-8")
    assert np.load(io.BytesIO(whole(ask(model, "1,2", accept=codec.NPY).body))) == 3


def test_one_row_of_csv_has_one_dimension_and_texts_are_float32(tmp_path: Path) -> None:
    script = LINEAR.replace("rows.sum(axis=-1)", "[str(rows.dtype), rows.ndim]")
    model = scripted(tmp_path, script)
    assert ask(model, "1,2").body == b'["float32", 1]'
    assert ask(model, "1,2\n3,4").body == b'["float32", 2]'
    assert ask(model, "[[1, 2]]", codec.JSON).body == b'["float32", 2]'
    assert ask(model, npy(np.array([[1, 2]])), codec.NPY).body == b'["int64", 2]'


def test_scikit_learns_errors(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = scripted(tmp_path, LINEAR)
    error = refused(model, "x", "image/png")
    assert error.status == 415
    facts = json.loads(error.message)
    assert facts["error"] == "UnsupportedFormatError"
    assert facts["error-message"].startswith("Content type image/png is not supported by this framework.")
    assert "Traceback" in facts["stack-trace"]
    assert refused(model, "1,2", accept="image/png").status == 406
    assert refused(model, "1,2", "text/csv; charset=utf-8").status == 415
    for body, content_type in (("a,b", "text/csv"), ("{", "application/json"), ("1\n1,2", "text/csv")):
        error = refused(model, body, content_type)
        assert (error.status, "<title>500 Internal Server Error</title>" in error.message) == (500, True)
    assert "could not convert string to float" in capfd.readouterr().err


def test_an_npy_body_is_never_unpickled(tmp_path: Path) -> None:
    out = io.BytesIO()
    np.save(out, np.array([print], dtype=object), allow_pickle=True)
    assert refused(scripted(tmp_path, LINEAR), out.getvalue(), codec.NPY).status == 500


def test_a_result_that_flask_cannot_send_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    script = "def model_fn(d): return None\ndef transform_fn(m, d, c, a): return 3"
    assert refused(scripted(tmp_path, script), "x").status == 500
    assert "give text, bytes or (answer, content type)" in capfd.readouterr().err


# PyTorch


def test_pytorchs_errors_have_text_and_traceback(tmp_path: Path) -> None:
    model = scripted(
        tmp_path,
        """
        from sagemaker_inference.errors import GenericInferenceToolkitError
        def model_fn(model_dir): return None
        def transform_fn(model, data, content_type, accept):
            if data == "own":
                raise GenericInferenceToolkitError(422, "not these numbers")
            if data == "exit":
                raise SystemExit(3)
            raise KeyError("column")
        """,
        "pytorch",
    )
    error = refused(model, "x")
    assert error.status == 500
    assert error.message.startswith("'column'\nTraceback (most recent call last):\n")
    error = refused(model, "own")
    assert (error.status, error.message.splitlines()[0]) == (422, "not these numbers")
    assert refused(model, "exit").status == 500


def test_an_unsupported_type_is_500_for_pytorch(tmp_path: Path) -> None:
    script = """
        from sagemaker_inference import decoder, encoder
        def model_fn(model_dir): return None
        def input_fn(data, content_type): return decoder.decode(data, content_type)
        def predict_fn(data, model): return data
        """
    model = scripted(tmp_path, script, "pytorch")
    assert ask(model, "1,2\n3,4", accept="text/csv").body == b"1.0,2.0\n3.0,4.0\n"
    assert ask(model, "1,2", accept="image/png, text/csv").body == b"1.0\n2.0\n"
    assert ask(model, npy(np.array([[1, 2]])), codec.NPY).body == b"[[1, 2]]"
    assert refused(model, "x", "image/png").status == 500
    assert refused(model, "1,2", accept="image/png").status == 500


@pytest.mark.parametrize(
    ("runtime", "files", "cause"),
    [
        ("pytorch", {"model.pth": ""}, "Loading the model as the PyTorch image does needs the module 'torch'"),
        ("pytorch", {"code/inference.py": "def model_fn(d): return 1"}, "needs the module 'torch'"),
        ("huggingface", {"config.json": "{}"}, "needs the module 'transformers'"),
        ("tensorflow", {"1/saved_model.pb": ""}, "Loading the SavedModel needs the module 'tensorflow'"),
    ],
)
def test_a_library_that_is_missing_is_told_before_the_first_request(
    tmp_path: Path, runtime: str, files: dict[str, str], cause: str
) -> None:
    module = cause.rpartition("'")[0].rpartition("'")[2]
    if module in sys.modules or importlib.util.find_spec(module):
        pytest.skip(f"{module} is installed")
    with pytest.raises(LoadError, match=cause) as error:
        load(tmp_path, files, runtime)
    assert error.value.remedy.startswith(f"Add {module} to requirements.txt")


# Hugging Face


def pipeline(tmp_path: Path, **env: str) -> Handler:
    return scripted(
        tmp_path,
        """
        def pipe(inputs, **parameters):
            if inputs == "fail":
                raise ValueError("no \\"such\\" input")
            return [{"inputs": inputs, "parameters": parameters}]

        def model_fn(model_dir): return pipe
        """,
        "huggingface",
        **env,
    )


def test_hugging_faces_defaults(tmp_path: Path) -> None:
    model = pipeline(tmp_path)
    reply = ask(model, '{"inputs": "é", "parameters": {"k": 1}}', codec.JSON)
    assert reply == Reply('[{"inputs":"é","parameters":{"k":1}}]'.encode(), "application/json")
    assert json.loads(whole(ask(model, "inputs,x\na,1\nb,2").body))[0]["inputs"] == ["a", "b"]
    assert json.loads(whole(ask(model, "question,context\nq,c").body))[0]["inputs"] == [
        {"question": "q", "context": "c"}
    ]
    assert ask(model, '{"inputs": 1}', codec.JSON, "text/csv").body == b"inputs,parameters\r\n1,{}\r\n"


@pytest.mark.parametrize(
    ("body", "content_type", "accept", "says"),
    [
        ('{"inputs": "fail"}', codec.JSON, "", 'no "such" input'),
        ("{", codec.JSON, "", "Expecting property name"),
        ("a,b\n1,2", codec.CSV, "", "You need to provide the correct CSV with Header columns"),
        ("x", "x/y", "", "Content type x/y is not supported"),
        ("x", "", "", "Content type None is not supported"),
        ('{"inputs": 1}', codec.JSON, "x/y", "Content type x/y is not supported"),
    ],
)
def test_every_error_of_hugging_face_is_400_in_its_servers_json(
    tmp_path: Path, body: str, content_type: str, accept: str, says: str
) -> None:
    error = refused(pipeline(tmp_path), body, content_type, accept)
    assert error.status == 400
    facts = json.loads(error.message)
    assert (facts["code"], facts["type"]) == (400, "InternalServerException")
    assert says in facts["message"]


def test_a_model_on_the_hub_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="HF_MODEL_ID='x/y' names a model on the Hub"):
        load(tmp_path, {"config.json": "{}"}, "huggingface", HF_MODEL_ID="x/y")


def test_tables_cannot_be_asked_by_csv(tmp_path: Path) -> None:
    error = refused(pipeline(tmp_path, HF_TASK="table-question-answering"), "inputs\n1")
    assert "use different content_type" in error.message


# XGBoost


def test_xgboosts_script_mode(tmp_path: Path) -> None:
    files = {
        "code/serve.py": """
            import xgboost

            class Sum:
                def predict(self, matrix, validate_features):
                    return matrix.get_data().toarray().sum(axis=1)

            def model_fn(model_dir):
                return Sum()
            """
    }
    model = load(tmp_path, files, "xgboost", SAGEMAKER_PROGRAM="serve.py")
    assert ask(model, "1,2\n3,4").body == b"[3.0, 7.0]"
    assert ask(model, "0:1 2:2", "text/libsvm").body == b"[3.0]"
    assert ask(model, "1,2", "text/csv; label_size=0", "text/csv") == Reply(b"3.0\n", "text/csv; charset=utf-8")
    assert refused(model, "[1]", "application/json").status == 415
    assert "xgboost" in model.libraries
    with pytest.raises(LoadError, match="The script has no model_fn, and the XGBoost image"):
        load(tmp_path / "none", {"code/a.py": ""}, "xgboost", SAGEMAKER_PROGRAM="a.py")
