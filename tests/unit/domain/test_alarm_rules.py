"""The rules of composite alarms."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.domain.alarm_rules import CHILDREN_MAX, parse_rule
from clary.domain.alarms import AlarmValue
from clary.domain.errors import Invalid, NotServed

VALUES = {"a": AlarmValue.ALARM, "b": AlarmValue.OK, "c": AlarmValue.INSUFFICIENT_DATA, "odd ) name": AlarmValue.ALARM}


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("ALARM(a)", True),
        ('ALARM("a")', True),
        ("OK(a)", False),
        ("INSUFFICIENT_DATA(c)", True),
        ("ALARM(a) AND OK(b)", True),
        ("ALARM(a) AND ALARM(b)", False),
        ("ALARM(a) AND NOT ALARM(b)", True),
        ("NOT (ALARM(a) OR OK(b))", False),
        ("ALARM(b) AND ALARM(b) OR TRUE", True),
        ("TRUE OR ALARM(b) AND FALSE", True),
        ("(TRUE OR ALARM(b)) AND FALSE", False),
        ("NOT NOT ALARM(a)", True),
        ("false", False),
        ('ALARM("odd ) name")', True),
        ("ALARM(gone)", False),
        ("NOT ALARM(gone)", True),
    ],
)
def test_a_rule_holds_or_not(rule: str, holds: bool) -> None:
    assert parse_rule(rule).holds(VALUES) is holds


def test_names_and_arns_are_found_once_in_order() -> None:
    arn = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:x"
    assert parse_rule(f'OK(b) AND (ALARM(a) OR ALARM("{arn}") OR ALARM(b))').names == ("b", "a", arn)
    assert parse_rule(r'OK("say \"hi\"")').names == ('say "hi"',)


@pytest.mark.parametrize(
    "rule",
    [
        "ALARM(a) AND",
        "AND",
        "(ALARM(a)",
        "ALARM(a))",
        "ALARM()",
        "ALARM(a) ALARM(b)",
        " TRUE",
        "NEVER(a)",
        "NOT",
        "(" * 200,
    ],
)
def test_what_is_no_rule_is_refused(rule: str) -> None:
    with pytest.raises(Invalid, match="AlarmRule"):
        parse_rule(rule)


@pytest.mark.parametrize(
    "text", ["ALARM(" + " " * 10_000 + "(", 'ALARM("' + "\\\\" * 5_000, "ALARM(" + "a " * 5_000, "NOT " * 2_500]
)
def test_hostile_rules_are_refused_at_once(text: str) -> None:
    with pytest.raises(Invalid):
        parse_rule(text.strip())


def test_limits() -> None:
    with pytest.raises(Invalid, match="at most 100"):
        parse_rule(" OR ".join(f"ALARM(a{number})" for number in range(CHILDREN_MAX + 1)))
    with pytest.raises(Invalid, match="500 elements"):
        parse_rule(" OR ".join("TRUE" for _ in range(501)))
    with pytest.raises(Invalid, match="nested"):
        parse_rule("(" * 102 + "TRUE" + ")" * 102)
    with pytest.raises(NotServed, match="AT_LEAST"):
        parse_rule("AT_LEAST(2, ALARM, (a, b))")


terms = st.recursive(
    st.sampled_from(["ALARM(a)", "OK(a)", "ALARM(b)", "OK(b)", "TRUE", "FALSE"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(lambda parts: f"({' '.join(parts)})"),
        inner.map(lambda text: f"NOT {text}"),
    ),
    max_leaves=12,
)


@given(terms)
def test_it_agrees_with_python(rule: str) -> None:
    truth = {"ALARM(a)": True, "OK(a)": False, "ALARM(b)": False, "OK(b)": True, "TRUE": True, "FALSE": False}
    python = re.sub(r"\w+\(\w\)|TRUE|FALSE", lambda found: str(truth[found[0]]), rule)
    python = python.replace("AND", "and").replace("OR", "or").replace("NOT", "not")
    assert parse_rule(rule).holds(VALUES) is eval(python)
