"""What a worker reports of its model: columns, types, and an example that the model itself answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clary.domain.signature import SIGNATURE_FILE, Column, Example, ModelSignature, signature_of
from clary.runtimes.base import LoadError, Signature
from clary.worker.describe import merged, of_artifact, of_runtime
from clary.worker.load import Loaded, Refused, load
from clary.worker.options import WorkerOptions
from clary.worker.report import Report
from tests.support.worker import Doubler
from tests.unit.worker.test_load import Runtime


def test_the_runtimes_word_becomes_columns() -> None:
    assert of_runtime(Signature(width=2)).columns == (Column(""), Column(""))
    said = of_runtime(Signature(2, ("a", "b"), kinds=("string", "any"), optional=("b",), accepts=("text/csv",)))
    assert said.columns == (Column("a", "string"), Column("b", "any", required=False))
    assert said.accepts == ("text/csv",)
    assert of_runtime(Signature()).columns == ()


def test_a_signature_survives_json_and_what_is_none_is_passed_over() -> None:
    full = ModelSignature(
        (Column("a", "string", required=False),), 2, ("text/csv",), ("x",), "rows", Example("1", "text/csv", "2", "x")
    )
    assert signature_of(json.loads(json.dumps(full.to_json()))) == full
    assert signature_of("nonsense") == signature_of({"columns": 7, "example": [], "outputs": "x"}) == ModelSignature()
    assert signature_of({"columns": [7, {"kind": "odd"}]}).columns == (Column("", "any"), Column("", "any"))


def test_an_artifact_names_columns_that_the_model_does_not() -> None:
    nameless, named = of_runtime(Signature(width=1)), ModelSignature((Column("a"),))
    assert merged(nameless, named).columns == (Column("a"),)
    assert merged(of_runtime(Signature(1, ("own",))), named).columns == (Column("own"),)
    sample = ModelSignature((Column("a", "string", required=False),))
    assert merged(of_runtime(Signature(1, ("own",), kinds=("any",))), sample).columns == (
        Column("own", "string", required=False),
    )
    assert merged(of_runtime(Signature(1, ("own",))), sample).columns == (Column("own"),)
    assert merged(named, ModelSignature(example=Example("x", "text/plain"))) == named
    assert merged(nameless, None) == nameless
    assert merged(of_runtime(Signature()), named).columns == (Column("a"),)
    with pytest.raises(LoadError, match="sample has 1 columns, the model takes 2"):
        merged(of_runtime(Signature(width=2)), named)


def test_a_torn_signature_is_told(tmp_path: Path) -> None:
    assert of_artifact(tmp_path) is None
    path = tmp_path / SIGNATURE_FILE
    path.parent.mkdir()
    path.write_text("{")
    with pytest.raises(LoadError, match="cannot be read"):
        of_artifact(tmp_path)


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def with_sample(body: str) -> Loaded | Refused:
        path = tmp_path / SIGNATURE_FILE
        path.parent.mkdir()
        path.write_text(json.dumps(ModelSignature((Column("a"),), example=Example(body, "text/csv")).to_json()))
        monkeypatch.setattr("clary.worker.load.runtime_named", lambda _: Runtime(lambda _: Doubler()))
        return load(WorkerOptions(uid="u", socket="/s", runtime="doubler", model_dir=str(tmp_path)), 1)

    return with_sample


def test_the_sample_is_asked_and_answered_before_a_replica_is_ready(loaded: Any) -> None:
    outcome = loaded("1")
    assert isinstance(outcome, Loaded)
    assert outcome.signature.example == Example("1", "text/csv", "11", "text/csv")
    assert signature_of(json.loads(outcome.report.to_json())["signature"]) == outcome.signature


def test_a_sample_that_the_model_refuses_fails_the_replica(loaded: Any) -> None:
    outcome = loaded("bad data")
    assert isinstance(outcome, Refused)
    assert "does not answer its own sample: bad data" in outcome.report.cause


@pytest.mark.parametrize(("columns", "kept"), [(10, True), (5000, False)])
def test_a_wide_signature_never_breaks_the_report(columns: int, *, kept: bool) -> None:
    signature = ModelSignature(tuple(Column(f"column {n}") for n in range(columns)), example=Example("1", "text/csv"))
    packed = Report("ready", "r", 1, cause="x" * 9000, width=columns, signature=signature.to_json()).to_json()
    assert len(packed) < 65_000
    assert bool(signature_of(json.loads(packed)["signature"]).columns) is kept
