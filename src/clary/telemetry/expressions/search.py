"""SEARCH('{namespace,dimension} terms', 'Statistic', period): which of the stored metrics an expression means.

The rules are those of "CloudWatch search expression syntax" in its user guide: tokens by camel case, digits and other
characters; one token matches in any case, several in a row match as they are written; quotes match a whole name.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from clary.telemetry.expressions.errors import BadExpression
from clary.telemetry.statistics import Stat, is_period, parse_stat

SEARCH_CHARS_MAX = 1024
_SCHEMA_CHARS = re.compile(r"\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,{}\"]+))\s*")
_TERM = re.compile(
    r"""(?P<blank>[\s,]+)
    |(?P<paren>[()])
    |(?P<term>(?:(?:"(?P<quoted_name>(?:[^"\\]|\\.)*)"|(?P<name>[^\s,()="]+))\s*=\s*)?
      (?:"(?P<exact>(?:[^"\\]|\\.)*)"|(?P<part>[^\s,()="]+)))""",
    re.VERBOSE,
)
_PIECE = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")


@dataclass(frozen=True)
class Names:
    """What a search looks at of one metric."""

    namespace: str
    metric: str
    dimensions: tuple[tuple[str, str], ...]

    def of(self, what: str | None) -> Iterator[str]:
        """The names that a property means; all for none."""
        if what in (None, "Namespace"):
            yield self.namespace
        if what in (None, "MetricName"):
            yield self.metric
        for name, value in self.dimensions:
            if what is None:
                yield name
            if what in (None, name):
                yield value


@dataclass(frozen=True)
class Match:
    """One term: `property="exact"`, or parts of a name."""

    what: str | None
    text: str
    exact: bool

    def __call__(self, names: Names) -> bool:
        if self.exact:
            return self.text in names.of(self.what)
        return any(_has(name, self.text) for name in names.of(self.what))


@dataclass(frozen=True)
class Not:
    term: Term

    def __call__(self, names: Names) -> bool:
        return not self.term(names)


@dataclass(frozen=True)
class All:
    terms: tuple[Term, ...]

    def __call__(self, names: Names) -> bool:
        return all(term(names) for term in self.terms)


@dataclass(frozen=True)
class AnyOf:
    terms: tuple[Term, ...]

    def __call__(self, names: Names) -> bool:
        return any(term(names) for term in self.terms)


Term = Match | Not | All | AnyOf


@dataclass(frozen=True)
class Search:
    """Which metrics, of which statistic and period. Hashable: what was found is handed back by it."""

    namespace: str | None
    dimensions: frozenset[str] | None
    """The names of a metric's dimensions, all of them; None where the search has no schema."""
    terms: Term
    stat: Stat
    period_s: int | None
    """None: the period of the request."""

    @functools.cached_property
    def compared(self) -> int:
        """With how many terms each name of a metric is compared, at most."""
        return max(1, _leaves(self.terms))

    def matches(self, names: Names) -> bool:
        """Whether a metric is meant."""
        if self.namespace is not None and names.namespace != self.namespace:
            return False
        if self.dimensions is not None and {name for name, _ in names.dimensions} != self.dimensions:
            return False
        return self.terms(names)


def parse_search(text: str, stat: str, period_s: float | None) -> Search:
    """A search of its arguments; BadExpression. NotServed for a statistic that is not."""
    if len(text) > SEARCH_CHARS_MAX:
        raise BadExpression(f"A search has at most {SEARCH_CHARS_MAX} characters")
    parsed = parse_stat(stat)
    if parsed is None:
        raise BadExpression(f"SEARCH: {stat!r} is not a valid statistic")
    if period_s is not None and (period_s != int(period_s) or not is_period(int(period_s))):
        raise BadExpression("SEARCH: the period must be 1, 5, 10, 20, 30 or a multiple of 60 seconds")
    schema, rest = _schema(text.strip())
    terms = _Terms(rest).whole()
    if schema is None and terms == All(()):
        raise BadExpression("SEARCH: give a namespace in braces, a term to search for, or both")
    namespace, names = (schema[0], frozenset(schema[1:])) if schema else (None, None)
    return Search(namespace, names, terms, parsed, None if period_s is None else int(period_s))


@functools.lru_cache(maxsize=1024)
def tokens(text: str) -> Sequence[str]:
    """`CustomCount1` -> Custom, Count, 1. Remembered: metrics share most of their names."""
    return tuple(_PIECE.findall(text))


def _leaves(term: Term) -> int:
    match term:
        case Match():
            return 1
        case Not():
            return _leaves(term.term)
        case All() | AnyOf():
            return sum(map(_leaves, term.terms))
        case _:
            assert_never(term)


def _has(name: str, wanted: str) -> bool:
    """Whether the tokens wanted stand in a row in the name."""
    there, parts = tokens(name), tokens(wanted)
    if not parts:
        return False
    if len(parts) == 1:
        low = parts[0].lower()
        return any(piece.lower() == low for piece in there) or "".join(there).lower() == low
    return any(there[at : at + len(parts)] == parts for at in range(len(there) - len(parts) + 1))


def _schema(text: str) -> tuple[list[str] | None, str]:
    if not text.startswith("{"):
        return None, text
    names: list[str] = []
    at = 1
    while found := _SCHEMA_CHARS.match(text, at):
        names.append(_unescaped(found[1]) if found[1] is not None else found[2])
        at = found.end()
        if text[at : at + 1] != ",":
            break
        at += 1
    if not names or text[at : at + 1] != "}":
        raise BadExpression("SEARCH: the metric schema must be {namespace, dimension, ...}")
    return names, text[at + 1 :]


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


class _Terms:
    """Terms with AND, OR, NOT and parentheses; nothing between two terms is AND."""

    def __init__(self, text: str) -> None:
        self._found: list[re.Match[str]] = []
        at = 0
        while at < len(text):
            found = _TERM.match(text, at)
            if found is None:
                raise BadExpression(f"SEARCH: unexpected {text[at]!r} among its terms")
            if found.lastgroup != "blank":
                self._found.append(found)
            at = found.end()
        self._at = 0
        self._depth = 0

    def whole(self) -> Term:
        if not self._found:
            return All(())
        term = self._any()
        if self._at < len(self._found):
            raise BadExpression(f"SEARCH: unexpected {self._found[self._at][0]!r} among its terms")
        return term

    def _next(self) -> str:
        return self._found[self._at][0] if self._at < len(self._found) else ""

    def _any(self) -> Term:
        self._depth += 1
        if self._depth > 32:
            raise BadExpression("SEARCH: its terms are nested deeper than 32 levels")
        terms = [self._all()]
        while self._next() == "OR":
            self._at += 1
            terms.append(self._all())
        self._depth -= 1
        return terms[0] if len(terms) == 1 else AnyOf(tuple(terms))

    def _all(self) -> Term:
        terms = [self._one()]
        while self._next() not in ("", "OR", ")"):
            if self._next() == "AND":
                self._at += 1
            terms.append(self._one())
        return terms[0] if len(terms) == 1 else All(tuple(terms))

    def _one(self) -> Term:
        word = self._next()
        if word in ("", ")", "AND", "OR"):
            what = repr(word) if word else "end"
            raise BadExpression(f"SEARCH: unexpected {what} among its terms")
        found = self._found[self._at]
        self._at += 1
        if word == "NOT":
            return Not(self._one())
        if word == "(":
            term = self._any()
            if self._next() != ")":
                raise BadExpression("SEARCH: a parenthesis is not closed")
            self._at += 1
            return term
        what = _unescaped(found["quoted_name"]) if found["quoted_name"] is not None else found["name"]
        if found["exact"] is not None:
            return Match(what, _unescaped(found["exact"]), exact=True)
        return Match(what, found["part"], exact=False)
