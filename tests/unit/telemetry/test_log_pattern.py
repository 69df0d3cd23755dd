"""Filter patterns, by the examples of the CloudWatch Logs user guide and their kind."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.telemetry.log_pattern import BadPattern, compile_pattern
from clary.telemetry.log_regex import Regex

LINE = '{"level": "error", "status": 503, "request": {"path": "/ping", "tags": ["a", "b"]}, "gone": null, "ok": false}'


@pytest.mark.parametrize(
    ("pattern", "message", "fits"),
    [
        ("", "anything", True),
        ("ERROR", "[ERROR 400] BAD", True),
        ("ERROR", "error", False),
        ("ERROR BAD", "BAD ERROR", True),
        ("ERROR BAD", "ERROR", False),
        ('"BAD REQUEST"', "400 BAD REQUEST", True),
        ('"BAD REQUEST"', "REQUEST BAD", False),
        ("?ERROR ?WARN", "WARN 1", True),
        ("?ERROR ?WARN", "INFO", False),
        ("ERROR -Exit", "ERROR Exit", False),
        ("ERROR -Exit", "ERROR", True),
        ("ERROR ?WARN", "ERROR", True),
        (r'"a \"b\""', 'a "b" c', True),
        ("%ERR.R%", "[ERROR 400]", True),
        ("%^ERR% -%4\\d\\d%", "ERROR 500", True),
        ("%^ERR% -%4\\d\\d%", "ERROR 400", False),
        ("?%colou?r% ?shade", "the color", True),
    ],
)
def test_words(pattern: str, message: str, fits: bool) -> None:
    assert compile_pattern(pattern)(message) is fits


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ('{ $.level = "error" }', True),
        ('{ $.level = "err*" }', True),
        ("{ $.level = error }", True),
        ('{ $.level != "error" }', False),
        ("{ $.status >= 500 }", True),
        ("{ $.status < 500 }", False),
        ("{ $.status = 503 && $.level = info }", False),
        ("{ $.level = info || $.status > 500 }", True),
        ("{ ($.level = info || $.level = error) && $.status = 503 }", True),
        ('{ $.request.path = "/ping" }', True),
        ('{ $.request.tags[1] = "b" }', True),
        ("{ $.gone IS NULL }", True),
        ("{ $.ok IS FALSE }", True),
        ("{ $.ok IS TRUE }", False),
        ("{ $.absent NOT EXISTS }", True),
        ("{ $.absent != 1 }", False),
        ("{ $.status = * }", True),
        ("{ $.status = 5* }", True),
        ('{ $.status = "503" }', True),
        ("{ $.absent = * }", False),
        ("{ $.request = * }", False),
        ("{ $.status EXISTS && $.gone EXISTS }", True),
        ("{ $.level != info }", True),
        ('{ $.request.tags[*] = "b" }', True),
        ('{ $.request.* = "/ping" }', True),
        ('{ $.*.tags[*] = "c" }', False),
        ("{ $.level = %^err.*r$% }", True),
        ("{ $.level = %^rr% || $.status = %^50[0-4]$% }", True),
        ("{ $.status > -1e3 && $.status <= +503.0 }", True),
        ("{ $.level > 3 }", False),
    ],
)
def test_json(pattern: str, fits: bool) -> None:
    assert compile_pattern(pattern)(LINE) is fits
    assert not compile_pattern(pattern)("not JSON")


@pytest.mark.parametrize(
    "pattern",
    [
        '"open',
        "{ $.a }",
        "{ $.a = 1",
        "{ $.a > x }",
        "{ ($.a = 1 }",
        "{ # }",
        "{ a = 1 }",
        "{ $.a = 1 } x",
        "{ $.a = 1 && }",
        "{ $.a = %x% || $.a = %y% || $.a = %z% }",
        "{ $.*.*.*.* = 1 }",
        "{ $.a = %(x)% }",
        "%open",
        "%a(b)%",
        "%a{5,2}%",
        "%[z-a]%",
        "%[]%",
        "%a$b%",
        "%*%",
        "%\\q%",
        "%a{999}%",
        "[a, b",
        "[..., a, ...]",
        "[a = 1 && b = 2]",
        "[1a]",
        "[a > x]",
        "[" + ", ".join(["a"] * 101) + "]",
    ],
)
def test_what_cannot_be_read_is_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        compile_pattern(pattern)


APACHE = '127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /apache_pb.gif HTTP/1.0" 404 1534'


@pytest.mark.parametrize(
    ("pattern", "message", "fits"),
    [
        ("[ip, user, username, timestamp, request, status_code, bytes]", APACHE, True),
        ("[ip, user, username, timestamp, request, status_code]", APACHE, False),
        ("[..., status_code, bytes]", APACHE, True),
        ("[ip, user, ..., status_code, bytes]", APACHE, True),
        ("[ip, user, ...]", APACHE, True),
        ("[a, b, c, d, e, f, ..., g]", APACHE, True),
        ("[a, b, c, d, e, f, ..., g, h]", APACHE, False),
        ("[ip, user, username, timestamp, request, status_code, bytes > 1000]", APACHE, True),
        ("[ip, user, username, timestamp, request, status_code = 200, bytes]", APACHE, False),
        ("[ip, user, username, timestamp, request, status_code = 4*, bytes]", APACHE, True),
        ("[ip, user, username, timestamp, request = *html*, status_code = 4*, bytes]", APACHE, False),
        ("[..., request = *.gif*, status_code = 4*,]", APACHE, True),
        ("[..., status_code = 4* && status_code != 403, bytes]", APACHE, True),
        ("[..., status_code = %4\\d{2}%, bytes]", APACHE, True),
        ('[..., request = "GET /apache_pb.gif HTTP/1.0", status_code, bytes]', APACHE, True),
        ("[..., timestamp = %^10.Oct%, request, s, bytes]", APACHE, True),
        ("[w1=ERROR, w2]", "ERROR message", True),
        ("[w1=ERROR || w1=WARN, w2]", "WARN message", True),
        ("[w1=ERROR || w1=WARN, w2]", "INFO message", False),
        ("[w1=!ERROR && w1=!WARN, w2]", "INFO message", True),
        ("[w1=!ERROR && w1=!WARN, w2]", "WARN message", False),
        ("[(w1=A || w1=B) && w1!=B, ...]", "A", True),
        ('[w1="a,b", w2]', "a,b c", True),
        ("[...]", "", True),
    ],
)
def test_fields(pattern: str, message: str, fits: bool) -> None:
    assert compile_pattern(pattern)(message) is fits


def test_selectors_find_values() -> None:
    fields = compile_pattern("[ip, , ..., status_code, bytes]")
    assert fields.extract(APACHE, "$bytes") == "1534"
    assert fields.extract(APACHE, "$2") == "-"
    assert fields.extract(APACHE, "$none") is None
    assert fields.fields(APACHE)["$4"] == "10/Oct/2000:13:25:15 -0700"
    members = compile_pattern("{ $.status = * }")
    assert members.extract(LINE, "$.status") == "503"
    assert members.extract(LINE, "$.request.tags") == '["a","b"]'
    assert members.extract(LINE, "$.gone") is members.extract(LINE, "status") is None
    assert members.fields(LINE) == {"$.status": "503"}
    assert not compile_pattern("ERROR").has_selectors


simple = st.text("ab01 .", max_size=6)
atoms = st.sampled_from(["a", "b", ".", "\\d", "\\w", "[ab]", "[^a]", "[0-9a]", "\\."])
repeats = st.sampled_from(["", "?", "*", "+", "{2}", "{1,3}", "{0,}"])
sequences = st.lists(st.tuples(atoms, repeats).map("".join), max_size=5).map("".join)
regexes = st.lists(
    st.tuples(st.sampled_from(["", "^"]), sequences, st.sampled_from(["", "$"])).map("".join), min_size=1
)


@given(regexes.map("|".join), simple)
def test_regular_expressions_mean_what_pythons_mean(pattern: str, text: str) -> None:
    assert Regex(pattern).search(text) == (re.search(pattern, text) is not None)


def test_a_regular_expression_takes_time_by_the_length_of_the_line_alone() -> None:
    assert not Regex("a*a*a*a*a*a*a*a*a*a*b").search("a" * 200_000)


@given(st.text('{[]}$.=!<>&|()%*"ab1 ,', max_size=30), st.text(max_size=20))
def test_no_pattern_breaks_the_reader(pattern: str, message: str) -> None:
    with contextlib.suppress(BadPattern):
        compile_pattern(pattern)(message)
