"""The XGBoost runtime against the library itself and against what the image is known to answer."""

import json
from pathlib import Path

import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clary.runtimes.base import Joins, LoadError, LoadOptions, ModelError
from clary.runtimes.recordio import encode_labels
from clary.runtimes.xgboost import RUNTIME
from tests.support.xgboost_cases import (
    BOOSTERS,
    CLASSES,
    KINDS,
    RNG,
    ROWS,
    WIDTH,
    answer,
    csv,
    expected,
    loaded,
    trained,
)

# --- scores -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_librarys(kind: str, tmp_path: Path) -> None:
    model = loaded(tmp_path, BOOSTERS[kind])
    rows = ROWS.copy()
    rows[RNG.random(rows.shape) < 0.2] = np.nan
    got = model.predict([model.decode(memoryview(csv(rows)), "text/csv")])[0]
    assert list(got) == expected(BOOSTERS[kind], rows)
    one = model.predict([model.decode(memoryview(csv(rows[:1])), "text/csv")])[0]
    assert list(one) == expected(BOOSTERS[kind], rows[:1])


def thresholds(booster: xgboost.Booster) -> list[float]:
    """Every split of the model, and the floats beside it."""
    splits = [
        value
        for tree in json.loads(bytes(booster.save_raw("json")))["learner"]["gradient_booster"]["model"]["trees"]
        for value, left in zip(tree["split_conditions"], tree["left_children"], strict=True)
        if left != -1
    ]
    found = np.array(splits, dtype=np.float32)
    return np.unique(np.concatenate([found, np.nextafter(found, -9e9), np.nextafter(found, 9e9)])).tolist()


TREES = [kind for kind, booster in BOOSTERS.items() if kind not in ("dart", "linear")]


@pytest.mark.parametrize("kind", TREES)
def test_trees_join_exactly(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    model = loaded(tmp_path_factory.mktemp("model"), BOOSTERS[kind])
    assert model.joins is Joins.EXACT
    special = [*thresholds(BOOSTERS[kind]), float("nan"), 0.0, -0.0, 1e-45, 3e38, -3e38]
    cells = st.one_of(st.sampled_from(special), st.floats(width=32, allow_infinity=False))
    requests = st.lists(
        hnp.arrays(np.float32, st.tuples(st.integers(1, 70), st.just(WIDTH)), elements=cells), min_size=2, max_size=5
    )

    @settings(max_examples=25, deadline=None)
    @given(requests)
    def check(drawn: list[np.ndarray]) -> None:
        inputs = [model.decode(memoryview(csv(rows)), "text/csv") for rows in drawn]
        assert len({one.key for one in inputs}) == 1
        joined = model.predict(inputs)
        alone = [model.predict([one])[0] for one in inputs]
        assert joined == alone
        by_row = [
            row
            for rows in drawn
            for r in rows
            for row in model.predict([model.decode(memoryview(csv(r[None])), "text/csv")])[0]
        ]
        assert [row for rows in joined for row in rows] == by_row

    check()


@pytest.mark.parametrize("kind", ["dart", "linear"])
def test_what_is_not_proven_is_not_joined(kind: str, tmp_path: Path) -> None:
    assert loaded(tmp_path, BOOSTERS[kind]).joins is Joins.ROUNDING


def test_two_threads_give_the_same_bits(tmp_path: Path) -> None:
    model = loaded(tmp_path, BOOSTERS["softprob"], threads=2)
    rows = np.tile(ROWS, (20, 1))
    assert model.predict([model.decode(memoryview(csv(rows)), "text/csv")])[0] == expected(BOOSTERS["softprob"], rows)


def test_the_best_iteration_is_where_prediction_stops(tmp_path: Path) -> None:
    booster = trained(rounds=8)
    booster.set_attr(best_iteration="2")
    model = loaded(tmp_path, booster)
    rows = xgboost.DMatrix(ROWS, nthread=1)
    short = booster.predict(rows, iteration_range=(0, 3)).tolist()
    assert short != booster.predict(rows).tolist()
    assert model.predict([model.decode(memoryview(csv(ROWS)), "text/csv")])[0] == short


def test_several_files_are_averaged_or_vote(tmp_path: Path) -> None:
    members = [trained(rounds=n) for n in (1, 3, 6)]
    for index, member in enumerate(members):
        (tmp_path / f"model-{index}").write_bytes(member.save_raw("json"))
    model = RUNTIME.load(LoadOptions(tmp_path, "1.7-1"))
    mean = np.mean([m.predict(xgboost.DMatrix(ROWS)) for m in members], axis=0).tolist()
    assert model.predict([model.decode(memoryview(csv(ROWS)), "text/csv")])[0] == mean
    alone = RUNTIME.load(LoadOptions(tmp_path, "1.7-1", {"SAGEMAKER_INFERENCE_ENSEMBLE": "false"}))
    assert alone.predict([alone.decode(memoryview(csv(ROWS)), "text/csv")])[0] == expected(members[0], ROWS)
    assert "model-0 alone serves" in alone.notes[0]

    votes = tmp_path / "votes"
    votes.mkdir()
    for index, member in enumerate(
        [BOOSTERS["softmax"], trained(CLASSES * 0, objective="multi:softmax", num_class=3), BOOSTERS["softmax"]]
    ):
        (votes / f"m{index}").write_bytes(member.save_raw("json"))
    voting = RUNTIME.load(LoadOptions(votes, "1.7-1"))
    assert voting.predict([voting.decode(memoryview(csv(ROWS)), "text/csv")])[0] == expected(BOOSTERS["softmax"], ROWS)


def test_models_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(BOOSTERS["regression"].save_raw("json"))
    (tmp_path / "b").write_bytes(BOOSTERS["logistic"].save_raw("json"))
    with pytest.raises(LoadError, match=r"do not make an ensemble: a \(4 features\), b"):
        RUNTIME.load(LoadOptions(tmp_path, "1.7-1"))


# --- what comes in ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/csv", b"1,2,3,4"),
        ("csv", b"1,2,3,4"),
        ("TEXT/CSV; charset=utf-8", b"1,2,3,4"),
        ("text/csv;label_size=1", b"1,2,3,4"),
        ("text/libsvm", b"0:1 1:2 2:3 3:4"),
        ("text/x-libsvm ;charset=utf8", b"7 0:1 1:2 2:3 3:4"),
        ("", b"0:1 1:2 2:3 3:4"),
        ("application/x-recordio-protobuf", None),
    ],
)
def test_one_row_in_every_content_type(content_type: str, body: bytes | None, tmp_path: Path) -> None:
    model = loaded(tmp_path, BOOSTERS["regression"])
    if body is None:  # an answer's label, renamed to a feature: field 2 -> 1
        record = encode_labels([{"values": [1, 2, 3, 4]}])
        body = record[:8] + b"\x0a" + record[9:]
    row = model.decode(memoryview(body), content_type)
    np.testing.assert_array_equal(row.data, np.array([[1, 2, 3, 4]], dtype=np.float32))


def test_the_oldest_images_read_csv_where_no_type_is_given(tmp_path: Path) -> None:
    model = loaded(tmp_path, BOOSTERS["regression"], tag="0.90-2")
    assert model.decode(memoryview(b"1,2,3,4"), "").rows == 1


def test_data_may_have_one_column_fewer_and_it_counts_as_missing(tmp_path: Path) -> None:
    model = loaded(tmp_path, BOOSTERS["regression"])
    row = model.decode(memoryview(b"1,2,3"), "text/csv").data
    np.testing.assert_array_equal(row, np.array([[1, 2, 3, np.nan]], dtype=np.float32))


UNEVALUATED = "Unable to evaluate payload provided: Feature size of"
TYPES = (
    "csv, libsvm, parquet, recordio-protobuf, text/csv, text/libsvm, text/x-libsvm, "
    "application/x-parquet, application/x-recordio-protobuf"
)


@pytest.mark.parametrize(
    ("body", "content_type", "status", "message"),
    [
        (b"", "text/csv", 204, ""),
        (
            b"1,2",
            "text/csv",
            400,
            f"{UNEVALUATED} csv inference data 2 is not consistent with feature size of trained model 4.",
        ),
        (
            b"1,2,3,4,5",
            "text/csv",
            400,
            f"{UNEVALUATED} csv inference data 5 is not consistent with feature size of trained model 4.",
        ),
        (
            b"0:1 4:1",
            "text/libsvm",
            400,
            f"{UNEVALUATED} libsvm inference data 5 is larger than feature size of trained model 4.",
        ),
        (
            b"a,b,c,d",
            "text/csv",
            415,
            "Loading csv data failed with Exception, please ensure data is in csv format:\n <class 'ValueError'>\n "
            "could not convert string to float: 'a'",
        ),
        (
            b"1,2,3,4",
            "",
            415,
            "Loading libsvm data failed with Exception, please ensure data is in libsvm format:\n "
            "<class 'ValueError'>\n no index:value pair was found",
        ),
        (
            b"1",
            "application/x-recordio-protobuf",
            415,
            "Loading recordio-protobuf data failed with Exception, please ensure data is in recordio-protobuf format: "
            "<class 'ValueError'> a record's header is cut off at byte 0",
        ),
        (b"{}", "application/json", 415, f"application/json is not an accepted ContentType: {TYPES}."),
        (
            b"1,2,3,4",
            "text/csv; label_size=2",
            415,
            "text/csv; label_size=2 is not an accepted csv ContentType. "
            "Optional parameter label_size must be equal to 1",
        ),
        (b"PAR1", "application/x-parquet", 415, "Content-type application/x-parquet is not supported."),
    ],
)
def test_refusals_are_the_images(body: bytes, content_type: str, status: int, message: str, tmp_path: Path) -> None:
    model = loaded(tmp_path, BOOSTERS["regression"])
    with pytest.raises(ModelError) as refused:
        model.decode(memoryview(body), content_type)
    assert (refused.value.status, refused.value.message) == (status, message)


# --- what goes out ----------------------------------------------------------------------------------------------

ONE_LINE = ["1", "0.90-1", "0.90-2", "1.0-1", "1.2-1"]
LINES = ["1.2-2", "1.3-1", "1.5-1", "1.7-1", "3.0-5"]


@pytest.mark.parametrize("tag", ONE_LINE)
def test_old_images_join_scores_on_one_line_whatever_is_accepted(tag: str, tmp_path: Path) -> None:
    model = loaded(tmp_path, BOOSTERS["regression"], tag=tag)
    scores = expected(BOOSTERS["regression"], ROWS[:3])
    for accept in ("", "text/csv", "application/json", "image/png"):
        accepted = model.check_accept(accept)
        result = model.predict([model.decode(memoryview(csv(ROWS[:3])), "text/csv")])[0]
        assert model.encode(result, accepted) == (",".join(map(str, scores)).encode(), "text/csv")
    probabilities = loaded(tmp_path / "p", BOOSTERS["softprob"], tag=tag)
    assert answer(probabilities, csv(ROWS[:2])).startswith(b"[0.")


@pytest.mark.parametrize("tag", LINES)
def test_newer_images_answer_a_line_a_row_and_what_is_accepted(tag: str, tmp_path: Path) -> None:
    model = loaded(tmp_path, BOOSTERS["regression"], tag=tag)
    scores = expected(BOOSTERS["regression"], ROWS[:2])
    assert answer(model, csv(ROWS[:2])) == f"{scores[0]}\n{scores[1]}\n".encode()
    as_json = answer(model, csv(ROWS[:2]), accept="application/json")
    assert as_json == f'{{"predictions": [{{"score": {scores[0]}}}, {{"score": {scores[1]}}}]}}'.encode()
    assert answer(model, csv(ROWS[:2]), accept="application/jsonlines") == f"{scores[0]}\n{scores[1]}\n".encode()
    records = encode_labels([{"score": [score]} for score in scores])
    assert answer(model, csv(ROWS[:2]), accept="application/x-recordio-protobuf") == records


def test_several_outputs(tmp_path: Path) -> None:
    model = loaded(tmp_path, BOOSTERS["softprob"])
    (row,) = expected(BOOSTERS["softprob"], ROWS[:1])
    assert answer(model, csv(ROWS[:1])) == f"{row[0]},{row[1]},{row[2]}\n".encode()
    assert json.loads(answer(model, csv(ROWS[:1]), accept="application/json")) == {"predictions": [{"score": row}]}
    assert json.loads(answer(model, csv(ROWS[:1]), accept="application/jsonlines")) == row
    assert model.signature.outputs == 3


def test_accept(tmp_path: Path) -> None:
    model = loaded(tmp_path, BOOSTERS["regression"], env={"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "application/json"})
    assert model.check_accept("") == model.check_accept("*/*") == "application/json"
    assert model.check_accept("TEXT/CSV; charset=utf-8") == "text/csv"
    with pytest.raises(ModelError) as refused:
        model.check_accept("text/html")
    assert refused.value.status == 406
    assert refused.value.message == (
        "Accept type text/html is not supported. Please use supported accept types: "
        "['application/json', 'application/jsonlines', 'application/x-recordio-protobuf', 'text/csv']."
    )


def test_a_default_accept_that_does_not_exist_is_refused_at_load(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT='text/xml'"):
        loaded(tmp_path, BOOSTERS["regression"], env={"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/xml"})


def test_batch_transform_ends_lines(tmp_path: Path) -> None:
    for tag in ("1.2-1", "1.7-1"):
        model = loaded(tmp_path / tag, BOOSTERS["softprob"], tag=tag, env={"SAGEMAKER_BATCH": "true"})
        rows = expected(BOOSTERS["softprob"], ROWS[:2])
        assert answer(model, csv(ROWS[:2])) == f"{rows[0]}\n{rows[1]}\n".encode()


SELECTED = "predicted_label, probability,probabilities,raw_score,raw_scores,labels"


def test_selectable_inference_binary(tmp_path: Path) -> None:
    model = loaded(tmp_path, BOOSTERS["logistic"], env={"SAGEMAKER_INFERENCE_OUTPUT": SELECTED})
    (p,) = expected(BOOSTERS["logistic"], ROWS[:1])
    label = int(p > 0.5)
    row = {
        "predicted_label": label,
        "labels": [0, 1],
        "probability": p,
        "probabilities": [1.0 - p, p],
        "raw_score": p,
        "raw_scores": [1.0 - p, p],
    }
    assert json.loads(answer(model, csv(ROWS[:1]), accept="application/json")) == {"predictions": [row]}
    assert answer(model, csv(ROWS[:2])).split(b"\n")[0] == (
        f'{label},{p},"[{1.0 - p}, {p}]",{p},"[{1.0 - p}, {p}]","[0, 1]"'.encode()
    )
    assert not answer(model, csv(ROWS[:2])).endswith(b"\n")
    assert json.loads(answer(model, csv(ROWS[:1]), accept="application/jsonlines")) == row
    assert answer(model, csv(ROWS[:1]), accept="application/x-recordio-protobuf").count(b"probabilities") == 1


def test_selectable_inference_of_classes_and_of_regression(tmp_path: Path) -> None:
    env = {"SAGEMAKER_INFERENCE_OUTPUT": "predicted_label,probability"}
    model = loaded(tmp_path / "c", BOOSTERS["softprob"], env=env)
    for row, line in zip(
        expected(BOOSTERS["softprob"], ROWS), answer(model, csv(ROWS)).decode().split("\n"), strict=True
    ):
        assert line == f"{row.index(max(row))},{max(row)}"
    score = loaded(
        tmp_path / "r", BOOSTERS["regression"], env={"SAGEMAKER_INFERENCE_OUTPUT": "probability,predicted_score"}
    )
    assert answer(score, csv(ROWS[:1])) == f"nan,{expected(BOOSTERS['regression'], ROWS[:1])[0]}".encode()


@pytest.mark.parametrize(
    ("kind", "variable", "named"),
    [
        ("regression", "predicted_score,sccore", "sccore"),
        ("regression", "", "nothing"),
        ("poisson", "predicted_score", "count:poisson"),
    ],
)
def test_selections_that_cannot_be_answered_are_refused_at_load(
    kind: str, variable: str, named: str, tmp_path: Path
) -> None:
    with pytest.raises(LoadError, match=named):
        loaded(tmp_path, BOOSTERS[kind], env={"SAGEMAKER_INFERENCE_OUTPUT": variable})


def test_images_before_1_0_do_not_know_the_selection(tmp_path: Path) -> None:
    model = loaded(tmp_path, BOOSTERS["regression"], tag="0.90-2", env={"SAGEMAKER_INFERENCE_OUTPUT": "x"})
    assert answer(model, csv(ROWS[:1])) == str(expected(BOOSTERS["regression"], ROWS[:1])[0]).encode()
