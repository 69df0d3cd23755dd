"""The TensorFlow image's contract: handlers, bodies and errors. TensorFlow itself is not needed for any of it."""

from __future__ import annotations

import json
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clary.runtimes.base import LoadError, LoadOptions, ModelError
from clary.runtimes.handler import Invocation, Reply
from clary.runtimes.tensorflow import RUNTIME, TensorflowModel, to_serving
from clary.runtimes.tensorflow_saved import RestServer, _binary, _columns, _jsonable, newest_version


@pytest.fixture(autouse=True)
def own_modules() -> Iterator[None]:
    path = list(sys.path)
    yield
    sys.path[:] = path
    sys.modules.pop("inference", None)


class Doubles:
    """Stands where a SavedModel does: answers twice each instance."""

    def predict(self, body: bytes) -> tuple[int, bytes]:
        instances = json.loads(body)["instances"]
        if instances == ["bad"]:
            return 400, b'{"error": "bad instance"}'
        return 200, json.dumps({"predictions": [one * 2 for one in instances]}, indent=4).encode()


def load(folder: Path, script: str) -> TensorflowModel:
    (folder / "code").mkdir()
    (folder / "code" / "inference.py").write_text(textwrap.dedent(script))
    model = RUNTIME.load(LoadOptions(folder, "2.19.0"))
    assert isinstance(model, TensorflowModel)
    return model


def ask(
    model: TensorflowModel, body: str, content_type: str = "application/json", accept: str = "", **more: str
) -> Reply:
    return model.handle(Invocation(body.encode(), content_type, accept, **more))


def test_a_handler_needs_no_tensorflow(tmp_path: Path) -> None:
    model = load(
        tmp_path,
        """
        import json
        def handler(data, context):
            if context.request_content_type == "bad/type":
                raise ValueError("not this type")
            facts = [data.read().decode(), context.accept_header, context.content_length, context.custom_attributes,
                     context.model_name, context.model_version, context.method]
            return json.dumps(facts), "text/own"
        """,
    )
    reply = ask(model, "body", custom_attributes="a=1,tfs-model-name=m,tfs-model-version=2,tfs-method=predict")
    assert reply.content_type == "text/own"
    assert isinstance(reply.body, bytes)
    assert json.loads(reply.body) == [
        "body",
        "application/json",
        4,
        "a=1,tfs-model-name=m,tfs-model-version=2,tfs-method=predict",
        "m",
        "2",
        "predict",
    ]
    with pytest.raises(ModelError) as refused:
        ask(model, "body", "bad/type")
    assert (refused.value.status, json.loads(refused.value.message)) == (500, {"error": "not this type"})


def test_a_handler_may_stream(tmp_path: Path) -> None:
    model = load(tmp_path, "def handler(data, context): return (word for word in ('a', b'b', {'c': 1})), 'text/own'")
    reply = ask(model, "x")
    assert not isinstance(reply.body, bytes)
    assert list(reply.body) == [b"a", b"b", b'{"c": 1}\n']


def test_input_and_output_handlers_stand_around_the_model() -> None:
    def into(data: Any, context: Any) -> str:
        assert context.request_content_type == "text/own"
        return json.dumps({"instances": [int(cell) for cell in data.read().split()]})

    def out(response: Any, context: Any) -> tuple[bytes, str]:
        response.raise_for_status()
        assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
        assert response.json() == json.loads(response.text)
        return response.content, context.accept_header

    model = TensorflowModel(Doubles(), None, (into, out), {})
    reply = ask(model, "1 2", "text/own", "a/b")
    assert json.loads(bytes(reply.body)) == {"predictions": [2, 4]}
    assert reply.content_type == "a/b"


def test_an_output_handler_sees_the_models_error() -> None:
    def out(response: Any, context: Any) -> tuple[bytes, str]:
        raise ValueError(response.content.decode())

    model = TensorflowModel(Doubles(), None, (lambda data, context: data.read(), out), {})
    with pytest.raises(ModelError) as refused:
        ask(model, '{"instances": ["bad"]}')
    assert "bad instance" in json.loads(refused.value.message)["error"]


def test_a_handler_may_post_to_the_models_rest_uri() -> None:
    def handler(data: Any, context: Any) -> tuple[bytes, str]:
        with urllib.request.urlopen(context.rest_uri, data=data.read()) as answer:
            return answer.read(), context.accept_header

    model = TensorflowModel(Doubles(), handler, None, {})
    try:
        assert json.loads(bytes(ask(model, '{"instances": [3]}').body)) == {"predictions": [6]}
    finally:
        model.close()


def test_without_a_script_the_models_answer_is_passed_through() -> None:
    model = TensorflowModel(Doubles(), None, None, {})
    assert ask(model, "[1, 2]").content_type == "application/json"
    assert json.loads(bytes(ask(model, "1\n2", "application/jsonlines").body)) == {"predictions": [2, 4]}
    assert bytes(ask(model, "[1]", accept="application/jsonlines").body).count(b"\n") == 0
    with pytest.raises(ModelError) as refused:
        ask(model, '["bad"]')
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("body", "content_type", "made"),
    [
        ('{"instances": [1]}', "application/json", {"instances": [1]}),
        ('{"inputs": {"x": 1}}', "", {"inputs": {"x": 1}}),
        ("[[1, 2]]", "application/json", {"instances": [[1, 2]]}),
        ("[1]\n\n[2]\n", "application/jsonlines", {"instances": [[1], [2]]}),
        ("[1]\n[2]", "application/jsons", {"instances": [[1], [2]]}),
        ('1,"a,b"\n2,c', "text/csv", {"instances": [[1.0, "a,b"], [2.0, "c"]]}),
    ],
)
def test_bodies_become_tensorflow_servings_json(body: str, content_type: str, made: Any) -> None:
    assert json.loads(to_serving(body.encode(), content_type)) == made


@pytest.mark.parametrize(("body", "content_type", "status"), [("x", "image/png", 415), ("{", "application/json", 400)])
def test_bodies_that_cannot(body: str, content_type: str, status: int) -> None:
    with pytest.raises(ModelError) as refused:
        to_serving(body.encode(), content_type)
    assert refused.value.status == status
    assert "error" in json.loads(refused.value.message)


def test_artifacts_that_cannot_serve(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="holds no saved_model"):
        RUNTIME.load(LoadOptions(tmp_path, "2.19.0"))
    with pytest.raises(LoadError, match="Handlers are not implemented correctly in user script"):
        load(tmp_path, "def input_handler(data, context): return data")


def test_the_newest_version_serves(tmp_path: Path) -> None:
    assert newest_version(tmp_path) is None
    for name in ("export/2", "export/10", "export/9"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "saved_model.pb").touch()
    assert newest_version(tmp_path) == tmp_path / "export" / "10"


def test_rows_as_columns_and_bytes_as_base64() -> None:
    assert _columns([{"a": 1, "b": 2}, {"a": 3, "b": 4}], ["a", "b"]) == {"a": [1, 3], "b": [2, 4]}
    assert _columns([[1], [2]], ["x"]) == {"x": [[1], [2]]}
    assert _columns([{"b64": "AA=="}], ["x"]) == {"x": [{"b64": "AA=="}]}
    assert _binary([{"b64": "AAE="}, 1]) == [b"\0\1", 1]
    assert _jsonable([b"text", b"\xff", 1]) == ["text", {"b64": "/w=="}, 1]


def test_the_rest_server_ends() -> None:
    server = RestServer(Doubles())
    server.close()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", data=b"{}")
