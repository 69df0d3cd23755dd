"""Validation in the services' own words, and the patterns that Python cannot read as they stand."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.edge.aws.patterns import compiled
from clary.edge.aws.spec import BY_NAME, ERRATA, SERVICES, Spec
from clary.edge.aws.validate import VALUE_CHARS_MAX, validate

SPEC = Spec()


def wrong(service: str, operation: str, **members: Any) -> str | None:
    model = SPEC.operation(service, operation)
    assert model is not None
    return validate(members, model.input_shape)


FAILED = "failed to satisfy constraint: Member must"


@pytest.mark.parametrize(
    ("source", "operation", "members", "text"),
    [
        # The form, two errors of one value, and their order: public issue of an Airflow sample, 2019.
        ("public-issue", "DescribeModel", {"ModelName": "{{ a }}" * 10},
         f"2 validation errors detected: Value '{'{{ a }}' * 10}' at 'modelName' {FAILED} have length less than or "
         f"equal to 63; Value '{'{{ a }}' * 10}' at 'modelName' {FAILED} satisfy regular expression pattern: "
         r"[a-zA-Z0-9]([\-a-zA-Z0-9]*[a-zA-Z0-9])?"),
        # Paths into lists: public issue of the SageMaker examples, 2021.
        ("public-issue", "CreateEndpointConfig",
         {"EndpointConfigName": "c", "ProductionVariants": [{"VariantName": "v", "ModelName": "ENTER MODEL NAME"}]},
         f"1 validation error detected: Value 'ENTER MODEL NAME' at 'productionVariants.1.member.modelName' {FAILED} "
         r"satisfy regular expression pattern: [a-zA-Z0-9]([\-a-zA-Z0-9]*[a-zA-Z0-9])?"),
        # Map values: public issue of the SageMaker Python SDK, 2021.
        ("public-issue", "CreateModel", {"ModelName": "m", "PrimaryContainer": {"Environment": {"A": "x" * 1025}}},
         f"1 validation error detected: Value '{{A={'x' * 1025}}}' at 'primaryContainer.environment' failed to satisfy "
         "constraint: Map value must satisfy constraint: [Member must have length less than or equal to 1024, Member "
         r"must have length greater than or equal to 0, Member must satisfy regular expression pattern: [\S\s]*]"),
        # Map keys: public issue of boto3 (QuickSight), 2020.
        ("public-issue", "CreateModel", {"ModelName": "m", "PrimaryContainer": {"Environment": {"1": ""}}},
         "1 validation error detected: Value '{1=}' at 'primaryContainer.environment' failed to satisfy constraint: "
         "Map keys must satisfy constraint: [Member must have length less than or equal to 1024, Member must have "
         "length greater than or equal to 0, Member must satisfy regular expression pattern: [a-zA-Z_][a-zA-Z0-9_]*]"),
        ("public-issue", "CreateEndpoint", {"EndpointName": "e"},
         f"1 validation error detected: Value null at 'endpointConfigName' {FAILED} not be null"),
        ("public-issue", "ListEndpoints", {"SortBy": "Nam", "MaxResults": 101},
         f"2 validation errors detected: Value 'Nam' at 'sortBy' {FAILED} satisfy enum value set: [Name, CreationTime, "
         f"Status]; Value '101' at 'maxResults' {FAILED} have value less than or equal to 100"),
        ("public-issue", "CreateModel", {"ModelName": "m", "VpcConfig": {"SecurityGroupIds": ["a b"], "Subnets": []}},
         "2 validation errors detected: Value '[a b]' at 'vpcConfig.securityGroupIds' failed to satisfy constraint: "
         "Member must satisfy constraint: [Member must have length less than or equal to 32, Member must have length "
         "greater than or equal to 0, Member must satisfy regular expression pattern: [-0-9a-zA-Z]+]; Value '[]' at "
         f"'vpcConfig.subnets' {FAILED} have length greater than or equal to 1"),
        ("ours", "DescribeEndpoint", {"EndpointName": "e", "__unknown__EndpointNam": 1},
         "1 validation error detected: Value at 'endpointNam' failed to satisfy constraint: Member 'EndpointNam' is "
         "not known to this version of the service model"),
    ],
)  # fmt: skip
def test_texts(source: str, operation: str, members: dict[str, Any], text: str) -> None:
    assert wrong("sagemaker", operation, **members) == text


def test_a_valid_request_has_no_message() -> None:
    assert wrong("sagemaker", "CreateEndpoint", EndpointName="e", EndpointConfigName="c") is None


def test_any_instance_type_of_the_form_passes_and_another_does_not() -> None:
    variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.t3.medium"}
    assert wrong("sagemaker", "CreateEndpointConfig", EndpointConfigName="c", ProductionVariants=[variant]) is None
    variant["InstanceType"] = "t3.medium"
    message = wrong("sagemaker", "CreateEndpointConfig", EndpointConfigName="c", ProductionVariants=[variant])
    assert "productionVariants.1.member.instanceType" in (message or "")


def test_a_long_value_is_not_repeated_whole_and_bytes_not_at_all() -> None:
    message = wrong("sagemaker", "DescribeModel", ModelName="x" * 100_000)
    assert len(message or "") < VALUE_CHARS_MAX + 500
    message = wrong("sagemaker-runtime", "InvokeEndpoint", EndpointName="e", Body=b"x" * 26_000_000)
    assert message is not None
    assert message.startswith("1 validation error detected: Value at 'body' failed")


@given(st.text(max_size=30))
def test_tag_keys_take_letters_of_any_script(text: str) -> None:
    matches = compiled(r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)").matches(text)
    assert matches == all(c in "_.:/=+-@" or re.match(r"[LZN]", category(c)) for c in text)


def category(character: str) -> str:
    import unicodedata

    return unicodedata.category(character)


def test_every_pattern_of_the_served_services_can_be_read() -> None:
    for service in BY_NAME:
        model = SPEC.service(service)
        for name in model.shape_names:
            if "pattern" in model.shape_for(name).metadata:
                compiled(model.shape_for(name).metadata["pattern"])


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"\A\S[\p{Print}]*\z", "a b", "a\n"),
        (r"\p{ASCII}*", "a\n", "é"),
        (r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\t]*", "a\U0001f600", "\n"),
        (r"[\p{L}\p{M}]+", "é̂", "1"),
        (r"[\w-_]*", "a-b_", "a b"),
    ],
)
def test_patterns(pattern: str, good: str, bad: str) -> None:
    assert compiled(pattern).matches(good)
    assert not compiled(pattern).matches(bad)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_what_is_known_before_loading_is_what_the_models_say(service: Any) -> None:
    metadata = SPEC.service(service.name).metadata
    assert service.signing == metadata.get("signingName", metadata["endpointPrefix"])
    assert service.target_prefix == metadata.get("targetPrefix", "")
    assert service.protocol in metadata["protocols"]
    assert service.version == (metadata["apiVersion"] if "query" in metadata["protocols"] else "")


def test_errata_change_shapes_that_exist() -> None:
    for erratum in ERRATA:
        assert erratum.shape in SPEC.service(erratum.service).shape_names
        assert erratum.reason
