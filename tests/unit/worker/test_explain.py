"""A refused request is told which row and column is at fault."""

from __future__ import annotations

import json

import pytest

from clary.domain.signature import Column
from clary.worker.explain import BODY_BYTES_MAX, explain

RIDE = (Column("zone", "integer"), Column("miles"), Column("paid", "boolean"), Column("note", "string", required=False))
PLAIN = (Column(""), Column(""))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("43,1.5,true,a", ""),
        ("43,1.5,true,", ""),
        ("43,,1,x\n44,2,0,y", ""),
        ("zone,miles,paid,note\n43,1.5,true,x", ""),
        ("note,paid,miles,zone\nx,true,far,43", "Row 1, column 3 'miles' holds 'far', which is no number."),
        ("zone,miles\n43,1", "The header names no column 'paid'."),
        ("43,1.5,true,a\nx,1.5,true,a", "Row 2, column 1 'zone' holds 'x', which is no whole number."),
        ("43.5,1.5,true,a", "Row 1, column 1 'zone' holds '43.5', which is no whole number."),
        (",1.5,true,a", "Row 1, column 1 'zone' is blank."),
        ("43,one,true,a", "Row 1, column 2 'miles' holds 'one', which is no number."),
        ("43,1,perhaps,a", "Row 1, column 3 'paid' holds 'perhaps', which is neither true nor false."),
        ("43,1", "Row 1 has 2 values where 4 columns are wanted: zone, miles, paid, note; "
         "by place, it lacks 'paid', 'note'."),
        ("1,2,true,4,5", "Row 1 has 5 values where 4 columns are wanted: zone, miles, paid, note."),
        ("43," + "9" * 90 + "x,true,a", f"Row 1, column 2 'miles' holds '{'9' * 40}...', which is no number."),
        ('"unclosed,1', "Row 1 has 1 value where 4 columns are wanted: zone, miles, paid, note; "
         "by place, it lacks 'miles', 'paid', 'note'."),
    ],
)  # fmt: skip
def test_csv(body: str, said: str) -> None:
    assert explain(body.encode(), "text/csv; charset=utf-8", RIDE) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([[1, 2.5, True, None]], ""),
        ([1, 2.5, True, "x"], ""),
        ({"instances": [[1, "far", True, "x"]]}, "Row 1, column 2 'miles' holds 'far', which is no number."),
        ([[1, 2], [1]], "Row 1 has 2 values where 4 columns are wanted: zone, miles, paid, note; "
         "by place, it lacks 'paid', 'note'."),
        ([{"zone": 1, "miles": 2, "paid": False}], ""),
        ([{"zone": 1, "miles": 2, "paid": 1}], "Row 1, column 'paid' holds '1', which is neither true nor false."),
        ({"zone": 1, "mile": 2, "paid": True},
         "Row 1 lacks the column 'miles'; it has 'mile', which the model does not know."),
        ([{"zone": 1, "miles": 2, "paid": True, "extra": 1}],
         "Row 1 has the column 'extra', which the model does not know."),
        ({"dataframe_split": {"columns": ["paid", "zone", "miles"], "data": [[True, 1, "x"]]}},
         "Row 1, column 3 'miles' holds 'x', which is no number."),
        ({"dataframe_split": {"columns": ["zone"], "data": [[1]]}}, "Row 1 lacks the column 'miles', 'paid'."),
        ({"dataframe_records": [{"zone": "x", "miles": 1, "paid": True}]},
         "Row 1, column 'zone' holds 'x', which is no whole number."),
        ([[True, 1, True, "x"]], "Row 1, column 1 'zone' holds 'true', which is no whole number."),
        ("text", ""),
    ],
)  # fmt: skip
def test_json(value: object, said: str) -> None:
    assert explain(json.dumps(value).encode(), "application/json", RIDE) == said


def test_a_torn_json_body_is_told_where() -> None:
    assert explain(b"[[1, 2", "", RIDE).startswith("The body is no JSON: ")


def test_columns_without_names_go_by_number() -> None:
    assert explain(b"1,2,3", "text/csv", PLAIN) == "Row 1 has 3 values where 2 columns are wanted."
    assert explain(b"1,x", "text/csv", PLAIN) == "Row 1, column 2 holds 'x', which is no number."
    assert explain(b'[{"a": 1}]', "application/json", PLAIN) == ""


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"\xff,1", "text/csv"), (b"1,x", "application/x-npy"), (b"[" * 100_000, "application/json"),
     (b"x" * (BODY_BYTES_MAX + 1), "text/csv")],
)  # fmt: skip
def test_what_cannot_be_explained_stays_in_the_models_own_words(body: bytes, content_type: str) -> None:
    said = explain(body, content_type, PLAIN)
    assert said == ""


def test_without_a_signature_nothing_is_said() -> None:
    assert explain(b"x", "text/csv", ()) == ""
