"""What diff makes of two answers."""

from __future__ import annotations

import base64
import json

import pytest

from clary.cli.diff import distance, predictions, rows_of
from clary.cli.exit_codes import Exit
from clary.cli.main import main
from tests.unit.cli.conftest import Scripted


def trial(
    body: bytes, status: int = 200, content_type: str = "text/csv; charset=utf-8", cause: str = ""
) -> dict[str, object]:
    return {"status": status, "content_type": content_type, "body": body, "cause": cause}


@pytest.mark.parametrize(
    ("body", "content_type", "rows"),
    [
        (b"1.0\n2.0\n", "text/csv", ["1.0", "2.0"]),
        (b"1.0,2.0", "text/csv", ["1.0", "2.0"]),
        (b"1,a\n2,b\n", "text/csv", ["1,a", "2,b"]),
        (b"[1.5, 2]", "application/json", ["1.5", "2"]),
        (b'{"predictions": [{"score": 1}]}', "application/json", ['{"score": 1}']),
        (b'{"a": 1, "b": 2}', "application/json", ['{"a": 1, "b": 2}']),
        (b"not json", "application/json", ["not json"]),
        (b'{"a": 1}\n{"a": 2}\n', "application/jsonlines", ['{"a": 1}', '{"a": 2}']),
        (b"", "text/csv", []),
    ],
)
def test_rows_of_an_answer(body: bytes, content_type: str, rows: list[str]) -> None:
    assert rows_of(body, content_type) == rows


@pytest.mark.parametrize(
    ("old", "new", "gap"),
    [("1.5", "1.5", 0.0), ("1.5", "-1e0", 2.5), ("1,2", "1,4", 2.0), ("a", "b", None), ("1", "1,2", None)],
)
def test_distance_of_two_rows(old: str, new: str, gap: float | None) -> None:
    assert distance(old, new) == gap


def test_differing_rows_are_counted_and_the_farthest_shown() -> None:
    found = predictions([trial(b"1\n2\n3\n"), trial(b"1\n2.5\n7\n")])
    assert (found["rows"], found["differing"], found["largest"]) == (3, 2, 4.0)
    assert found["examples"] == [{"row": 2, "old": "2", "new": "2.5"}, {"row": 3, "old": "3", "new": "7"}]


def test_other_counts_and_refusals_are_said() -> None:
    assert predictions([trial(b"1\n"), trial(b"1\n2\n")])["errors"] == ["1 rows against 2"] * 2
    found = predictions([trial(b"bad width", 400), trial(b"", 0, cause="It does not load.")])
    assert found["errors"] == ["400: bad width", "It does not load."]
    assert found["differing"] is None


def test_both_versions_are_tried_with_the_rows(
    scripted: Scripted, capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    variant = {"variant": "A", "model": "m", "runtime": "xgboost", "digest": "d"}
    made = [{"version": n, "state": s, "variants": [variant]} for n, s in ((2, "live"), (1, "retired"))]
    scripted.say("GET /clary/api/endpoints/e/versions", 200, {"versions": made})
    for number, answer in ((1, b"1\n"), (2, b"2\n")):
        document = {
            "variant": "A",
            "bytes": 10 * number,
            "libraries": {"xgboost": "3.2.0"},
            "signature": {"columns": [{"name": "a", "kind": "number"}]},
            "cause": "",
            "status": 200,
            "content_type": "text/csv",
            "body": base64.b64encode(answer).decode(),
        }
        scripted.say(f"POST /clary/api/endpoints/e/versions/{number}/trial", 200, document)
    rows = tmp_path / "rows.csv"  # type: ignore[operator]
    rows.write_text("0.5\n")
    arguments = ["diff", "e", "1", "2", "--file", str(rows), "--url", scripted.url]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["fact"] for row in found["facts"] if not row["same"]} == {"state", "bytes"}
    assert found["predictions"]["examples"] == [{"row": 1, "old": "1", "new": "2"}]
    assert main(arguments) == 0
    assert "1 of 1 predictions differ; the largest difference is 1." in capsys.readouterr().out
    assert {asked.body for asked in scripted.asked if asked.method == "POST"} == {b"0.5\n"}
    assert main(["diff", "e", "1", "3", "--url", scripted.url]) == Exit.NOT_FOUND
    assert "it has 1 to 2" in capsys.readouterr().err


def test_a_name_that_is_none_is_not_sent(scripted: Scripted) -> None:
    for command in (["versions", "a/b"], ["rollback", "a/b"], ["diff", "a/b", "1", "2"]):
        assert main([*command, "--url", scripted.url]) == Exit.USAGE
    assert not scripted.asked
