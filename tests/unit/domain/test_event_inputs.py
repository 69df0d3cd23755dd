"""What targets are sent. Templates: EventBridge user guide, "Amazon EventBridge input transformation"."""

from __future__ import annotations

from typing import Any

import pytest

from clary.domain.errors import Invalid
from clary.domain.event_inputs import TargetSpec, check_target, input_for

EVENT: dict[str, Any] = {
    "id": "1",
    "time": "2026-01-01T00:00:00Z",
    "detail": {"instance": "i-0", "state": 'say "hi"', "tags": ["a", "b"], "more": {"n": 1}},
}
RULE = "arn:aws:events:us-east-1:123456789012:rule/mine"


def made(**members: Any) -> Any:
    target = TargetSpec("t", "arn", **members)
    check_target(target)
    return input_for(target, EVENT, RULE)


PATHS = {"instance": "$.detail.instance", "state": "$.detail.state", "tags": "$.detail.tags", "none": "$.x"}


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ('"instance <instance> is in <state>"', 'instance i-0 is in say "hi"'),
        ('{"instance": <instance>, "tags": <tags>}', {"instance": "i-0", "tags": ["a", "b"]}),
        ('{"said": "<state>", "n": <none>}', {"said": 'say "hi"', "n": ""}),
        ('{"rule": <aws.events.rule-name>}', {"rule": "mine"}),
        ('{"all": <aws.events.event.json>}', {"all": EVENT}),
        ("<instance> as it stands", '"i-0" as it stands'),
    ],
)
def test_a_template_is_filled(template: str, wanted: Any) -> None:
    assert made(template=template, paths=PATHS) == wanted


def test_the_event_a_part_or_a_constant() -> None:
    assert made() == EVENT
    assert made(path="$.detail.more") == {"n": 1}
    assert made(path="$.detail['tags'][1]") == "b"
    assert made(path="$.detail.tags[9].x") is None
    assert made(input='{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(
    "members",
    [
        {"input": "{"},
        {"input": "1", "path": "$.a"},
        {"path": "detail.state"},
        {"template": "<missing>"},
        {"template": '"x"', "paths": {"aws.x": "$.a"}},
        {"template": '"x"', "paths": {"a": "$..a"}},
    ],
)
def test_what_cannot_be_made_is_refused(members: Any) -> None:
    with pytest.raises(Invalid):
        check_target(TargetSpec("t", "arn", **members))
