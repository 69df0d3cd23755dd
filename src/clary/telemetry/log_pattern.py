"""Filter patterns of CloudWatch Logs: words, quoted phrases, `?any of`, `-none of`, and comparisons of JSON members.

    ERROR timeout            both words, anywhere, in this case
    ?ERROR ?WARN             one of them
    ERROR -Exit              the first and not the second
    "bad row"                as it stands
    { $.level = "error" && $.status >= 500 }        of lines that are JSON; `*` in a text stands for anything

Space-delimited patterns (`[a, b]`) and regular expressions (`%...%`) are refused. Rules: "Filter pattern syntax for
metric filters, subscription filters, filter log events, and Live Tail" (CloudWatch Logs user guide).
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable
from typing import Any

Matches = Callable[[str], bool]

_TERM = re.compile(r'\s*([?-]?)(?:"((?:[^"\\]|\\.)*)"|([^\s"]+))')
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<path>\$(?:\.[\w-]+|\[\d+\])+)|(?P<text>"(?:[^"\\]|\\.)*")|(?P<compare>!=|<=|>=|=|<|>)
    |(?P<join>&&|\|\|)|(?P<paren>[()])|(?P<word>[\w.*+-]+)
    )""",
    re.VERBOSE,
)


class BadPattern(ValueError):  # noqa: N818 - a refusal
    """The pattern cannot be read, or is of a kind that is not served; the text says which."""


def compile_pattern(pattern: str) -> Matches:
    """What tells whether a message fits. An empty pattern fits everything. Raises BadPattern."""
    text = pattern.strip()
    if not text:
        return lambda _: True
    if text.startswith("{"):
        if not text.endswith("}"):
            raise BadPattern("A JSON pattern ends in '}'.")
        return _json(text[1:-1])
    if text.startswith("["):
        raise BadPattern("Space-delimited patterns are not served; use words or a JSON pattern.")
    return _terms(text)


# -- words -------------------------------------------------------------------------------------------------------------


def _terms(text: str) -> Matches:
    every: list[str] = []
    some: list[str] = []
    none: list[str] = []
    at = 0
    while at < len(text):
        found = _TERM.match(text, at)
        if found is None:
            raise BadPattern("A quotation mark is not closed.")
        at = found.end()
        sign, quoted, word = found[1], found[2], found[3]
        if word is not None and word.startswith("%"):
            raise BadPattern("Regular expressions are not served; use words or a JSON pattern.")
        term = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else word
        {"": every, "?": some, "-": none}[sign].append(term)
        while at < len(text) and text[at].isspace():
            at += 1

    def matches(message: str) -> bool:
        if any(term in message for term in none) or not all(term in message for term in every):
            return False
        # As documented: beside words that must be there, optional ones say nothing.
        return bool(every) or not some or any(term in message for term in some)

    return matches


# -- JSON --------------------------------------------------------------------------------------------------------------

Test = Callable[[Any], bool]
_DEPTH_MAX = 32


def _json(text: str) -> Matches:
    tokens: list[tuple[str, str]] = []
    at = depth = 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise BadPattern(f"{text[at:].strip()[:32]!r} cannot be read in a JSON pattern.")
        tokens.append((found.lastgroup, found[found.lastgroup]))
        at = found.end()
        depth += {("paren", "("): 1, ("paren", ")"): -1}.get(tokens[-1], 0)
        if depth > _DEPTH_MAX:
            raise BadPattern(f"A JSON pattern has at most {_DEPTH_MAX} parentheses within each other.")
    test, end = _either(tokens, 0)
    if end != len(tokens):
        raise BadPattern(f"{tokens[end][1]!r} is not expected there in a JSON pattern.")

    def matches(message: str) -> bool:
        if not message.startswith("{"):
            return False
        try:
            return test(json.loads(message))
        except (ValueError, RecursionError):
            return False

    return matches


def _either(tokens: list[tuple[str, str]], at: int) -> tuple[Test, int]:
    tests, at = _joined(tokens, at, "||", _both)
    return (lambda document: any(test(document) for test in tests)), at


def _both(tokens: list[tuple[str, str]], at: int) -> tuple[Test, int]:
    tests, at = _joined(tokens, at, "&&", _one)
    return (lambda document: all(test(document) for test in tests)), at


def _joined(
    tokens: list[tuple[str, str]], at: int, join: str, part: Callable[[list[tuple[str, str]], int], tuple[Test, int]]
) -> tuple[list[Test], int]:
    test, at = part(tokens, at)
    tests = [test]
    while at < len(tokens) and tokens[at] == ("join", join):
        test, at = part(tokens, at + 1)
        tests.append(test)
    return tests, at


def _one(tokens: list[tuple[str, str]], at: int) -> tuple[Test, int]:
    kinds = [kind for kind, _ in tokens[at : at + 3]]
    if kinds[:1] == ["paren"] and tokens[at][1] == "(":
        test, at = _either(tokens, at + 1)
        if at >= len(tokens) or tokens[at] != ("paren", ")"):
            raise BadPattern("A parenthesis is not closed.")
        return test, at + 1
    words = [value.upper() for _, value in tokens[at + 1 : at + 3]]
    if kinds[:1] == ["path"] and words == ["NOT", "EXISTS"]:
        path = tokens[at][1]
        return (lambda document: not _found(document, path)), at + 3
    if kinds[:1] == ["path"] and words[:1] == ["IS"] and words[1:] in (["NULL"], ["TRUE"], ["FALSE"]):
        wanted, path = {"NULL": None, "TRUE": True, "FALSE": False}[words[1]], tokens[at][1]
        return (lambda document: any(value is wanted for value in _found(document, path))), at + 3
    if kinds not in (["path", "compare", "text"], ["path", "compare", "word"]):
        raise BadPattern('A JSON pattern compares as { $.member = "text" } or { $.member >= 500 }.')
    (_, path), (_, sign), (_, value) = tokens[at : at + 3]
    return _compared(path, sign, value), at + 3


def _compared(path: str, sign: str, value: str) -> Test:
    try:
        text = json.loads(value, strict=False) if value.startswith('"') else value
    except ValueError:
        raise BadPattern(f"{value[:32]!r} is not a JSON string.") from None
    number = _number(value)
    if sign in ("=", "!="):

        def same(found: Any) -> bool:
            if isinstance(found, bool) or found is None or isinstance(found, (list, dict)):
                return False
            if isinstance(found, (int, float)):
                return number is not None and found == number
            return fnmatch.fnmatchcase(found, text.replace("[", "[[]").replace("?", "[?]"))

        # A member that is not there is neither equal nor unequal.
        return lambda document: any(same(one) == (sign == "=") for one in _found(document, path))
    if number is None:
        raise BadPattern(f"{value[:32]!r} is not a number; {sign} compares numbers.")
    compare: dict[str, Callable[[float, float], bool]] = {
        "<": lambda a, b: a < b,
        ">": lambda a, b: a > b,
        "<=": lambda a, b: a <= b,
        ">=": lambda a, b: a >= b,
    }
    return lambda document: any(
        isinstance(one, (int, float)) and not isinstance(one, bool) and compare[sign](one, number)
        for one in _found(document, path)
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _found(document: Any, path: str) -> list[Any]:
    """The value at `$.a.b[0]`, as a list of one, or of none where it is not there."""
    value = document
    for name, index in re.findall(r"\.([\w-]+)|\[(\d+)\]", path):
        if name and isinstance(value, dict) and name in value:
            value = value[name]
        elif index and isinstance(value, list) and int(index) < len(value):
            value = value[int(index)]
        else:
            return []
    return [value]
