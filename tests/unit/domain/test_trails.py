"""What a trail's selectors want."""

from __future__ import annotations

import pytest

from clary.domain.trails import ALL_MANAGEMENT, FieldSelector, Selector, TrailSpec

CALL = {
    "eventCategory": "Data",
    "eventName": "InvokeEndpoint",
    "resources.type": "AWS::SageMaker::Endpoint",
    "resources.ARN": "arn:aws:sagemaker:r:a:endpoint/churn-blue",
}


@pytest.mark.parametrize(
    ("field", "wants"),
    [
        (FieldSelector("eventCategory", ("Data",)), True),
        (FieldSelector("eventCategory", ("Management",)), False),
        (FieldSelector("resources.ARN", starts_with=("arn:aws:sagemaker:r:a:endpoint/churn",)), True),
        (FieldSelector("resources.ARN", ends_with=("-green", "-blue")), True),
        (FieldSelector("resources.ARN", ("x",), ends_with=("-blue",)), True),
        (FieldSelector("resources.ARN", not_ends_with=("-blue",)), False),
        (FieldSelector("resources.ARN", not_starts_with=("x",), not_equals=("y",)), True),
        (FieldSelector("resources.ARN", starts_with=("arn:",), not_ends_with=("-blue",)), False),
        (FieldSelector("eventSource", ("sagemaker.amazonaws.com",)), False),
    ],
)
def test_fields(field: FieldSelector, wants: bool) -> None:
    assert Selector("", (field,)).wants(CALL) is wants


def test_all_conditions_of_one_selector_hold() -> None:
    category = FieldSelector("eventCategory", ("Data",))
    spec = TrailSpec("b", selectors=(Selector("", (category, FieldSelector("eventName", ("Other",)))), ALL_MANAGEMENT))
    assert not spec.wants(CALL)
    assert spec.wants({"eventCategory": "Management"})
    assert spec.wants_data
    assert not TrailSpec("b").wants_data
