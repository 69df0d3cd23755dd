"""How input fields are treated."""

from __future__ import annotations

from typing import Any

import pytest

from clary.edge.aws.operation import Call, Field, Members, Operation
from clary.edge.aws.registry import Registry, ancestors, problems, refused, treatment
from clary.edge.aws.spec import Spec

SPEC = Spec()


async def handler(call: Call, members: Members) -> Members:
    return {}


def create_model(fields: dict[str, Field], notes: dict[str, str] | None = None) -> Operation:
    return Operation("sagemaker", "CreateModel", handler, fields, notes or {})


TABLE = create_model(
    {
        "ModelName": Field.SERVED,
        "Containers": Field.REFUSED,
        "PrimaryContainer": Field.SERVED,
        "PrimaryContainer.ImageConfig": Field.REFUSED,
        "PrimaryContainer.ImageConfig.RepositoryAccessMode": Field.STORED,
        "PrimaryContainer.Environment{}": Field.SERVED,
        "EnableNetworkIsolation": Field.REFUSED,
        "Tags[].Value": Field.REFUSED,
    },
    {"Containers": "Later.", "PrimaryContainer.ImageConfig": "No image is pulled."},
)
AUTH = {"RepositoryAuthConfig": {"RepositoryCredentialsProviderArn": "arn:aws:lambda:r:123456789012:function:f"}}


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ({"ModelName": "m"}, None),
        ({"Containers": []}, None),
        ({"Containers": [{"Image": "i"}]}, ("containers", "Later.")),
        ({"PrimaryContainer": {"ImageConfig": {"RepositoryAccessMode": "Vpc"}}}, None),
        ({"PrimaryContainer": {"ImageConfig": {"RepositoryAccessMode": "Vpc", **AUTH}}},
         ("primaryContainer.imageConfig.repositoryAuthConfig", "No image is pulled.")),
        ({"PrimaryContainer": {"Environment": {"A": "b"}}}, None),
        ({"EnableNetworkIsolation": False}, None),
        ({"EnableNetworkIsolation": True}, ("enableNetworkIsolation", "")),
        ({"Tags": [{"Key": "k"}, {"Key": "l", "Value": "v"}]}, ("tags.2.member.value", "")),
    ],
)  # fmt: skip
def test_the_first_refused_field_that_is_given(members: dict[str, Any], found: tuple[str, str] | None) -> None:
    model = SPEC.operation("sagemaker", "CreateModel")
    assert model is not None
    assert refused(TABLE, members, model.input_shape) == found


def test_a_field_follows_the_nearest_one_above_it() -> None:
    assert list(ancestors("A[].B{}.C")) == ["A[].B{}.C", "A[].B{}", "A[].B", "A[]", "A"]
    assert treatment(TABLE, "PrimaryContainer.Image") is Field.SERVED
    assert treatment(TABLE, "Containers[].Image") is Field.REFUSED
    assert treatment(TABLE, "VpcConfig") is None


def test_a_table_with_a_hole_is_a_problem() -> None:
    found = problems(TABLE, SPEC)
    assert "sagemaker CreateModel: VpcConfig is not listed" in found
    assert "sagemaker CreateModel: EnableNetworkIsolation is refused without a reason in notes" in found
    assert problems(Operation("sagemaker", "CreateModell", handler, {}), SPEC) == [
        "sagemaker CreateModell: the service has no such operation"
    ]


def test_two_operations_of_one_name_are_a_bug() -> None:
    with pytest.raises(ValueError, match="twice"):
        Registry([TABLE, TABLE])
