"""The text of an expression: tokens and a tree. A Pratt parser, after "Using metric math" in CloudWatch's guide."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from clary.domain.errors import NotServed
from clary.telemetry.expressions.errors import BadExpression

CHARS_MAX = 2048
"""Of one expression (API reference, MetricDataQuery)."""
DEPTH_MAX = 64
"""Nesting of parentheses, arrays and functions."""

_TOKEN = re.compile(
    r"""(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<text>'[^']*'|"[^"]*")
    |(?P<sign>==|!=|<=|>=|&&|\|\||[-+*/^<>()\[\],])
    |(?P<blank>\s+)""",
    re.VERBOSE,
)

BINARY = {
    "OR": 1, "||": 1, "AND": 2, "&&": 2, "==": 3, "!=": 3, "<": 4, ">": 4, "<=": 4, ">=": 4,
    "+": 5, "-": 5, "*": 6, "/": 6, "^": 8,
}  # fmt: skip
"""How tightly an operator binds. A sign before a number binds at 7: -2^2 is -4."""
_SIGN = 7


@dataclass(frozen=True)
class Number:
    value: float


@dataclass(frozen=True)
class Text:
    value: str


@dataclass(frozen=True)
class Reference:
    """The id of a metric or of another expression."""

    id: str


@dataclass(frozen=True)
class Word:
    """A name in capitals that is no call: REPEAT, LINEAR, AVG in SORT, DESC."""

    name: str


@dataclass(frozen=True)
class Negation:
    operand: Node


@dataclass(frozen=True)
class Operation:
    sign: str
    left: Node
    right: Node


@dataclass(frozen=True)
class ArrayOf:
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Invocation:
    name: str
    arguments: tuple[Node, ...]


Node = Number | Text | Reference | Word | Negation | Operation | ArrayOf | Invocation


def parse(text: str) -> Node:
    """The tree of an expression; BadExpression, or NotServed for a query of Metrics Insights."""
    if len(text) > CHARS_MAX:
        raise BadExpression(f"An expression has at most {CHARS_MAX} characters")
    if re.match(r"\s*SELECT\s", text, re.IGNORECASE):
        raise NotServed("A Metrics Insights query", "Use metric math, with SEARCH to find metrics.")
    return _Parser(text).whole()


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it, from left to right. Without recursion: a sum may have 500 terms."""
    left = [node]
    while left:
        one = left.pop()
        yield one
        left += reversed(below(one))


def below(node: Node) -> tuple[Node, ...]:
    """The nodes right below."""
    match node:
        case Negation(operand):
            return (operand,)
        case Operation(_, first, second):
            return (first, second)
        case ArrayOf(items) | Invocation(_, items):
            return items
        case _:
            return ()


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise BadExpression(f"Unexpected character {text[at]!r} at position {at + 1}")
        if found.lastgroup != "blank":
            yield _Token(str(found.lastgroup), found[0], at)
        at = found.end()
    yield _Token("end", "", at)


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0
        self._depth = 0

    def whole(self) -> Node:
        node = self._expression(0)
        if self._now.kind != "end":
            raise self._unexpected()
        return node

    @property
    def _now(self) -> _Token:
        return self._tokens[self._at]

    def _take(self, text: str) -> bool:
        if self._now.kind in ("sign", "name") and self._now.text == text:
            self._at += 1
            return True
        return False

    def _need(self, text: str) -> None:
        if not self._take(text):
            raise self._unexpected(f", expected {text!r}")

    def _unexpected(self, more: str = "") -> BadExpression:
        found = self._now
        what = "end of the expression" if found.kind == "end" else repr(found.text)
        return BadExpression(f"Unexpected {what} at position {found.at + 1}{more}")

    def _expression(self, floor: int) -> Node:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise BadExpression(f"It is nested deeper than {DEPTH_MAX} levels")
        node = self._operand()
        while self._now.kind in ("sign", "name"):
            sign = self._now.text
            binds = BINARY.get(sign, 0)
            if binds <= floor:
                break
            self._at += 1
            # `^` alone groups to the right.
            node = Operation(sign, node, self._expression(binds - 1 if sign == "^" else binds))
        self._depth -= 1
        return node

    def _operand(self) -> Node:
        token = self._now
        if self._take("-"):
            return Negation(self._expression(_SIGN - 1))
        if self._take("+"):
            return self._expression(_SIGN - 1)
        if self._take("("):
            node = self._expression(0)
            self._need(")")
            return node
        if self._take("["):
            return ArrayOf(self._list("]"))
        if token.kind not in ("number", "text", "name") or token.text in BINARY:
            raise self._unexpected()
        self._at += 1
        if token.kind == "number":
            return Number(float(token.text))
        if token.kind == "text":
            return Text(token.text[1:-1])
        if self._take("("):
            return Invocation(token.text, self._list(")"))
        return Reference(token.text) if token.text[0].islower() else Word(token.text)

    def _list(self, end: str) -> tuple[Node, ...]:
        if self._take(end):
            return ()
        items = [self._expression(0)]
        while self._take(","):
            items.append(self._expression(0))
        self._need(end)
        return tuple(items)
