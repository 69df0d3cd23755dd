"""Conditions of filter patterns, of JSON members and of fields alike: `NAME = text*`, `NAME > 5`, `&&`, `||`, `( )`.

An expression is read by `read_tests`, which asks for each condition's value in what a line was parsed into.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

from clary.telemetry.log_regex import BadRegex, Regex

Matches = Callable[[str], bool]
Extract = Callable[[str, str], str | None]
Document = TypeVar("Document")
Test = Callable[[Any], bool]
Values = Callable[[Any, str], list[Any]]
"""The values that a name means in a parsed line: none where it is not there."""

_DEPTH_MAX = 32
_REGEXES_MAX = 2
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<text>"(?:[^"\\]|\\.)*")|(?P<regex>%[^%]*%)|(?P<compare>!=|=!|<=|>=|=|<|>)
    |(?P<join>&&|\|\|)|(?P<paren>[()])|(?P<path>\$(?:\.(?:[\w-]+|\*)|\[(?:\d+|\*)\])+)|(?P<word>[^\s"%=!<>&|(),]+)
    )""",
    re.VERBOSE,
)


class BadPattern(ValueError):  # noqa: N818 - a refusal
    """The pattern cannot be read; the text says why."""


def regex_of(text: str) -> Regex:
    """A regular expression between percent signs; BadPattern."""
    try:
        return Regex(text[1:-1])
    except BadRegex as error:
        raise BadPattern(f"The regular expression {text[:32]!r} cannot be used: {error}.") from None


def read_tests(text: str, name_kind: str, values: Values) -> tuple[Test, list[str]]:
    """The test that an expression is, and the names in it. `name_kind`: `path` or `word`, which tokens are names.
    BadPattern."""
    tokens = _tokens(text)
    if sum(kind == "regex" for kind, _ in tokens) > _REGEXES_MAX:
        raise BadPattern(f"A pattern has at most {_REGEXES_MAX} regular expressions.")
    reader = _Reader(tokens, name_kind, values)
    test = reader.either()
    if reader.at != len(tokens):
        raise BadPattern(f"{tokens[reader.at][1]!r} is not expected there in a pattern.")
    return test, reader.names


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    at = depth = 0
    while text[at:].strip():
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise BadPattern(f"{text[at:].strip()[:32]!r} cannot be read in a pattern.")
        tokens.append((found.lastgroup, found[found.lastgroup]))
        at = found.end()
        depth += {("paren", "("): 1, ("paren", ")"): -1}.get(tokens[-1], 0)
        if depth > _DEPTH_MAX:
            raise BadPattern(f"A pattern has at most {_DEPTH_MAX} parentheses within each other.")
    return tokens


class _Reader:
    def __init__(self, tokens: list[tuple[str, str]], name_kind: str, values: Values) -> None:
        self._tokens = tokens
        self._name_kind = name_kind
        self._values = values
        self.at = 0
        self.names: list[str] = []

    def either(self) -> Test:
        tests = self._joined("||", self._both)
        return lambda document: any(test(document) for test in tests)

    def _both(self) -> Test:
        tests = self._joined("&&", self._one)
        return lambda document: all(test(document) for test in tests)

    def _joined(self, join: str, part: Callable[[], Test]) -> list[Test]:
        tests = [part()]
        while self._peek() == ("join", join):
            self.at += 1
            tests.append(part())
        return tests

    def _peek(self, ahead: int = 0) -> tuple[str, str]:
        at = self.at + ahead
        return self._tokens[at] if at < len(self._tokens) else ("", "")

    def _one(self) -> Test:
        if self._peek() == ("paren", "("):
            self.at += 1
            test = self.either()
            if self._peek() != ("paren", ")"):
                raise BadPattern("A parenthesis is not closed.")
            self.at += 1
            return test
        kind, name = self._peek()
        if kind != self._name_kind:
            raise BadPattern('A pattern compares as { $.member = "text" }, [field = text] or { $.member >= 500 }.')
        self.names.append(name)
        return self._word_test(name) or self._compared(name)

    def _word_test(self, name: str) -> Test | None:
        """EXISTS, NOT EXISTS, IS NULL, IS TRUE, IS FALSE."""
        values = self._values
        words = [self._peek(ahead)[1].upper() for ahead in (1, 2)]
        if words[0] == "EXISTS":
            self.at += 2
            return lambda document: bool(values(document, name))
        if words == ["NOT", "EXISTS"]:
            self.at += 3
            return lambda document: not values(document, name)
        if words[0] == "IS" and words[1] in ("NULL", "TRUE", "FALSE"):
            self.at += 3
            wanted = {"NULL": None, "TRUE": True, "FALSE": False}[words[1]]
            return lambda document: any(value is wanted for value in values(document, name))
        return None

    def _compared(self, name: str) -> Test:
        (_, sign), (kind, value) = self._peek(1), self._peek(2)
        if self._peek(1)[0] != "compare" or kind not in ("text", "word", "regex"):
            raise BadPattern('A pattern compares as { $.member = "text" }, [field = text] or { $.member >= 500 }.')
        self.at += 3
        values = self._values
        if sign in ("=", "!=", "=!"):
            same, wanted = _same(kind, value), sign == "="
            # A member that is not there, and one that is no value, is neither equal nor unequal.
            return lambda document: any(same(one) is wanted for one in values(document, name))
        number = number_of(value)
        if number is None:
            raise BadPattern(f"{value[:32]!r} is not a number; {sign} compares numbers.")
        compare = _COMPARE[sign]

        def holds(document: Any) -> bool:
            found = (number_of(one) for one in values(document, name))
            return any(one is not None and compare(one, number) for one in found)

        return holds


_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


def _same(kind: str, value: str) -> Callable[[Any], bool | None]:
    """Whether a value is the one of the pattern; None for what cannot be compared: lists, objects, booleans, null."""
    fits = _fits(kind, value)
    number = number_of(value) if kind == "word" else None

    def same(found: Any) -> bool | None:
        if found is None or isinstance(found, (bool, list, dict)):
            return None
        if number is not None and (of_found := number_of(found)) is not None:
            return of_found == number
        return fits(found if isinstance(found, str) else text_of(found))

    return same


def _fits(kind: str, value: str) -> Matches:
    if kind == "regex":
        return regex_of(value).search
    if kind == "text":
        try:
            value = str(json.loads(value, strict=False))
        except ValueError:
            raise BadPattern(f"{value[:32]!r} is not a JSON string.") from None
    if "*" not in value:
        return lambda found: found == value
    shell = value.replace("[", "[[]").replace("?", "[?]")
    return lambda found: fnmatch.fnmatchcase(found, shell)


def text_of(value: Any) -> str:
    """A JSON value as the text that a pattern means."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def number_of(value: Any) -> float | None:
    """A number, or a text that is one; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
