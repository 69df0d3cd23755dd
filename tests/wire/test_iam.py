"""IAM through boto3: what notebooks and infrastructure tools do with roles and policies.

Codes and texts of errors: as IAM's, seen in public issues of boto3 and the Terraform provider.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from clary.control.desk import Desk
from clary.edge.aws.resources import iam
from clary.kit.clock import SystemClock
from clary.kit.ids import SystemIds
from clary.store.sqlite import SqliteStore
from tests.support.door import serve_door

TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
ALLOW = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}
FULL_ACCESS = "arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Any]:
    store = SqliteStore(tmp_path / "clary.db")
    with serve_door(iam.operations(Desk(store, SystemClock(), SystemIds()))) as served:
        yield served.client("iam")
    store.close()


def create(client: Any, name: str = "sagemaker-role", **more: Any) -> Any:
    return client.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST), **more)["Role"]


def refusal(call: Any, **members: Any) -> tuple[str, str, int]:
    with pytest.raises(ClientError) as refused:
        call(**members)
    answer = refused.value.response
    return answer["Error"]["Code"], answer["Error"]["Message"], answer["ResponseMetadata"]["HTTPStatusCode"]


def test_the_notebooks_whole_life_of_a_role(client: Any) -> None:
    made = create(client, Path="/service-role/", Description="runs models", Tags=[{"Key": "team", "Value": "ml"}])
    assert made["Arn"] == "arn:aws:iam::123456789012:role/service-role/sagemaker-role"
    assert (made["RoleId"][:4], len(made["RoleId"]), made["AssumeRolePolicyDocument"]) == ("AROA", 21, TRUST)
    client.attach_role_policy(RoleName="sagemaker-role", PolicyArn=FULL_ACCESS)
    client.attach_role_policy(RoleName="sagemaker-role", PolicyArn=FULL_ACCESS)
    policy = client.create_policy(PolicyName="read-data", PolicyDocument=json.dumps(ALLOW))["Policy"]
    client.attach_role_policy(RoleName="sagemaker-role", PolicyArn=policy["Arn"])
    client.put_role_policy(RoleName="sagemaker-role", PolicyName="inline", PolicyDocument=json.dumps(ALLOW))

    seen = client.get_role(RoleName="sagemaker-role")["Role"]
    assert {**seen, "RoleLastUsed": None} == {**made, "RoleLastUsed": None}
    assert client.list_attached_role_policies(RoleName="sagemaker-role")["AttachedPolicies"] == [
        {"PolicyName": "AmazonSageMakerFullAccess", "PolicyArn": FULL_ACCESS},
        {"PolicyName": "read-data", "PolicyArn": policy["Arn"]},
    ]
    assert client.list_role_policies(RoleName="sagemaker-role")["PolicyNames"] == ["inline"]
    assert client.get_role_policy(RoleName="sagemaker-role", PolicyName="inline")["PolicyDocument"] == ALLOW
    assert client.get_policy(PolicyArn=policy["Arn"])["Policy"]["AttachmentCount"] == 1
    version = client.get_policy_version(PolicyArn=policy["Arn"], VersionId="v1")["PolicyVersion"]
    assert version["Document"] == ALLOW

    conflict = ("DeleteConflict", "Cannot delete entity, must detach all policies first.", 409)
    assert refusal(client.delete_role, RoleName="sagemaker-role") == conflict
    attached = ("DeleteConflict", "Cannot delete a policy attached to entities.", 409)
    assert refusal(client.delete_policy, PolicyArn=policy["Arn"]) == attached
    for arn in (FULL_ACCESS, policy["Arn"]):
        client.detach_role_policy(RoleName="sagemaker-role", PolicyArn=arn)
    conflict = ("DeleteConflict", "Cannot delete entity, must delete policies first.", 409)
    assert refusal(client.delete_role, RoleName="sagemaker-role") == conflict
    client.delete_role_policy(RoleName="sagemaker-role", PolicyName="inline")
    client.delete_role(RoleName="sagemaker-role")
    client.delete_policy(PolicyArn=policy["Arn"])
    assert refusal(client.get_role, RoleName="sagemaker-role") == (
        "NoSuchEntity", "The role with name sagemaker-role cannot be found.", 404,
    )  # fmt: skip


def test_names_are_taken_whatever_their_case_and_paths_select(client: Any) -> None:
    create(client, "Role-A", Path="/a/")
    create(client, "role-b", Path="/b/")
    taken = ("EntityAlreadyExists", "Role with name ROLE-A already exists.", 409)
    assert refusal(create, client=client, name="ROLE-A") == taken
    pages = client.get_paginator("list_roles").paginate(PaginationConfig={"PageSize": 1})
    assert [role["RoleName"] for page in pages for role in page["Roles"]] == ["Role-A", "role-b"]
    assert [role["RoleName"] for role in client.list_roles(PathPrefix="/b/")["Roles"]] == ["role-b"]
    for number in range(3):
        client.put_role_policy(RoleName="role-b", PolicyName=f"p{number}", PolicyDocument=json.dumps(ALLOW))
    pages = client.get_paginator("list_role_policies").paginate(RoleName="role-b", PaginationConfig={"PageSize": 2})
    assert [page["PolicyNames"] for page in pages] == [["p0", "p1"], ["p2"]]


def test_what_is_not_there_and_what_is_no_policy_is_refused_in_iams_words(client: Any) -> None:
    create(client)
    arn = "arn:aws:iam::123456789012:policy/none"
    assert refusal(client.get_policy, PolicyArn=arn) == ("NoSuchEntity", f"Policy {arn} was not found.", 404)
    assert refusal(client.attach_role_policy, RoleName="sagemaker-role", PolicyArn=arn)[0] == "NoSuchEntity"
    assert refusal(client.detach_role_policy, RoleName="sagemaker-role", PolicyArn=FULL_ACCESS)[0] == "NoSuchEntity"
    assert refusal(client.get_role_policy, RoleName="sagemaker-role", PolicyName="x") == (
        "NoSuchEntity", "The role policy with name x cannot be found.", 404,
    )  # fmt: skip
    for document in ("{", "[]", "{}", '{"Statement": [{"Effect": "Maybe"}]}', '{"Statement": [], "Version": "1"}'):
        code, _, status = refusal(client.create_role, RoleName="r", AssumeRolePolicyDocument=document)
        assert (code, status) == ("MalformedPolicyDocument", 400)
    long = json.dumps({**ALLOW, "Id": "x" * 6144})
    assert refusal(client.create_policy, PolicyName="p", PolicyDocument=long) == (
        "LimitExceeded", "Cannot exceed quota for PolicySize: 6144", 409,
    )  # fmt: skip


def test_a_trust_policy_can_be_replaced_and_policies_are_listed(client: Any) -> None:
    create(client)
    client.update_assume_role_policy(RoleName="sagemaker-role", PolicyDocument=json.dumps({**TRUST, "Id": "new"}))
    assert client.get_role(RoleName="sagemaker-role")["Role"]["AssumeRolePolicyDocument"]["Id"] == "new"
    client.create_policy(PolicyName="mine", PolicyDocument=json.dumps(ALLOW))
    assert refusal(client.create_policy, PolicyName="MINE", PolicyDocument=json.dumps(ALLOW)) == (
        "EntityAlreadyExists", "A policy called MINE already exists. Duplicate names are not allowed.", 409,
    )  # fmt: skip
    assert [p["PolicyName"] for p in client.list_policies(Scope="Local")["Policies"]] == ["mine"]
    assert client.list_policies(Scope="AWS")["Policies"] == []
    assert client.list_policies(OnlyAttached=True)["Policies"] == []
    assert client.list_instance_profiles_for_role(RoleName="sagemaker-role")["InstanceProfiles"] == []
