"""Models, tags and instance types: the rules that a shape cannot say."""

from __future__ import annotations

from dataclasses import replace

import botocore.session
import pytest

from clary.domain.errors import Invalid, LimitExceeded, NotServed
from clary.domain.instance_types import INSTANCE_TYPES, instance_type
from clary.domain.model import Container, ModelSpec, check_model
from clary.domain.tags import merge_tags, unique_tags

GOOD = Container("image", "xgboost", "1.7-1", "s3://b/model.tar.gz")


def test_a_good_model_passes() -> None:
    # 16 values of 1024 bytes, with their keys just below 32 KB.
    check_model(ModelSpec((replace(GOOD, environment={f"{i:02}": "x" * 1024 for i in range(31)}),)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_data_url": ""}, "ModelDataUrl is missing"),
        ({"model_data_url": "https://b/k"}, "is neither an s3:// nor a file:/// address"),
        ({"environment": {"A": "x" * 1025}}, "entry 'A' has 1025 bytes; at most 1024"),
        ({"environment": {"ü" * 513: "x"}}, "has 1026 bytes; at most 1024"),
        ({"environment": {f"{i:02}": "x" * 1024 for i in range(32)}}, "has 32832 bytes in all; at most 32768"),
        ({"environment": {"A=B": "x"}}, "none may hold"),
        ({"environment": {"A": "x\0"}}, "none may hold"),
    ],
)
def test_a_bad_container_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        check_model(ModelSpec((replace(GOOD, **change),)))  # type: ignore[arg-type]


def test_none_and_several_containers_are_refused() -> None:
    with pytest.raises(Invalid, match="One of PrimaryContainer or Containers"):
        check_model(ModelSpec(()))
    with pytest.raises(NotServed) as refused:
        check_model(ModelSpec((GOOD, GOOD)))
    assert refused.value.what == "An inference pipeline (Containers with 2 entries)"


def test_the_size_table_has_every_type_of_the_api_reference() -> None:
    model = botocore.session.get_session().get_service_model("sagemaker")
    documented = set(model.shape_for("ProductionVariantInstanceType").enum)
    assert documented <= set(INSTANCE_TYPES)
    assert {name.split(".")[1] for name in set(INSTANCE_TYPES) - documented} == {"t3"}


@pytest.mark.parametrize(
    ("name", "vcpus", "memory_gib", "gpus"),
    [
        # EC2's instance type pages.
        ("ml.t2.medium", 2, 4, 0),
        ("ml.t3.medium", 2, 4, 0),
        ("ml.m5.large", 2, 8, 0),
        ("ml.m5.24xlarge", 96, 384, 0),
        ("ml.c4.large", 2, 3.75, 0),
        ("ml.c5.9xlarge", 36, 72, 0),
        ("ml.r5.xlarge", 4, 32, 0),
        ("ml.m8g.medium", 1, 4, 0),
        ("ml.g4dn.12xlarge", 48, 192, 4),
        ("ml.g5.48xlarge", 192, 768, 8),
        ("ml.p3.2xlarge", 8, 61, 1),
        ("ml.p4d.24xlarge", 96, 1152, 8),
        ("ml.p5.48xlarge", 192, 2048, 8),
    ],
)
def test_sizes(name: str, vcpus: int, memory_gib: float, gpus: int) -> None:
    found = instance_type(name)
    assert (found.vcpus, found.memory_gib, found.gpus) == (vcpus, memory_gib, gpus)


def test_tags_have_a_limit_and_unique_keys() -> None:
    assert unique_tags([("a", "1"), ("b", "2")]) == {"a": "1", "b": "2"}
    with pytest.raises(Invalid, match="Duplicate tag keys found: 'a'"):
        unique_tags([("a", "1"), ("a", "2")])
    full = {str(index): "" for index in range(50)}
    assert merge_tags(full, {"0": "new"})["0"] == "new"
    with pytest.raises(LimitExceeded):
        merge_tags(full, {"51st": ""})
    with pytest.raises(Invalid, match="starts with aws:"):
        merge_tags({}, {"AWS:x": ""})
