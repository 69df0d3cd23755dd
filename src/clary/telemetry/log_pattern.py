"""Filter patterns of CloudWatch Logs. Pure.

    ERROR timeout            both words, anywhere, in this case
    ?ERROR ?WARN             one of them
    ERROR -Exit              the first and not the second
    "bad row"                as it stands
    %4[0-9]{2}%              a regular expression (log_regex)
    { $.level = "error" && $.status >= 500 }        of lines that are JSON (log_pattern_json)
    [ip, user, ..., status = 4*, bytes > 1000]      of fields between blanks (log_pattern_fields)

Rules: "Filter pattern syntax for metric filters, subscription filters, filter log events, and Live Tail" (CloudWatch
Logs user guide).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from clary.telemetry.log_pattern_fields import field_pattern
from clary.telemetry.log_pattern_json import json_pattern
from clary.telemetry.log_pattern_tests import BadPattern, Extract, Matches, regex_of

__all__ = ["BadPattern", "Matches", "Pattern", "compile_pattern"]

_TERM = re.compile(r'\s*([?-]?)(?:"((?:[^"\\]|\\.)*)"|(%[^%]*%)(?=\s|$)|([^\s"]+))')


@dataclass(frozen=True)
class Pattern:
    """A pattern that was read: tells whether a message fits."""

    matches: Matches
    extract: Extract = lambda _message, _selector: None
    """The text that a selector (`$.latency`, `$bytes`) means in a message; None where it means nothing."""
    fields: Callable[[str], dict[str, str]] = lambda _: {}
    """Fields of a message by selector, as TestMetricFilter shows them."""
    has_selectors: bool = False
    """Whether `extract` ever finds anything."""

    def __call__(self, message: str) -> bool:
        return self.matches(message)


def compile_pattern(pattern: str) -> Pattern:
    """The pattern. An empty one fits everything. Raises BadPattern."""
    text = pattern.strip()
    if not text:
        return Pattern(lambda _: True)
    if text.startswith("{"):
        if not text.endswith("}"):
            raise BadPattern("A JSON pattern ends in '}'.")
        matches, extract, fields = json_pattern(text[1:-1])
        return Pattern(matches, extract, fields, has_selectors=True)
    if text.startswith("["):
        if not text.endswith("]"):
            raise BadPattern("A space-delimited pattern ends in ']'.")
        matches, extract, fields = field_pattern(text[1:-1])
        return Pattern(matches, extract, fields, has_selectors=True)
    return Pattern(_terms(text))


def _terms(text: str) -> Matches:
    every: list[Matches] = []
    some: list[Matches] = []
    none: list[Matches] = []
    at = 0
    while at < len(text):
        found = _TERM.match(text, at)
        if found is None:
            raise BadPattern("A quotation mark is not closed.")
        at = found.end()
        sign, quoted, regex, word = found[1], found[2], found[3], found[4]
        if word is not None and word.startswith("%"):
            raise BadPattern("A regular expression begins and ends in '%'.")
        {"": every, "?": some, "-": none}[sign].append(_term(quoted, regex, word))
        while at < len(text) and text[at].isspace():
            at += 1

    def matches(message: str) -> bool:
        if any(term(message) for term in none) or not all(term(message) for term in every):
            return False
        # As documented: beside words that must be there, optional ones say nothing.
        return bool(every) or not some or any(term(message) for term in some)

    return matches


def _term(quoted: str | None, regex: str | None, word: str) -> Matches:
    if regex is not None:
        return regex_of(regex).search
    wanted = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else word
    return lambda message: wanted in message
