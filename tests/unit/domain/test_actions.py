"""What an action may be."""

from __future__ import annotations

import pytest

from clary.domain.actions import ActionSpec, check_action, function_name
from clary.domain.errors import Invalid

ACCOUNT = "123456789012"
RIGHT = [
    ActionSpec(command=("true",)),
    ActionSpec(command=("/usr/bin/env", "x"), role=f"arn:aws:iam::{ACCOUNT}:role/any"),
    ActionSpec(url="https://user:secret@example.org:8443/a?b=c", timeout_s=900, retries=10),
]
WRONG = [
    (ActionSpec(), "exactly one"),
    (ActionSpec(command=("a",), url="http://a/"), "exactly one"),
    (ActionSpec(command=("bin/a",)), "absolute path"),
    (ActionSpec(command=("",)), "absolute path"),
    (ActionSpec(command=("a\0",)), "at most 64 words"),
    (ActionSpec(command=("a",) * 65), "at most 64 words"),
    (ActionSpec(url="ftp://a/"), "must be http"),
    (ActionSpec(url="http://"), "must be http"),
    (ActionSpec(url="http://a:99999/"), "must be http"),
    (ActionSpec(url="http://a/\r\nx: y"), "must be http"),
    (ActionSpec(command=("a",), timeout_s=0.5), "1 to 900 seconds"),
    (ActionSpec(command=("a",), timeout_s=901), "1 to 900 seconds"),
    (ActionSpec(command=("a",), retries=11), "0 to 10 times"),
    (ActionSpec(url="http://a/", role=f"arn:aws:iam::{ACCOUNT}:role/any"), "gets no credentials"),
    (ActionSpec(command=("a",), role="any"), "not the ARN of a role"),
    (ActionSpec(command=("a",), role="arn:aws:iam::999999999999:role/any"), "not the ARN of a role"),
]


@pytest.mark.parametrize("spec", RIGHT)
def test_what_may_be(spec: ActionSpec) -> None:
    check_action("a-Name_1", spec, ACCOUNT)


@pytest.mark.parametrize(("spec", "why"), WRONG)
def test_what_may_not(spec: ActionSpec, why: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_action("name", spec, ACCOUNT)
    assert why in refused.value.message


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a" * 65, "é"])
def test_names(name: str) -> None:
    with pytest.raises(Invalid, match="The name of an action"):
        check_action(name, RIGHT[0], ACCOUNT)


def test_arns_of_functions() -> None:
    assert function_name(f"arn:aws:lambda:eu-west-3:{ACCOUNT}:function:f", ACCOUNT) == "f"
    assert function_name(f"arn:aws:lambda:eu-west-3:{ACCOUNT}:function:f", "999999999999") is None
    assert function_name(f"arn:aws:lambda:eu-west-3:{ACCOUNT}:function:f:1", ACCOUNT) is None
