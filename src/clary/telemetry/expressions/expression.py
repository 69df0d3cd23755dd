"""Expressions: compiled once, evaluated over any series. No I/O, no clock."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from clary.domain.errors import NotServed
from clary.telemetry.expressions import syntax
from clary.telemetry.expressions.errors import BadExpression
from clary.telemetry.expressions.functions import FUNCTIONS, NOT_SERVED, WORDS, Argument, Call
from clary.telemetry.expressions.search import Search, parse_search
from clary.telemetry.expressions.series import Array, Series, Term, Value, combined
from clary.telemetry.expressions.syntax import (
    ArrayOf,
    Invocation,
    Negation,
    Node,
    Number,
    Operation,
    Reference,
    Text,
    Word,
)
from clary.telemetry.statistics import Window

_OPERATORS: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "^": operator.pow,
    "==": lambda one, two: float(one == two),
    "!=": lambda one, two: float(one != two),
    "<": lambda one, two: float(one < two),
    "<=": lambda one, two: float(one <= two),
    ">": lambda one, two: float(one > two),
    ">=": lambda one, two: float(one >= two),
    "AND": lambda one, two: float(bool(one) and bool(two)),
    "OR": lambda one, two: float(bool(one) or bool(two)),
}
_OPERATORS |= {"&&": _OPERATORS["AND"], "||": _OPERATORS["OR"]}

ARRAY_MAX = 500
"""Series in one array ("a graph can display as many as 500 time series")."""
WORK_MAX = 10_000_000
"""Points that the expressions of one request go through in all: some seconds of work."""

Found = Mapping[Search, Sequence[Series]]
"""What each search found."""


@dataclass
class Work:
    """What a request's expressions may still do; each evaluation takes of it."""

    left: int = WORK_MAX

    def spend(self, points: int) -> None:
        """Before the work is done; BadExpression where it is too much."""
        self.left -= points
        if self.left < 0:
            raise BadExpression(
                f"It would go through more than {WORK_MAX} data points; ask for a longer period, a shorter time range "
                "or fewer metrics"
            )


@dataclass(frozen=True)
class Expression:
    """An expression whose text is right; `compile` makes it."""

    text: str
    references: frozenset[str]
    """Ids of metrics and expressions that it names."""
    metrics: bool
    """Whether METRICS() is in it: then it also takes the metrics of the request, by their ids."""
    searches: tuple[Search, ...]
    """What must be looked for in the store beforehand."""
    _root: Node

    def evaluate(
        self, env: Mapping[str, Value], window: Window, found: Found | None = None, work: Work | None = None
    ) -> Value:
        """A series, or an array of them.

        `env`: by id, what the request has so far; METRICS() takes the `stored` ones of it, in its order.
        `window`: whose periods FILL and TIME_SERIES go through; its period is the one of the expression.
        `found`: the series of each of `searches`. `work`: what the expressions of a request share.
        BadExpression for a reference that is missing and for terms that do not fit, as they are known only now.
        """
        term = _Evaluation(env, window, found or {}, work or Work()).term(self._root)
        if isinstance(term, float):
            raise BadExpression("The result must be a time series or an array of them, not a number")
        return term


def compile(text: str) -> Expression:
    """An expression of its text; BadExpression, and NotServed for what CloudWatch has and Clary has not."""
    root = syntax.parse(text)
    references: set[str] = set()
    searches: list[Search] = []
    metrics = False
    for node in syntax.walk(root):
        match node:
            case Reference(id):
                references.add(id)
            case Invocation("SEARCH", arguments):
                searches.append(_search(arguments))
            case Invocation("METRICS", arguments):
                metrics = True
                if len(arguments) > 1 or not all(isinstance(one, Text) for one in arguments):
                    raise BadExpression("METRICS takes nothing, or a text that the ids must have in them")
            case Invocation(name, _):
                _check_function(name)
            case _:
                pass
    _check_words(root)
    return Expression(text, frozenset(references), metrics, tuple(dict.fromkeys(searches)), root)


def _check_function(name: str) -> None:
    if name in NOT_SERVED:
        raise NotServed(f"The function {name}", NOT_SERVED[name])
    if name not in FUNCTIONS:
        more = f"; functions are written in capitals: {name.upper()}" if name.upper() in FUNCTIONS else ""
        raise BadExpression(f"Unknown function {name[:64]!r}{more}")


def _check_words(root: Node) -> None:
    """Texts and words stand as arguments only, and only those that there are."""
    values: list[Node] = [root]
    for node in syntax.walk(root):
        if isinstance(node, Word) and node.name not in WORDS:
            raise BadExpression(f"Unknown name {node.name[:64]!r}; ids begin with a small letter")
        if not isinstance(node, Invocation):
            values += syntax.below(node)
    for node in values:
        if isinstance(node, (Text, Word)):
            raise BadExpression(f"{node.value if isinstance(node, Text) else node.name!r} is no value")


def _search(arguments: tuple[Node, ...]) -> Search:
    match arguments:
        case (Text(text), Text(stat)):
            return parse_search(text, stat, None)
        case (Text(text), Text(stat), Number(period_s)):
            return parse_search(text, stat, period_s)
        case _:
            raise BadExpression("SEARCH takes a text to search for, a statistic in quotes and a period in seconds")


@dataclass(frozen=True)
class _Evaluation:
    env: Mapping[str, Value]
    window: Window
    found: Found
    work: Work

    def term(self, node: Node) -> Term:
        match node:
            case Number(value):
                return value
            case Reference(id):
                if id not in self.env:
                    raise BadExpression(f"Unknown id {id!r}")
                return self.env[id]
            case Negation(operand):
                return self._combined("*", -1.0, self.term(operand))
            case Operation():
                return self._operation(node)
            case ArrayOf(items):
                return self._array(items)
            case Invocation("METRICS", arguments):
                part = arguments[0].value if arguments and isinstance(arguments[0], Text) else ""
                return tuple(
                    one for id, one in self.env.items() if isinstance(one, Series) and one.stored and part in id
                )
            case Invocation("SEARCH", arguments):
                return tuple(self.found.get(_search(arguments), ()))
            case Invocation(name, arguments):
                given = [self._argument(name, one) for one in arguments]
                self.work.spend(sum(_points(one) for one in given))
                return FUNCTIONS[name](Call(name, given, self.window))
            case Text() | Word():
                raise BadExpression("A text or a word is no value")
            case _:
                assert_never(node)

    def _operation(self, node: Operation) -> Term:
        # Down the left side without recursion: a sum may have 500 terms.
        chain = [node]
        while isinstance(chain[-1].left, Operation):
            chain.append(chain[-1].left)
        term = self.term(chain[-1].left)
        for one in reversed(chain):
            term = self._combined(one.sign, term, self.term(one.right))
        return term

    def _combined(self, sign: str, one: Term, two: Term) -> Term:
        times = max(len(term) if isinstance(term, tuple) else 1 for term in (one, two))
        apart = (_points(term) * (1 if isinstance(term, tuple) else times) for term in (one, two))
        self.work.spend(sum(apart))
        return combined(_OPERATORS[sign], one, two, sign)

    def _array(self, items: tuple[Node, ...]) -> Array:
        members: list[Series] = []
        for item in items:
            term = self.term(item)
            if isinstance(term, float):
                raise BadExpression("An array holds time series, not numbers")
            members.extend((term,) if isinstance(term, Series) else term)
            if len(members) > ARRAY_MAX:
                raise BadExpression(f"An array holds at most {ARRAY_MAX} time series")
        return tuple(members)

    def _argument(self, name: str, node: Node) -> Argument:
        if isinstance(node, Word):
            return node.name
        if isinstance(node, Text):
            raise BadExpression(f"{name} takes no text")
        return self.term(node)


def _points(term: Argument) -> int:
    if isinstance(term, Series):
        return len(term.points)
    return sum(len(one.points) for one in term) if isinstance(term, tuple) else 0


def check(metrics: Collection[str], expressions: Mapping[str, Expression]) -> tuple[str, ...]:
    """The order in which the expressions of a request can be evaluated; BadExpression naming an unknown id or a circle.

    METRICS() takes metrics alone, so it makes no circle.
    """
    order: list[str] = []
    open_ids: list[str] = []

    def enter(id: str, whose: str) -> None:
        if id in metrics or id in order:
            return
        if id not in expressions:
            raise BadExpression(f"The expression {whose!r} refers to {id!r}, which the request lacks")
        if id in open_ids:
            raise BadExpression(f"The expressions {', '.join(map(repr, open_ids[open_ids.index(id) :]))} form a circle")
        open_ids.append(id)
        for below in sorted(expressions[id].references):
            enter(below, id)
        open_ids.pop()
        order.append(id)

    for id in expressions:
        enter(id, id)
    return tuple(order)


def evaluate_all(
    metrics: Mapping[str, Series],
    expressions: Mapping[str, Expression],
    windows: Callable[[str, int | None], Window],
    found: Found | None = None,
) -> dict[str, Value]:
    """What each expression results in, by id. `windows(id, period)`: the window of that expression, by the period
    of what it combines, None where that is nothing.

    BadExpression names the expression at fault.
    """
    env: dict[str, Value] = dict(metrics)
    work = Work()
    for id in check(metrics.keys(), expressions):
        expression = expressions[id]
        try:
            env[id] = expression.evaluate(env, windows(id, period_of(expression, env, found or {})), found, work)
        except BadExpression as error:
            raise BadExpression(f"Error in expression {id!r}: {error.message}") from None
    return {id: env[id] for id in expressions}


def period_of(expression: Expression, env: Mapping[str, Value], found: Found) -> int | None:
    """The period of what an expression combines; None where it combines nothing. The first of several."""
    terms: list[Value] = [env[id] for id in sorted(expression.references) if id in env]
    if expression.metrics:
        terms += [one for one in env.values() if isinstance(one, Series) and one.stored]
    terms += [tuple(found.get(search, ())) for search in expression.searches]
    members = [one for term in terms for one in (term if isinstance(term, tuple) else (term,))]
    return members[0].period_s if members else None
