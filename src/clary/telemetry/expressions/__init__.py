"""Metric math, pure: text in, time series out.

    expression = compile("IF(requests > 0, errors / requests * 100, 0)")
    expression.references                       # {"errors", "requests"}
    expression.evaluate({"errors": ..., "requests": ...}, window)

Whoever uses it fetches the metrics (`telemetry.statistics.series_of`), and what `searches` ask for, beforehand.
`evaluate_all` does a whole request, whose expressions refer to each other, in the right order.
"""

from clary.telemetry.expressions.errors import BadExpression
from clary.telemetry.expressions.expression import Expression, check, compile, evaluate_all
from clary.telemetry.expressions.search import Names, Search
from clary.telemetry.expressions.series import Array, Series, Value

__all__ = (
    "Array",
    "BadExpression",
    "Expression",
    "Names",
    "Search",
    "Series",
    "Value",
    "check",
    "compile",
    "evaluate_all",
)
