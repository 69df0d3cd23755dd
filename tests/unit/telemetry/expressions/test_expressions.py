"""Metric math: the examples of its page in CloudWatch's user guide, and properties against plain Python."""

import contextlib
import math
import operator
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.domain.errors import NotServed
from clary.telemetry import expressions
from clary.telemetry.expressions import BadExpression, Names, Series, Value
from clary.telemetry.statistics import Window

WINDOW = Window(0, 300, 60)


def series(*values: float | None, period_s: int = 60, stored: bool = True, label: str = "") -> Series:
    points = {at * period_s: value for at, value in enumerate(values) if value is not None}
    return Series(points, period_s, label, stored=stored)


def shown(value: Value) -> Any:
    if isinstance(value, tuple):
        return [shown(one) for one in value]
    return [value.points.get(at) for at in range(0, 300, 60)]


def evaluate(text: str, **env: Value) -> Any:
    return shown(expressions.compile(text).evaluate(env, WINDOW))


M1 = series(30, 20, 0, 0)
M2 = series(20, None, 20, None)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("m1 < m2", [0, 0, 1, 0, None]),
        ("m1 >= 30", [1, 0, 0, 0, None]),
        ("m1 > 15 AND m2 > 15", [1, 0, 0, 0, None]),
        ("m1 > 25 || m2 == 20", [1, 0, 1, 0, None]),
        ("m1 != 0 && m2 <= 0", [0, 0, 0, 0, None]),
        ("m1 + m2", [50, 20, 20, 0, None]),
        ("m1 / m2", [1.5, None, 0, None, None]),
        ("100 / m1", [100 / 30, 5, None, None, None]),
        ("-m1", [-30, -20, 0, 0, None]),
        ("PERIOD(m1) / 60 + m1", [31, 21, 1, 1, None]),
        ("m1 - AVG(m1)", [17.5, 7.5, -12.5, -12.5, None]),
        ("SUM([m1, m2])", [50, 20, 20, 0, None]),
        ("AVG([m1, m2])", [25, 10, 10, 0, None]),
        ("MIN([m1, m2])", [20, 20, 0, 0, None]),
        ("MAX([m1, m2])", [30, 20, 20, 0, None]),
        ("STDDEV([m1, m2])", [5, 0, 10, 0, None]),
        ("DATAPOINT_COUNT([m1, m2])", [2, 1, 2, 1, None]),
        ("[m1, m2] * 2", [[60, 40, 0, 0, None], [40, None, 40, None, None]]),
        ("m2 - METRICS()", [[-10, -20, 20, 0, None], [0, None, 0, None, None]]),
        ("SUM(METRICS('2'))", [20, None, 20, None, None]),
        ('METRICS("m")', [[30, 20, 0, 0, None], [20, None, 20, None, None]]),
        ("ABS(-m2)", [20, None, 20, None, None]),
        ("CEIL(m1 / 20)", [2, 1, 0, 0, None]),
        ("FLOOR(m1 / 20)", [1, 1, 0, 0, None]),
        ("LOG(m1)", [math.log(30), math.log(20), None, None, None]),
        ("LOG10(m2 * 5)", [2, None, 2, None, None]),
        ("DIFF(m1)", [None, -10, -20, 0, None]),
        ("DIFF_TIME(m2)", [None, None, 120, None, None]),
        ("RATE(m1 * 6)", [None, -1, -2, 0, None]),
        ("RUNNING_SUM(m2)", [20, None, 40, None, None]),
        ("FILL(m2, 7)", [20, 7, 20, 7, 7]),
        ("FILL(m2, m1)", [20, 20, 20, 0, None]),
        ("FILL(m2, REPEAT)", [20, 20, 20, 20, 20]),
        ("FILL(m2 - m1, LINEAR)", [-10, -20, 20, 0, None]),
        ("FILL(IF(m1 != 20, m1), LINEAR)", [30, 15, 0, 0, None]),
        ("FILL(m1, MIN(m1))", [30, 20, 0, 0, 0]),
        ("TIME_SERIES(MAX(m1))", [30] * 5),
        ("MINUTE(m2)", [0, 1, 2, 3, 4]),
        ("HOUR(m1)", [0] * 5),
        ("DAY(m1)", [4] * 5),
        ("DATE(m1)", [1] * 5),
        ("MONTH(m1)", [1] * 5),
        ("YEAR(m1)", [1970] * 5),
        ("EPOCH(m1)", [0, 60, 120, 180, 240]),
        ("IF(DAY(m1) < 6, m1)", [30, 20, 0, 0, None][:4] + [0]),
        ("IF(m1 < 25, m1)", [None, 20, 0, 0, None]),
        ("IF(m1 < 25, 10, 2)", [2, 10, 10, 10, None]),
        ("IF(m1, m2, 9)", [20, 0, 9, 9, None]),
        ("IF(m1, 5, m2)", [5, 5, 20, None, None]),
        ("IF(1, m1, m2)", [30, 20, 0, 0, None]),
        ("IF(0, m1, m2)", [20, None, 20, None, None]),
        ("IF(0, m1)", [None] * 5),
        ("SORT(METRICS(), AVG, DESC)", [[20, None, 20, None, None], [30, 20, 0, 0, None]]),
        ("SORT([m1, m2], MAX, DESC, 1)", [[30, 20, 0, 0, None]]),
        ("SLICE(METRICS(), 1)", [[20, None, 20, None, None]]),
        ("SLICE(METRICS(), 0, 1)", [[30, 20, 0, 0, None]]),
        ("FIRST(METRICS())", [30, 20, 0, 0, None]),
        ("LAST(METRICS())", [20, None, 20, None, None]),
        ("LAST(REMOVE_EMPTY([m1, IF(0, m1)]))", [30, 20, 0, 0, None]),
        ("m1 / METRIC_COUNT(METRICS())", [15, 10, 0, 0, None]),
        ("SUM(SORT(100 / [m1], SUM, ASC))", [100 / 30, 5, None, None, None]),
        ("m1*0 - 2^2", [-4] * 4 + [None]),
        ("m1*0 + -2^2", [-4] * 4 + [None]),
        ("m1*0 + 2^3^0", [2] * 4 + [None]),
        ("m1*0 + 2^-1", [0.5] * 4 + [None]),
        ("m1*0 + (0-8)^(1/3)", [None] * 5),
        ("m1*0 + 1 - 2 - 3", [-4] * 4 + [None]),
        ("m1*0 + 1 + 2 * 3 > 6 AND 1", [1] * 4 + [None]),
    ],
)
def test_the_functions_of_the_user_guide(text: str, result: list[float | None]) -> None:
    assert evaluate(text, m1=M1, m2=M2) == result


@pytest.mark.parametrize(
    ("then", "otherwise", "result"),
    [
        ("m2", "m3", [30, 0, 20, None, None]),
        ("5", "m3", [5, 5, 20, None, None]),
        ("m2", "5", [30, 0, 5, 5, None]),
    ],
)
def test_the_tables_of_if(then: str, otherwise: str, result: list[float | None]) -> None:
    """Own numbers in the layout of the guide's three tables."""
    env = {"m1": series(1, 1, 0, 0), "m2": series(30, None, 0, 0, 30), "m3": series(0, 0, 20, None, 20)}
    assert evaluate(f"IF(m1, {then}, {otherwise})", **env) == result


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Unexpected end of the expression at position 1"),
        ("m1 +", "Unexpected end of the expression at position 5"),
        ("m1 m2", "Unexpected 'm2' at position 4"),
        ("(m1", "Unexpected end of the expression at position 4, expected ')'"),
        ("m1 $ 2", "Unexpected character '$' at position 4"),
        ("m1 * \u0662", "Unexpected character '\u0662' at position 6"),
        ("avg(m1)", "Unknown function 'avg'; functions are written in capitals: AVG"),
        ("FOO(m1)", "Unknown function 'FOO'"),
        ("M1 + 1", "Unknown name 'M1'; ids begin with a small letter"),
        ("m1 + REPEAT", "'REPEAT' is no value"),
        ("METRICS(m1)", "METRICS takes nothing, or a text"),
        ("SEARCH(m1)", "SEARCH takes a text to search for"),
        ("SEARCH('{A', 'Sum', 60)", "the metric schema must be"),
        ("SEARCH('', 'Sum', 60)", "give a namespace in braces"),
        ("SEARCH('{A}', 'Nope', 60)", "'Nope' is not a valid statistic"),
        ("SEARCH('{A}', 'Sum', 61)", "the period must be"),
        ("(" * 70 + "m1" + ")" * 70, "nested deeper than 64 levels"),
        ("m1" + " " * 2048, "at most 2048 characters"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused_with_its_place(text: str, words: str) -> None:
    with pytest.raises(BadExpression, match=re.escape(words)):
        expressions.compile(text)


@pytest.mark.parametrize(
    "text", ["ANOMALY_DETECTION_BAND(m1)", "INSIGHT_RULE_METRIC('a', 'b')", "SELECT AVG(x) FROM y"]
)
def test_what_is_not_served_is_refused_by_name(text: str) -> None:
    with pytest.raises(NotServed):
        expressions.compile(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("m3 + 1", "Unknown id 'm3'"),
        ("AVG(m1)", "must be a time series"),
        ("1 + 2", "must be a time series"),
        ("[m1, 1]", "An array holds time series"),
        ("[m1] + [m2]", "cannot combine two arrays"),
        ("AVG(m1, m2)", "AVG takes 1 argument, not 2"),
        ("FILL(m1)", "FILL takes 2 arguments, not 1"),
        ("IF(m1)", "IF takes 2 to 3 arguments, not 1"),
        ("ABS(1)", "ABS takes a time series or an array"),
        ("PERIOD(m1 + 1) * m1", "PERIOD takes a metric"),
        ("SORT([m1], LINEAR, ASC)", "SORT takes one of AVG"),
        ("SORT([m1], SUM, REPEAT)", "SORT takes one of ASC, DESC"),
        ("SLICE([m1], 1.5)", "whole number"),
        ("IF([m1], m1)", "IF takes time series and numbers"),
        ("FIRST(m1)", "FIRST takes an array"),
        ("m1 + m5", "periods of 60 and 300 seconds"),
    ],
)
def test_terms_that_do_not_fit_are_refused(text: str, words: str) -> None:
    with pytest.raises(BadExpression, match=words):
        evaluate(text, m1=M1, m2=M2, m5=series(1, period_s=300))


def test_what_would_be_too_much_is_refused_before_it_is_done() -> None:
    long = Series(dict.fromkeys(range(0, 60 * 50_000, 60), 1.0), 60, stored=True)
    wide = tuple([long] * 500)
    with pytest.raises(BadExpression, match="at most 500 time series"):
        evaluate("[a, m1]", a=wide, m1=M1)
    with pytest.raises(BadExpression, match="more than 10000000 data points"):
        evaluate("a * 2", a=wide)
    with pytest.raises(BadExpression, match="more than 10000000 data points"):
        evaluate("a + m1", a=tuple([M1] * 500), m1=long)
    with pytest.raises(BadExpression, match="more than 10000000 data points"):
        evaluate("SUM(a)", a=wide)
    year = Window(0, 365 * 86400, 1)
    for text in ("TIME_SERIES(1)", "FILL(m1, 0)", "HOUR(m1)"):
        with pytest.raises(BadExpression, match="may make 504000"):
            expressions.compile(text).evaluate({"m1": series(1, period_s=1)}, year)
    with pytest.raises(BadExpression, match="may make 504000"):
        expressions.compile("FILL(a, 0)").evaluate({"a": tuple([M1] * 500)}, Window(0, 86400, 60))


def test_the_expressions_of_a_request_share_what_they_may_do() -> None:
    made = {f"e{number}": expressions.compile("+".join(["m1"] * 100)) for number in range(30)}
    metric = Series(dict.fromkeys(range(0, 60 * 2000, 60), 1.0), 60, stored=True)
    with pytest.raises(BadExpression, match=r"Error in expression .* more than 10000000 data points"):
        expressions.evaluate_all({"m1": metric}, made, lambda _, __: WINDOW)


def test_a_sum_of_hundreds_of_terms_is_no_recursion() -> None:
    assert evaluate("+".join(["m1"] * 600), m1=M1)[0] == 18_000


def test_an_array_keeps_the_labels_of_its_members() -> None:
    env = {"m1": series(1, label="one"), "m2": series(2, label="two")}
    value = expressions.compile("METRICS() * 2").evaluate(env, WINDOW)
    assert isinstance(value, tuple)
    assert [one.label for one in value] == ["one", "two"]
    assert not any(one.stored for one in value)


def test_a_request_is_evaluated_in_the_order_of_its_references() -> None:
    made = {"e2": expressions.compile("e1 * 2"), "e1": expressions.compile("SUM(METRICS()) + 1")}
    assert made["e2"].references == {"e1"}
    results = expressions.evaluate_all({"m1": M1}, made, lambda _, period_s: Window(0, 300, period_s or 1))
    assert shown(results["e2"]) == [62, 42, 2, 2, None]
    assert list(results) == ["e2", "e1"]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ({"e1": "e2", "e2": "e3", "e3": "e1"}, "form a circle"),
        ({"e1": "e1 + 1"}, "form a circle"),
        ({"e1": "m9 + 1"}, "'e1' refers to 'm9', which the request lacks"),
    ],
)
def test_circles_and_strangers_are_refused(texts: dict[str, str], words: str) -> None:
    with pytest.raises(BadExpression, match=words):
        expressions.check({"m1"}, {id: expressions.compile(text) for id, text in texts.items()})


# -- SEARCH ------------------------------------------------------------------------------------------------------------

CUSTOM = Names("Mine/App", "CustomCount1", (("Host", "Network-Errors-2"), ("Stage", "prod")))


@pytest.mark.parametrize(
    ("terms", "found"),
    [
        ("count", True),
        ("COUNT", True),
        ("couNT", False),
        ("CustomCount", True),
        ("Count1", True),
        ("customcount", False),
        ("count1", False),
        ('"CustomCount1"', True),
        ('"customcount1"', False),
        ('"Custom"', False),
        ("{Mine/App,Host,Stage} count", True),
        ("{Mine/App,Host} count", False),
        ('{"Mine/App", Host, "Stage"}, "CustomCount1"', True),
        ("{Mine} count", False),
        ("MetricName=count", True),
        ("Namespace=count", False),
        ('Host="Network-Errors-2"', True),
        ("Network/Errors", True),
        ("Errors/Network", False),
        ("Stage=prod Host=errors", True),
        ("Stage=prod AND Host=nothing", False),
        ("nothing OR prod", True),
        ("NOT Namespace=AWS", True),
        ("count NOT prod", False),
        ("(nothing OR custom) AND (prod OR dev)", True),
        ("stage", True),
    ],
)
def test_searches(terms: str, found: bool) -> None:
    (search,) = expressions.compile(f"SEARCH('{terms}', 'p90', 60)").searches
    assert search.matches(CUSTOM) is found


def test_what_a_search_found_is_an_array() -> None:
    expression = expressions.compile("SUM(SEARCH('{A}', 'Sum', 60)) + SUM(SEARCH('{A}', 'Sum', 60))")
    (search,) = expression.searches
    assert shown(expression.evaluate({}, WINDOW, {search: [M1, M2]})) == [100, 40, 40, 0, None]


@pytest.mark.parametrize("terms", ["AND a", "a OR", "(a", "a)", "NOT", "=a", '"a'])
def test_terms_that_cannot_be_read(terms: str) -> None:
    with pytest.raises(BadExpression, match="SEARCH"):
        expressions.compile(f"SEARCH('{terms}', 'Sum', 60)")


# -- properties --------------------------------------------------------------------------------------------------------

NUMBERS = st.integers(-50, 50).map(float)
SERIES = st.lists(st.none() | NUMBERS, min_size=5, max_size=5).map(lambda values: series(*values))
SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
Model = list[float | None]


def _plain(text: Any, env: dict[str, list[float | None]]) -> Model | float:
    """The same expression as lists of numbers: the rules in the plainest words."""
    if isinstance(text, float):
        return text
    if isinstance(text, str):
        return env[text]
    sign, one, two = text
    left, right = _plain(one, env), _plain(two, env)

    def apply(a: float | None, b: float | None) -> float | None:
        if a is None and b is None:
            return None
        try:
            return SIGNS[sign](a or 0.0, b or 0.0)
        except ZeroDivisionError:
            return None

    if isinstance(left, float) and isinstance(right, float):
        value = apply(left, right)
        return math.nan if value is None else value
    if isinstance(left, float):
        assert isinstance(right, list)
        return [None if math.isnan(left) or b is None else apply(left, b) for b in right]
    if isinstance(right, float):
        return [None if math.isnan(right) or a is None else apply(a, right) for a in left]
    return [apply(a, b) for a, b in zip(left, right, strict=True)]


def _written(text: Any) -> str:
    if isinstance(text, tuple):
        return f"({_written(text[1])} {text[0]} {_written(text[2])})"
    return repr(text) if isinstance(text, float) else text


TREES = st.recursive(
    NUMBERS | st.sampled_from(["m1", "m2", "m3"]),
    lambda below: st.tuples(st.sampled_from(sorted(SIGNS)), below, below),
    max_leaves=12,
)


@given(TREES, SERIES, SERIES, SERIES)
def test_arithmetic_is_that_of_plain_python(tree: Any, m1: Series, m2: Series, m3: Series) -> None:
    env = {"m1": m1, "m2": m2, "m3": m3}
    lists: dict[str, Model] = {id: shown(one) for id, one in env.items()}
    model = _plain(tree, lists)
    text = _written(tree)
    if isinstance(model, float):
        text, model = f"TIME_SERIES({text})", [None if math.isnan(model) else model] * 5
    assert evaluate(text, **env) == pytest.approx(model, nan_ok=True)


@given(SERIES)
def test_series_functions_agree_with_plain_python(m1: Series) -> None:
    values = list(m1.points.values())
    total = math.fsum(values)
    running = [math.fsum(values[: at + 1]) for at in range(len(values))]
    assert [v for v in evaluate("RUNNING_SUM(m1)", m1=m1) if v is not None] == pytest.approx(running)
    assert evaluate("TIME_SERIES(SUM(m1))", m1=m1) == pytest.approx([total] * 5)
    if values:
        # DIFF undone by RUNNING_SUM is what it was, from the second point on.
        back = [v for v in evaluate("RUNNING_SUM(DIFF(m1))", m1=m1) if v is not None]
        assert back == pytest.approx([value - values[0] for value in values[1:]])
    filled = evaluate("FILL(m1, 3)", m1=m1)
    assert filled == [3 if value is None else value for value in shown(m1)]
    assert all(value is not None for value in filled)


@given(st.text(max_size=60))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    with contextlib.suppress(BadExpression, NotServed):
        expression = expressions.compile(text)
        expression.evaluate(dict.fromkeys(expression.references, M1), WINDOW)


@given(
    st.lists(st.sampled_from(["m1", "(", ")", "[", "]", ",", "+", "-", "^", "AVG", "IF", "METRICS", "1", "'a'", "<"]))
)
def test_any_tokens_are_an_expression_or_refused(parts: list[str]) -> None:
    with contextlib.suppress(BadExpression, NotServed):
        expressions.compile(" ".join(parts)).evaluate({"m1": M1, "m2": M2}, WINDOW)
