"""What every runtime keeps. A new one joins by a `Case`; nothing here knows a runtime's formats.

Worker code relies on exactly this: decode, check_accept, predict and encode raise ModelError and nothing else for
whatever a client sends; joining changes no bit where EXACT is said; a probe answers; what is loaded says what it is.
"""

import importlib
import pickle
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from clary.runtimes.base import Input, Joins, LoadError, LoadOptions, Model, ModelError, Runtime, joins_of
from clary.runtimes.registry import modules_of, names, runtime_named
from tests.support import mlflow_models, onnx_models
from tests.support.xgboost_cases import BOOSTERS, CLASSES, ROWS, TARGET


@dataclass(frozen=True)
class Case:
    """A runtime with one artifact of it."""

    runtime: str
    write: Callable[[Path], object]
    """Makes the artifact in an empty folder."""
    tag: str
    body: Callable[[np.ndarray], bytes]
    """A request of some rows of `WIDTH` numbers."""
    content_type: str
    content_types: tuple[str, ...]
    """All that are answered."""
    accepts: tuple[str, ...]
    joins: Joins
    junk: bytes = b"\x00\x01 no model"
    env: dict[str, str] = field(default_factory=dict)
    wide: bool = True
    """Rows with more columns than the model has are refused."""


WIDTH = ROWS.shape[1]


def csv(rows: np.ndarray) -> bytes:
    return "\n".join(",".join(repr(float(v)) for v in row) for row in rows).encode()


def xgboost_case(kind: str, tag: str, joins: Joins = Joins.EXACT) -> Case:
    newer = ("text/csv", "application/json", "application/jsonlines", "application/x-recordio-protobuf")
    return Case(
        runtime="xgboost",
        write=lambda folder: (folder / "xgboost-model").write_bytes(BOOSTERS[kind].save_raw("ubj")),
        tag=tag,
        body=csv,
        content_type="text/csv",
        content_types=("text/csv", "text/libsvm", "text/x-libsvm", "application/x-recordio-protobuf", ""),
        accepts=("text/csv",) if tag == "1.2-1" else newer,
        joins=joins,
    )


def sklearn_case(estimator: Any, joins: Joins) -> Case:
    return Case(
        runtime="sklearn",
        write=lambda folder: joblib.dump(estimator.fit(ROWS, TARGET), folder / "model.joblib"),
        tag="1.2-1",
        body=csv,
        content_type="text/csv",
        content_types=("text/csv", "application/json", "application/x-npy", ""),
        accepts=("text/csv", "application/json", "application/x-npy"),
        joins=joins,
    )


def own_case(runtime: str, write: Callable[[Path], object], joins: Joins) -> Case:
    """A runtime with Clary's own formats."""
    return Case(
        runtime=runtime,
        write=write,
        tag="1",
        body=csv,
        content_type="text/csv",
        content_types=("text/csv", "application/json", "application/x-npy", ""),
        accepts=("text/csv", "application/json", "application/x-npy"),
        joins=joins,
    )


def lightgbm_case(joins: Joins = Joins.EXACT, **params: Any) -> Case:
    told = {"verbosity": -1, "num_threads": 1, "num_leaves": 7, "min_data_in_leaf": 5, **params}
    booster = lightgbm.train(told, lightgbm.Dataset(ROWS, CLASSES), num_boost_round=12)
    return own_case("lightgbm", lambda folder: booster.save_model(folder / "model.txt"), joins)


def onnx_case(inputs: int) -> Case:
    raw = onnx_models.regressor(np.linspace(-1, 1, WIDTH), inputs).SerializeToString()
    return own_case("onnx", lambda folder: (folder / "model.onnx").write_bytes(raw), Joins.ROUNDING)


def with_header(rows: np.ndarray) -> bytes:
    return ",".join(f"c{at}" for at in range(rows.shape[1])).encode() + b"\n" + csv(rows)


def pyfunc_case() -> Case:
    names = [f"c{at}" for at in range(WIDTH)]
    model = make_pipeline(StandardScaler(), Ridge()).fit(pd.DataFrame(ROWS, columns=names), TARGET)
    return Case(
        runtime="pyfunc",
        write=lambda folder: mlflow_models.save(folder / "model", model, names),
        tag="1",
        body=with_header,
        content_type="text/csv",
        content_types=("text/csv", "application/json"),
        accepts=("application/json",),
        joins=Joins.NEVER,
        wide=False,
    )


CASES = {
    "xgboost 1.7-1": xgboost_case("regression", "1.7-1"),
    "xgboost 1.2-1": xgboost_case("logistic", "1.2-1"),
    "xgboost of several outputs": xgboost_case("softprob", "3.0-5"),
    "xgboost linear": xgboost_case("linear", "1.7-1", Joins.ROUNDING),
    "xgboost dart": xgboost_case("dart", "1.7-1", Joins.ROUNDING),
    "sklearn ridge": sklearn_case(make_pipeline(StandardScaler(), Ridge()), Joins.ROUNDING),
    "sklearn forest": sklearn_case(RandomForestRegressor(10, random_state=0), Joins.EXACT),
    "lightgbm": lightgbm_case(),
    "lightgbm of several classes": lightgbm_case(objective="softmax", num_class=3),
    "lightgbm linear": lightgbm_case(Joins.ROUNDING, linear_tree=True),
    "onnx": onnx_case(1),
    "onnx of many inputs": onnx_case(WIDTH),
    "pyfunc": pyfunc_case(),
}


@dataclass(frozen=True)
class Loaded:
    case: Case
    runtime: Runtime
    model: Model

    def ask(self, rows: np.ndarray, accept: str = "") -> tuple[bytes, str]:
        accepted = self.model.check_accept(accept)
        return self.model.encode(self.model.predict([self.decode(rows)])[0], accepted)

    def decode(self, rows: np.ndarray) -> Input:
        return self.model.decode(memoryview(self.case.body(rows)), self.case.content_type)


@pytest.fixture(scope="module", params=CASES)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    case = CASES[request.param]
    folder = tmp_path_factory.mktemp("model")
    case.write(folder)
    runtime = runtime_named(case.runtime)
    return Loaded(case, runtime, runtime.load(LoadOptions(folder, case.tag, case.env)))


def same(one: Any, other: Any) -> bool:
    """Bit equality of results, which are the runtime's own."""
    return pickle.dumps(np.asarray(one).tolist()) == pickle.dumps(np.asarray(other).tolist())


HANDLERS = {"pytorch", "tensorflow", "huggingface"}
"""Runtimes whose models answer whole requests: tests/unit/runtimes/test_script.py."""


def test_every_runtime_has_a_case() -> None:
    assert {case.runtime for case in CASES.values()} == set(names()) - HANDLERS


def test_a_model_says_what_it_is(loaded: Loaded) -> None:
    assert loaded.model.signature.width == WIDTH
    assert loaded.model.libraries
    assert all(version[0].isdigit() for version in loaded.model.libraries.values())
    assert all(isinstance(note, str) for note in loaded.model.notes)
    assert loaded.runtime.name == loaded.case.runtime


def test_a_zygote_preloads_what_the_runtime_imports(loaded: Loaded) -> None:
    for module in (*loaded.runtime.modules, *modules_of(loaded.runtime.name)):
        importlib.import_module(module)
        assert module in sys.modules


def test_the_probe_answers(loaded: Loaded) -> None:
    probe = loaded.model.probe()
    assert probe is not None
    body, content_type = probe
    decoded = loaded.model.decode(memoryview(body), content_type)
    answer, answered = loaded.model.encode(loaded.model.predict([decoded])[0], loaded.model.check_accept(""))
    assert answer
    assert answered == loaded.model.check_accept("")


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 500])
def test_rows_in_rows_out(loaded: Loaded, count: int) -> None:
    rows = np.resize(ROWS, (count, WIDTH))
    decoded = loaded.decode(rows)
    assert decoded.rows == count
    (result,) = loaded.model.predict([decoded])
    assert len(result) == count


def test_every_accepted_type_is_answered(loaded: Loaded) -> None:
    for accept in loaded.case.accepts:
        body, answered = loaded.ask(ROWS[:3], accept)
        assert body
        assert answered == accept


def test_a_parameter_of_the_type_is_tolerated(loaded: Loaded) -> None:
    raw = memoryview(loaded.case.body(ROWS[:1]))
    assert loaded.model.decode(raw, f"{loaded.case.content_type.upper()}; charset=utf-8").rows == 1


def test_what_is_said_of_joining_holds(loaded: Loaded) -> None:
    assert joins_of(loaded.runtime, loaded.model) is loaded.case.joins
    parts = [loaded.decode(ROWS[at : at + size]) for at, size in ((0, 1), (1, 7), (8, 64), (72, 1), (73, 40))]
    assert len({part.key for part in parts}) == 1, "requests alike in shape must be joinable"
    together = loaded.model.predict(parts)
    alone = [loaded.model.predict([part])[0] for part in parts]
    assert [len(result) for result in together] == [part.rows for part in parts]
    if loaded.case.joins is Joins.EXACT:
        assert all(same(one, other) for one, other in zip(together, alone, strict=True))
    else:
        for one, other in zip(together, alone, strict=True):
            np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-4, atol=1e-5)


def test_the_same_request_has_the_same_answer(loaded: Loaded) -> None:
    first = loaded.ask(ROWS[:9])
    loaded.ask(ROWS[9:90])
    assert loaded.ask(ROWS[:9]) == first


def test_results_outlive_the_next_predict(loaded: Loaded) -> None:
    (kept,) = loaded.model.predict([loaded.decode(ROWS[:70])])
    before = pickle.dumps(np.asarray(kept).tolist())
    loaded.model.predict([loaded.decode(-ROWS[:70])])
    assert pickle.dumps(np.asarray(kept).tolist()) == before


def test_a_request_body_is_not_kept(loaded: Loaded) -> None:
    """The worker reuses nothing, but a view of a frame must not be held beyond decode's result."""
    raw = bytearray(loaded.case.body(ROWS[:2]))
    decoded = loaded.model.decode(memoryview(raw), loaded.case.content_type)
    (before,) = loaded.model.predict([decoded])
    before = pickle.dumps(np.asarray(before).tolist())
    raw[:] = b"9" * len(raw)
    (after,) = loaded.model.predict([decoded])
    assert pickle.dumps(np.asarray(after).tolist()) == before


def test_a_model_works_on_another_thread_than_loaded_it(loaded: Loaded) -> None:
    found: list[tuple[bytes, str]] = []
    thread = threading.Thread(target=lambda: found.append(loaded.ask(ROWS[:5])))
    thread.start()
    thread.join()
    assert found == [loaded.ask(ROWS[:5])]


@pytest.mark.parametrize("content_type", ["image/png", "text", "application/x-www-form-urlencoded", "é"])
def test_a_type_that_is_not_read_is_415(loaded: Loaded, content_type: str) -> None:
    with pytest.raises(ModelError) as refused:
        loaded.model.decode(memoryview(loaded.case.body(ROWS[:1])), content_type)
    assert refused.value.status == 415
    assert content_type in refused.value.message


def test_an_empty_body_is_refused_or_empty(loaded: Loaded) -> None:
    with pytest.raises(ModelError) as refused:
        loaded.model.decode(memoryview(b""), loaded.case.content_type)
    assert refused.value.status in (204, 400, 415)


def test_too_many_columns_are_400_or_passed_over_by_name(loaded: Loaded) -> None:
    if not loaded.case.wide:
        assert loaded.decode(np.zeros((2, WIDTH + 3))).rows == 2
        return
    with pytest.raises(ModelError) as refused:
        loaded.decode(np.zeros((2, WIDTH + 3)))
    assert refused.value.status == 400
    assert str(WIDTH) in refused.value.message
    assert str(WIDTH + 3) in refused.value.message


def test_an_accept_that_is_not_answered_is_406_or_the_images_own_type(loaded: Loaded) -> None:
    if len(loaded.case.accepts) == 1:
        assert loaded.model.check_accept("image/png") == loaded.case.accepts[0]
        return
    with pytest.raises(ModelError, match="image/png") as refused:
        loaded.model.check_accept("image/png")
    assert refused.value.status == 406


BODIES = st.one_of(
    st.binary(max_size=120),
    st.text(max_size=60).map(str.encode),
    st.text(alphabet='0123456789.,:-eE[]{}"\n nulinfa', max_size=60).map(str.encode),
    st.lists(st.floats(), min_size=WIDTH, max_size=WIDTH).map(lambda row: ",".join(map(repr, row)).encode()),
)


def test_whatever_a_client_sends_raises_model_errors_only(loaded: Loaded) -> None:
    @settings(max_examples=150, deadline=None)
    @given(BODIES, st.one_of(st.sampled_from(loaded.case.content_types), st.text(max_size=20)), st.text(max_size=20))
    def check(body: bytes, content_type: str, accept: str) -> None:
        refused = None
        try:
            decoded = loaded.model.decode(memoryview(body), content_type)
            accepted = loaded.model.check_accept(accept)
            (result,) = loaded.model.predict([decoded])
            answer, answered = loaded.model.encode(result, accepted)
        except ModelError as error:
            refused = error
        if refused is not None:
            assert 200 <= refused.status < 600
            assert refused.status == 204 or refused.message
            return
        assert isinstance(answer, bytes)
        assert answered == accepted
        assert decoded.rows == len(result)

    check()


@pytest.mark.parametrize("what", ["empty", "junk"])
def test_a_bad_artifact_is_a_load_error_with_a_remedy(loaded: Loaded, what: str, tmp_path: Path) -> None:
    if what == "junk":
        (tmp_path / "model").write_bytes(loaded.case.junk)
    with pytest.raises(LoadError) as refused:
        loaded.runtime.load(LoadOptions(tmp_path, loaded.case.tag, loaded.case.env))
    assert refused.value.cause.endswith(".")
    assert refused.value.remedy.endswith(".")


def test_a_read_only_artifact_loads(loaded: Loaded, tmp_path: Path) -> None:
    loaded.case.write(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for file in before:
        file.chmod(0o555 if file.is_dir() else 0o444)
    tmp_path.chmod(0o555)
    try:
        model = loaded.runtime.load(LoadOptions(tmp_path, loaded.case.tag, loaded.case.env))
        assert model.signature == loaded.model.signature
        assert [path for path in sorted(tmp_path.rglob("*")) if path.name != "__pycache__"] == before
    finally:
        for folder in (tmp_path, *(path for path in before if path.is_dir())):
            folder.chmod(0o755)
