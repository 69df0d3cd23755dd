"""Filter patterns, by the examples of the CloudWatch Logs user guide and their kind."""

from __future__ import annotations

import pytest

from clary.telemetry.log_pattern import BadPattern, compile_pattern

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
    ],
)
def test_json(pattern: str, fits: bool) -> None:
    assert compile_pattern(pattern)(LINE) is fits
    assert not compile_pattern(pattern)("not JSON")


@pytest.mark.parametrize(
    "pattern", ["[a, b]", "%x%", '"open', "{ $.a }", "{ $.a = 1", "{ $.a > x }", "{ ($.a = 1 }", "{ # }"]
)
def test_what_cannot_be_read_is_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        compile_pattern(pattern)
