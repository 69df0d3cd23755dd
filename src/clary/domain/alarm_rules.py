"""The rule of a composite alarm: parsed once, evaluated over the states of the alarms that it names.

Grammar (API reference, PutCompositeAlarm): `ALARM(name)`, `OK(name)`, `INSUFFICIENT_DATA(name)`, TRUE, FALSE, NOT, AND,
OR and parentheses; a name, or an ARN, may stand in double quotes. NOT binds tighter than AND, AND than OR.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from clary.domain.alarms import Alarm, AlarmValue, CompositeAlarm, alarm_name
from clary.domain.errors import Invalid, NotServed

CHILDREN_MAX = 100
"""Alarms that one rule names."""
ELEMENTS_MAX = 500
"""Alarms, TRUE and FALSE, and parentheses of one rule."""
DEPTH_MAX = 100
"""Parentheses and NOTs within one another."""

_TOKEN = re.compile(
    r"\s*(?:(?P<call>ALARM|OK|INSUFFICIENT_DATA)\s*\((?:\s*\"(?P<quoted>(?:[^\"\\]|\\.)*)\"\s*|(?P<bare>[^\"()]*))\)"
    r"|(?P<word>AND|OR|NOT|TRUE|FALSE)\b|(?P<paren>[()]))",
    re.IGNORECASE,
)

Values = Mapping[str, AlarmValue]


@dataclass(frozen=True)
class Rule:
    """A parsed rule."""

    names: tuple[str, ...]
    """Names and ARNs as they stand there, each once, in order."""
    holds: Callable[[Values], bool]
    """Whether it is true of the states by those names; an alarm that is not there is in no state."""


@dataclass(frozen=True)
class _Token:
    kind: str
    """`call`, `AND`, ..., `(` or `)`; empty at the end."""
    at: int
    value: AlarmValue | None = None
    name: str = ""


@functools.lru_cache(maxsize=4096)
def parse_rule(text: str) -> Rule:
    """The rule in a text. Raises Invalid, which says where it breaks."""
    if text != text.strip():
        raise Invalid("AlarmRule must not contain leading or trailing whitespace or be null")
    tokens = _tokens(text)
    names = tuple(dict.fromkeys(token.name for token in tokens if token.kind == "call"))
    if len(names) > CHILDREN_MAX:
        raise Invalid(f"AlarmRule names {len(names)} alarms; at most {CHILDREN_MAX} are possible.")
    if sum(token.kind in ("call", "TRUE", "FALSE", "(", ")") for token in tokens) > ELEMENTS_MAX:
        raise Invalid(f"AlarmRule has more than {ELEMENTS_MAX} elements.")
    parser = _Parser(tokens)
    holds = parser.either(0)
    if parser.next.kind:
        raise Invalid(f"AlarmRule is not valid at character {parser.next.at + 1}: AND or OR is missing.")
    return Rule(names, holds)


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            if re.match(r"\s*AT_LEAST\b", text[at:], re.IGNORECASE):
                raise NotServed("AT_LEAST in AlarmRule", "Write the combinations with AND and OR.")
            raise Invalid(f"AlarmRule is not valid at character {at + 1}: {text[at : at + 20]!r}.")
        if found["call"]:
            quoted = found["quoted"]
            name = found["bare"].strip() if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            if not name:
                raise Invalid(f"AlarmRule is not valid at character {at + 1}: the name of an alarm is missing.")
            tokens.append(_Token("call", at, AlarmValue(found["call"].upper()), name))
        else:
            tokens.append(_Token((found["word"] or found["paren"]).upper(), at))
        at = found.end()
    return [*tokens, _Token("", len(text))]


class _Parser:
    """Descends through the tokens; each method gives the test of what it read."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._position = 0

    @property
    def next(self) -> _Token:
        return self._tokens[self._position]

    def _take(self) -> _Token:
        token = self.next
        self._position += bool(token.kind)
        return token

    def either(self, depth: int) -> Callable[[Values], bool]:
        parts = [self.both(depth)]
        while self.next.kind == "OR":
            self._take()
            parts.append(self.both(depth))
        return parts[0] if len(parts) == 1 else lambda values: any(part(values) for part in parts)

    def both(self, depth: int) -> Callable[[Values], bool]:
        parts = [self.one(depth)]
        while self.next.kind == "AND":
            self._take()
            parts.append(self.one(depth))
        return parts[0] if len(parts) == 1 else lambda values: all(part(values) for part in parts)

    def one(self, depth: int) -> Callable[[Values], bool]:
        if depth > DEPTH_MAX:
            raise Invalid(f"AlarmRule is nested deeper than {DEPTH_MAX}.")
        token = self._take()
        if token.kind == "call":
            return lambda values: values.get(token.name) is token.value
        if token.kind in ("TRUE", "FALSE"):
            return lambda _: token.kind == "TRUE"
        if token.kind == "NOT":
            inner = self.one(depth + 1)
            return lambda values: not inner(values)
        if token.kind == "(":
            inner = self.either(depth + 1)
            if self._take().kind != ")":
                raise Invalid(f"AlarmRule is not valid: the parenthesis at character {token.at + 1} is not closed.")
            return inner
        raise Invalid(
            f"AlarmRule is not valid at character {token.at + 1}: an alarm's state, TRUE or FALSE is missing."
        )


def children_of(alarm: Alarm) -> tuple[str, ...]:
    """Names of the alarms that a composite's rule names; none for a metric alarm."""
    if not isinstance(alarm.spec, CompositeAlarm):
        return ()
    return tuple(dict.fromkeys(alarm_name(text, alarm.scope) for text in parse_rule(alarm.spec.rule).names))


def suppressor_of(alarm: Alarm) -> str | None:
    """Name of the alarm that suppresses a composite's actions."""
    spec = alarm.spec
    if not isinstance(spec, CompositeAlarm) or spec.suppressor is None:
        return None
    return alarm_name(spec.suppressor, alarm.scope)
