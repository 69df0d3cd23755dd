"""What a file of rows tells of a model's columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clary.cli.exit_codes import CliError
from clary.cli.sample import FILE_BYTES_MAX, read_sample
from clary.domain.signature import Column, Example


def sample(tmp_path: Path, name: str, content: Any, runtime: str = "sklearn") -> Any:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_sample(path, runtime)


ROWS = 'zone,miles,paid,note\n43,1.5,true,"a, b"\n44,,false,c\n45,2,true,d\n46,2,true,e\n'


def test_a_header_names_the_columns_and_three_rows_are_the_example(tmp_path: Path) -> None:
    found = sample(tmp_path, "rows.csv", ROWS)
    assert found.columns == (
        Column("zone"), Column("miles", required=False), Column("paid", "boolean"), Column("note", "string"),
    )  # fmt: skip
    assert found.example == Example('43,1.5,true,"a, b"\n44,,false,c\n45,2,true,d\n', "text/csv")


def test_mlflow_is_sent_the_header_too(tmp_path: Path) -> None:
    assert sample(tmp_path, "rows.csv", ROWS, "pyfunc").example.body.startswith("zone,miles,paid,note\n43,")


def test_a_first_line_with_a_number_is_a_row(tmp_path: Path) -> None:
    found = sample(tmp_path, "rows.csv", "a,1\nb,2\n")
    assert found.columns == (Column("", "string"), Column(""))
    assert found.example.body == "a,1\nb,2\n"


@pytest.mark.parametrize(
    ("value", "columns"),
    [
        ([{"a": 1, "b": "x"}, {"a": None, "b": "y"}], (Column("a", required=False), Column("b", "string"))),
        ({"a": True}, (Column("a", "boolean"),)),
        ([[1, "x"], [2.5, "y"]], (Column(""), Column("", "string"))),
        ([1, 2], (Column(""), Column(""))),
        ({"instances": [[1, [2]]]}, (Column(""), Column("", "any"))),
        ({"dataframe_split": {"columns": ["a"], "data": [[1]]}}, (Column("a"),)),
        ({"dataframe_records": [{"a": 1}]}, (Column("a"),)),
        ([[1], [1, 2]], ()),
        ("text", ()),
        ([], ()),
    ],
)
def test_json(tmp_path: Path, value: object, columns: tuple[Column, ...]) -> None:
    found = sample(tmp_path, "rows.json", json.dumps(value))
    assert found.columns == columns
    assert found.example == Example(json.dumps(value), "application/json")


def test_other_types_are_an_example_only(tmp_path: Path) -> None:
    assert sample(tmp_path, "rows.libsvm", "1:2 3:4").example == Example("1:2 3:4", "text/libsvm")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "", "holds no row"),
        ("a.csv", "a,b\n", "a header and no row"),
        ("a.csv", "a,b\n1\n", "line 2 has 1 cells where line 1 has 2"),
        ("a.json", "{", "cannot be read as application/json"),
        ("a.csv", "a\n" + "9" * 9000, "more than 8192 characters"),
        ("a.csv", "x" * (FILE_BYTES_MAX + 1), "is larger than"),
        ("a.csv", ",".join(["1"] * 10_001), "has 10001 columns"),
    ],
    ids=range(7),
)
def test_what_is_no_sample_is_told(tmp_path: Path, name: str, content: str, said: str) -> None:
    with pytest.raises(CliError, match=said):
        sample(tmp_path, name, content)
    with pytest.raises(CliError, match="cannot be read: No such file"):
        read_sample(tmp_path / "none.csv", "sklearn")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(CliError, match="is not text"):
        read_sample(tmp_path / "b.csv", "sklearn")
