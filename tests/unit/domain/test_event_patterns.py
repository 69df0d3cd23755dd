"""Event patterns. Cases: EventBridge user guide, "Comparison operators for use in event patterns"."""

from __future__ import annotations

import fnmatch
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.domain.errors import Invalid
from clary.domain.event_patterns import matches, parse

EVENT: dict[str, Any] = {
    "source": "aws.sagemaker",
    "resources": ["arn:1", "arn:2"],
    "detail": {
        "state": "initializing",
        "region": "us-east-1",
        "file": "dir/a.png",
        "count": 3,
        "price": 10.5,
        "nothing": None,
        "empty": "",
        "on": True,
        "ip": "10.0.0.7",
        "variants": [{"name": "A", "weight": 1}, {"name": "B", "weight": 2}],
    },
}

CASES: list[tuple[Any, bool]] = [
    ({"source": ["aws.sagemaker"]}, True),
    ({"source": ["aws.ec2", "aws.sagemaker"]}, True),
    ({"source": ["aws.ec2"]}, False),
    ({"source": ["aws.sagemaker"], "detail": {"state": ["other"]}}, False),
    ({"resources": ["arn:2"]}, True),
    ({"resources": ["arn:3"]}, False),
    ({"detail": {"count": [3]}}, True),
    ({"detail": {"count": [3.0]}}, True),
    ({"detail": {"count": ["3"]}}, False),
    ({"detail": {"on": [True]}}, True),
    ({"detail": {"on": [1]}}, False),
    ({"detail": {"count": [True]}}, False),
    ({"detail": {"nothing": [None]}}, True),
    ({"detail": {"empty": [""]}}, True),
    ({"detail": {"missing": [None]}}, False),
    ({"detail": {"state": [{"prefix": "init"}]}}, True),
    ({"detail": {"state": [{"prefix": {"equals-ignore-case": "INIT"}}]}}, True),
    ({"detail": {"file": [{"suffix": ".png"}]}}, True),
    ({"detail": {"file": [{"suffix": {"equals-ignore-case": ".PNG"}}]}}, True),
    ({"detail": {"state": [{"equals-ignore-case": "INITIALIZING"}]}}, True),
    ({"detail": {"state": [{"anything-but": "initializing"}]}}, False),
    ({"detail": {"state": [{"anything-but": ["a", "b"]}]}}, True),
    ({"detail": {"count": [{"anything-but": [1, 2]}]}}, True),
    ({"detail": {"count": [{"anything-but": 3}]}}, False),
    ({"detail": {"missing": [{"anything-but": "x"}]}}, False),
    ({"detail": {"region": [{"anything-but": {"prefix": "us-"}}]}}, False),
    ({"detail": {"file": [{"anything-but": {"suffix": [".jpg", ".gif"]}}]}}, True),
    ({"detail": {"file": [{"anything-but": {"wildcard": "*/b*"}}]}}, True),
    ({"detail": {"state": [{"anything-but": {"equals-ignore-case": "INITIALIZING"}}]}}, False),
    ({"resources": [{"anything-but": "arn:1"}]}, True),
    ({"detail": {"price": [{"numeric": [">", 10, "<=", 20]}]}}, True),
    ({"detail": {"price": [{"numeric": ["=", 10.5]}]}}, True),
    ({"detail": {"price": [{"numeric": ["<", 10.5]}]}}, False),
    ({"detail": {"state": [{"numeric": [">", 0]}]}}, False),
    ({"detail": {"state": [{"exists": True}]}}, True),
    ({"detail": {"state": [{"exists": False}]}}, False),
    ({"detail": {"missing": [{"exists": False}]}}, True),
    ({"gone": {"missing": [{"exists": False}]}}, True),
    ({"detail": {"ip": [{"cidr": "10.0.0.0/24"}]}}, True),
    ({"detail": {"ip": [{"cidr": "10.0.1.0/24"}]}}, False),
    ({"detail": {"state": [{"cidr": "10.0.0.0/24"}]}}, False),
    ({"detail": {"file": [{"wildcard": "dir/*.png"}]}}, True),
    ({"detail": {"file": [{"wildcard": "*"}]}}, True),
    ({"detail": {"file": [{"wildcard": "dir/\\*.png"}]}}, False),
    ({"detail": {"variants": {"name": ["B"]}}}, True),
    ({"detail": {"variants": {"name": ["C"]}}}, False),
    ({"$or": [{"source": ["x"]}, {"detail": {"count": [{"numeric": [">", 2]}]}}]}, True),
    ({"detail": {"$or": [{"state": ["x"]}, {"region": ["y"]}]}}, False),
]


@pytest.mark.parametrize(("pattern", "wanted"), CASES, ids=[json.dumps(pattern) for pattern, _ in CASES])
def test_what_a_pattern_wants(pattern: Any, wanted: bool) -> None:
    assert matches(parse(json.dumps(pattern)), EVENT) is wanted


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is not JSON"),
        ("[]", "it must be an object"),
        ("{}", "Empty objects"),
        ('{"a": []}', "Empty arrays"),
        ('{"a": "b"}', '"a" must be an object or an array'),
        ('{"a": [["b"]]}', "arrays within arrays"),
        ('{"a": [{"starts": "b"}]}', "Unrecognized match type starts"),
        ('{"a": [{"prefix": "b", "suffix": "c"}]}', "only one key"),
        ('{"a": [{"prefix": 1}]}', "the value of prefix"),
        ('{"a": [{"exists": "yes"}]}', "the value of exists"),
        ('{"a": [{"numeric": [">", "1"]}]}', "the value of numeric"),
        ('{"a": [{"numeric": ["<", 1, ">", 0]}]}', "the value of numeric"),
        ('{"a": [{"cidr": "x"}]}', "the value of cidr"),
        ('{"a": [{"wildcard": "a**b"}]}', "never two in a row"),
        ('{"a": [{"anything-but": []}]}', "anything-but takes"),
        ('{"a": [{"anything-but": ["a", 1]}]}', "anything-but takes"),
        ('{"a": [{"anything-but": {"numeric": [">", 1]}}]}', "anything-but takes prefix"),
        ('{"a": [NaN]}', "no number of JSON"),
        ('{"a": ' * 40 + "[1]" + "}" * 40, "nested deeper"),
        ("[" * 100_000, "it is not JSON"),
    ],
)
def test_what_is_no_pattern_is_refused(text: str, why: str) -> None:
    with pytest.raises(Invalid, match="Event pattern is not valid") as refused:
        parse(text)
    assert why in refused.value.message


letters = st.text("ab/", max_size=8)


@given(st.lists(letters, min_size=1, max_size=4), st.text("ab/", max_size=20))
def test_wildcards_are_those_of_a_shell(parts: list[str], value: str) -> None:
    pattern = "*".join(parts)
    try:
        parsed = parse(json.dumps({"a": [{"wildcard": pattern}]}))
    except Invalid:
        assert "**" in pattern
        return
    assert matches(parsed, {"a": value}) == fnmatch.fnmatchcase(value, pattern)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "$or", "prefix", "anything-but", "exists", "numeric"]), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(json_values, json_values)
def test_any_json_is_a_pattern_or_refused(pattern: Any, event: Any) -> None:
    try:
        parsed = parse(json.dumps(pattern))
    except Invalid:
        return
    assert matches(parsed, event) in (True, False)
    assert matches(parsed, {"a": event}) in (True, False)
