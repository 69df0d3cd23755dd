"""Endpoints: status, admission, configuration rules, failure reasons."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.domain.endpoint import (
    FAILURE_REASON_CHARS_MAX,
    Desired,
    EndpointConfigSpec,
    Revision,
    VariantProperty,
    VariantSpec,
    admit_change,
    admit_update,
    check_config,
    failure_reason,
    freeze,
    rescaled,
    retained,
    status_of,
)
from clary.domain.errors import InTransition, Invalid
from clary.domain.model import Container, ModelSpec
from clary.domain.states import STEPS, EndpointStatus, IllegalStepError, step

S = EndpointStatus
VARIANT = VariantSpec("A", "m", 1, "ml.m5.large")


@pytest.mark.parametrize(
    ("generation", "deleting", "observed_generation", "observed", "status"),
    [
        (1, False, None, None, S.CREATING),
        (1, False, 1, S.IN_SERVICE, S.IN_SERVICE),
        (1, False, 1, S.FAILED, S.FAILED),
        (2, False, 1, S.IN_SERVICE, S.UPDATING),
        (2, False, 2, S.IN_SERVICE, S.IN_SERVICE),
        (1, True, None, None, S.DELETING),
        (1, True, 1, S.IN_SERVICE, S.DELETING),
        (2, True, 1, S.FAILED, S.DELETING),
    ],
)
def test_status(
    generation: int, deleting: bool, observed_generation: int | None, observed: S | None, status: S
) -> None:
    assert status_of(generation, deleting, observed_generation, observed) is status


@pytest.mark.parametrize("status", S)
def test_only_a_settled_endpoint_may_be_changed(status: S) -> None:
    if status in (S.IN_SERVICE, S.FAILED, S.ROLLBACK_FAILED):
        admit_change(status, "e", "arn")
    else:
        with pytest.raises(InTransition):
            admit_change(status, "e", "arn")


@pytest.mark.parametrize("status", S)
def test_only_an_endpoint_that_serves_may_be_updated(status: S) -> None:
    if status in (S.IN_SERVICE, S.ROLLBACK_FAILED):
        admit_update(status, "e", "arn")
    else:
        with pytest.raises(Invalid if status is S.FAILED else InTransition):
            admit_update(status, "e", "arn")


@pytest.mark.parametrize("old", S)
@pytest.mark.parametrize("new", S)
def test_steps_are_those_of_the_table(old: S, new: S) -> None:
    if old is new or (old, new) in STEPS:
        assert step(old, new) is new
    else:
        with pytest.raises(IllegalStepError):
            step(old, new)


def test_a_good_configuration_passes() -> None:
    check_config(EndpointConfigSpec((VARIANT, replace(VARIANT, name="B", weight=0.0))))


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ((VARIANT, replace(VARIANT, name="a")), "variant name 'a' twice"),
        ((replace(VARIANT, weight=0.0),), "no variant would get traffic"),
        ((replace(VARIANT, instance_count=1001),), "at most 1000 are allowed"),
        ((replace(VARIANT, instance_type="ml.m5.tiny"),), r"Known ones: ml\.t2\.\(medium\|large"),
    ],
)
def test_a_bad_configuration_is_refused_with_the_remedy(variants: tuple[VariantSpec, ...], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        check_config(EndpointConfigSpec(variants))


def test_freezing_copies_what_serving_takes() -> None:
    container = Container("i", "xgboost", "1.7-1", "s3://b/k")
    spec = EndpointConfigSpec((VARIANT, replace(VARIANT, name="B", load_timeout_s=60)))
    revision = freeze("c", spec, {"m": ModelSpec((container,))}, ["u1", "u2"])
    assert [(v.uid, v.name, v.load_timeout_s, v.container) for v in revision.variants] == [
        ("u1", "A", 480, container),
        ("u2", "B", 60, container),
    ]
    assert revision.artifact_urls == ("s3://b/k",)


@pytest.mark.parametrize(
    ("cause", "remedy", "reason"),
    [
        ("It broke", "Mend it", "It broke. Mend it."),
        ("It broke.", "", "It broke."),
        ("s3://b/k is gone", "Put it\n  back!", "s3://b/k is gone. Put it back!"),
        ("", "", ""),
    ],
)
def test_a_failure_reason_is_made_of_sentences(cause: str, remedy: str, reason: str) -> None:
    assert failure_reason(cause, remedy) == reason


@given(st.text(max_size=3000), st.text(max_size=2000))
def test_a_failure_reason_fits(cause: str, remedy: str) -> None:
    assert len(failure_reason(cause, remedy)) <= FAILURE_REASON_CHARS_MAX


def test_a_long_cause_leaves_room_for_the_remedy() -> None:
    assert failure_reason("x" * 3000, "Mend it").endswith("... Mend it.")


def revision(*variants: tuple[str, int, float]) -> Revision:
    """Variants by name, instance count and weight; uids are new each time."""
    spec = EndpointConfigSpec(tuple(VariantSpec(name, "m", count, "ml.m5.large", w) for name, count, w in variants))
    models = {"m": ModelSpec((Container("i", "xgboost", "1.7-1", "s3://b/k"),))}
    return freeze("c", spec, models, [f"u{name}-{count}" for name, count, _ in variants])


def sizes(found: Revision) -> list[tuple[str, int, float]]:
    return [(variant.name, variant.instance_count, variant.weight) for variant in found.variants]


@pytest.mark.parametrize(
    ("excluded", "kept"),
    [
        ((), [("A", 5, 0.5), ("C", 1, 1.0)]),
        ((VariantProperty.WEIGHT,), [("A", 5, 2.0), ("C", 1, 1.0)]),
        ((VariantProperty.INSTANCE_COUNT,), [("A", 1, 0.5), ("C", 1, 1.0)]),
        ((VariantProperty.DATA_CAPTURE,), [("A", 5, 0.5), ("C", 1, 1.0)]),
        (tuple(VariantProperty), [("A", 1, 2.0), ("C", 1, 1.0)]),
    ],
)
def test_retained_properties_are_those_of_variants_of_the_same_name(
    excluded: tuple[VariantProperty, ...], kept: list[tuple[str, int, float]]
) -> None:
    new, current = revision(("A", 1, 2.0), ("C", 1, 1.0)), revision(("A", 5, 0.5), ("B", 7, 9.0))
    assert sizes(retained(new, current, excluded)) == kept


def test_weights_that_would_leave_nobody_with_traffic_are_refused() -> None:
    with pytest.raises(Invalid, match="weight 0"):
        retained(revision(("A", 1, 1.0)), revision(("A", 1, 0.0), ("B", 1, 1.0)), ())
    with pytest.raises(Invalid, match="weight 0"):
        rescaled(revision(("A", 1, 1.0)), [Desired("A", weight=0.0)])


def test_rescaling_changes_what_is_given_and_keeps_the_variants() -> None:
    before = revision(("A", 1, 1.0), ("B", 1, 1.0))
    after = rescaled(before, [Desired("B", instance_count=3), Desired("A", weight=0.5)])
    assert sizes(after) == [("A", 1, 0.5), ("B", 3, 1.0)]
    assert [variant.uid for variant in after.variants] == [variant.uid for variant in before.variants]


@pytest.mark.parametrize(
    ("desired", "message"),
    [
        ([Desired("X", 1.0)], r"names the variant 'X', which the endpoint does not have. It has: A, B"),
        ([Desired("A", 1.0), Desired("A", 2.0)], "holds the variant 'A' twice"),
        ([Desired("A")], "Give DesiredWeight or DesiredInstanceCount"),
        ([Desired("A", instance_count=0)], "1 to 1000 are allowed"),
        ([Desired("A", instance_count=1001)], "1 to 1000 are allowed"),
    ],
)
def test_a_bad_rescaling_is_refused(desired: list[Desired], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        rescaled(revision(("A", 1, 1.0), ("B", 1, 1.0)), desired)
