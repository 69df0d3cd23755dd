"""IAM: the calls on roles and policies that notebooks and infrastructure tools make. Stored; nothing is enforced."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from clary.control import iam
from clary.control.desk import Desk
from clary.control.sessions import role_id
from clary.domain import errors as domain
from clary.domain.iam import SESSION_DEFAULT_S, InUse, MalformedPolicy, PolicySpec, RoleSpec
from clary.domain.tags import unique_tags
from clary.edge.aws import page
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Call, Field, Handler, Members, Operation
from clary.edge.aws.resources.members import caller_of, given, instant, tag_list

_LATER = "Kept and returned; policies are not enforced yet: every access key of an account may do everything in it."
_PAGED = ("Marker", "MaxItems")
_ROLE = "RoleName"


def operations(desk: Desk) -> tuple[Operation, ...]:
    """What is served of IAM."""
    return (*_roles(desk), *_attached(desk), *_inline(desk), *_policies(desk))


def _operation(
    name: str, handler: Handler, served: Sequence[str], stored: Sequence[str] = (), refused: Mapping[str, str] = {}
) -> Operation:
    """With IAM's own codes for the facts of the domain."""

    @functools.wraps(handler)
    async def coded(call: Call, members: Members) -> Any:
        try:
            return await handler(call, members)
        except domain.DomainError as error:
            raise _error(error) from error

    fields = {
        **dict.fromkeys(served, Field.SERVED),
        **dict.fromkeys(stored, Field.STORED),
        **dict.fromkeys(refused, Field.REFUSED),
    }
    return Operation("iam", name, coded, fields, {**dict.fromkeys(stored, _LATER), **refused})


def _error(error: domain.DomainError) -> AwsError:
    """Texts as IAM gives them; see tests/wire/test_iam.py for where each was seen."""
    if isinstance(error, domain.NotFound):
        text = f"Policy {error.arn} was not found."
        if error.kind != iam.POLICY:
            text = f"The {error.kind} with name {error.name} cannot be found."
        return AwsError("NoSuchEntity", text, 404)
    if isinstance(error, domain.AlreadyExists):
        text = f"Role with name {error.name} already exists."
        if error.kind == iam.POLICY:
            text = f"A policy called {error.name} already exists. Duplicate names are not allowed."
        return AwsError("EntityAlreadyExists", text, 409)
    if isinstance(error, InUse):
        return AwsError("DeleteConflict", error.message, 409)
    if isinstance(error, MalformedPolicy):
        return AwsError("MalformedPolicyDocument", error.message, 400)
    if isinstance(error, domain.LimitExceeded):
        return AwsError("LimitExceeded", f"Cannot exceed quota for {error.what}: {error.limit}", 409)
    message = error.message if isinstance(error, domain.Invalid) else str(error)
    return AwsError("ValidationError", message, 400)


# -- roles -------------------------------------------------------------------------------------------------------------


def _roles(desk: Desk) -> tuple[Operation, ...]:
    async def create_role(call: Call, members: Members) -> Members:
        spec = RoleSpec(
            trust=members["AssumeRolePolicyDocument"],
            path=members.get("Path", "/"),
            description=members.get("Description", ""),
            session_s=members.get("MaxSessionDuration", SESSION_DEFAULT_S),
            boundary=members.get("PermissionsBoundary", ""),
            tags=_tags(members),
        )
        return {"Role": _role(await iam.create_role(desk, caller_of(call), members[_ROLE], spec))}

    async def get_role(call: Call, members: Members) -> Members:
        role = await iam.get_role(desk, caller_of(call), members[_ROLE])
        return {"Role": {**_role(role), "RoleLastUsed": {}}}

    async def list_roles(call: Call, members: Members) -> Members:
        found, more = await iam.list_roles(desk, caller_of(call), _listing(call, "ListRoles", members))
        # As IAM: lists leave tags and the boundary out.
        shown = [{k: v for k, v in _role(role).items() if k not in ("Tags", "PermissionsBoundary")} for role in found]
        return _page(call, "ListRoles", members, {"Roles": shown}, found[-1].name if more else None)

    async def delete_role(call: Call, members: Members) -> Members:
        await iam.delete_role(desk, caller_of(call), members[_ROLE])
        return {}

    async def update_assume_role_policy(call: Call, members: Members) -> Members:
        change = iam.update_trust(members["PolicyDocument"])
        await iam.change_role(desk, caller_of(call), members[_ROLE], "UpdateAssumeRolePolicy", change)
        return {}

    async def list_instance_profiles_for_role(call: Call, members: Members) -> Members:
        await iam.get_role(desk, caller_of(call), members[_ROLE])
        return {"InstanceProfiles": [], "IsTruncated": False}

    return (
        _operation(
            "CreateRole", create_role, (_ROLE, "Path", "Description", "Tags", "MaxSessionDuration"),
            ("AssumeRolePolicyDocument", "PermissionsBoundary"),
        ),
        _operation("GetRole", get_role, (_ROLE,)),
        _operation("ListRoles", list_roles, ("PathPrefix", *_PAGED)),
        _operation("DeleteRole", delete_role, (_ROLE,)),
        _operation("UpdateAssumeRolePolicy", update_assume_role_policy, (_ROLE,), ("PolicyDocument",)),
        _operation("ListInstanceProfilesForRole", list_instance_profiles_for_role, (_ROLE, *_PAGED)),
    )  # fmt: skip


def _role(role: iam.Role) -> dict[str, Any]:
    spec = role.spec
    boundary = {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": spec.boundary}
    return given(
        Path=spec.path,
        RoleName=role.name,
        RoleId=role_id(role.arn),
        Arn=role.arn,
        CreateDate=instant(role.created_us),
        AssumeRolePolicyDocument=_document(spec.trust),
        Description=spec.description,
        MaxSessionDuration=spec.session_s,
        PermissionsBoundary=boundary if spec.boundary else None,
        Tags=tag_list(spec.tags) if spec.tags else None,
    )


# -- policies of a role ------------------------------------------------------------------------------------------------


def _attached(desk: Desk) -> tuple[Operation, ...]:
    async def attach_role_policy(call: Call, members: Members) -> Members:
        await iam.attach(desk, caller_of(call), members[_ROLE], members["PolicyArn"])
        return {}

    async def detach_role_policy(call: Call, members: Members) -> Members:
        await iam.detach(desk, caller_of(call), members[_ROLE], members["PolicyArn"])
        return {}

    async def list_attached_role_policies(call: Call, members: Members) -> Members:
        role = await iam.get_role(desk, caller_of(call), members[_ROLE])
        prefix = members.get("PathPrefix", "/")
        named = {arn.rpartition("/")[2]: arn for arn in role.spec.attached if _path_of(arn).startswith(prefix)}
        names, last = _cut(call, "ListAttachedRolePolicies", members, list(named))
        items = [{"PolicyName": name, "PolicyArn": named[name]} for name in names]
        return _page(call, "ListAttachedRolePolicies", members, {"AttachedPolicies": items}, last)

    both = (_ROLE, "PolicyArn")
    return (
        _operation("AttachRolePolicy", attach_role_policy, both),
        _operation("DetachRolePolicy", detach_role_policy, both),
        _operation("ListAttachedRolePolicies", list_attached_role_policies, (_ROLE, "PathPrefix", *_PAGED)),
    )


def _inline(desk: Desk) -> tuple[Operation, ...]:
    async def put_role_policy(call: Call, members: Members) -> Members:
        await iam.put_inline(
            desk, caller_of(call), members[_ROLE], members["PolicyName"], members["PolicyDocument"]
        )  # fmt: skip
        return {}

    async def get_role_policy(call: Call, members: Members) -> Members:
        role = await iam.get_role(desk, caller_of(call), members[_ROLE])
        document = iam.inline_of(role.spec, members["PolicyName"])
        return {"RoleName": role.name, "PolicyName": members["PolicyName"], "PolicyDocument": _document(document)}

    async def delete_role_policy(call: Call, members: Members) -> Members:
        await iam.delete_inline(desk, caller_of(call), members[_ROLE], members["PolicyName"])
        return {}

    async def list_role_policies(call: Call, members: Members) -> Members:
        role = await iam.get_role(desk, caller_of(call), members[_ROLE])
        names, last = _cut(call, "ListRolePolicies", members, list(role.spec.inline))
        return _page(call, "ListRolePolicies", members, {"PolicyNames": names}, last)

    both = (_ROLE, "PolicyName")
    return (
        _operation("PutRolePolicy", put_role_policy, both, ("PolicyDocument",)),
        _operation("GetRolePolicy", get_role_policy, both),
        _operation("DeleteRolePolicy", delete_role_policy, both),
        _operation("ListRolePolicies", list_role_policies, (_ROLE, *_PAGED)),
    )


# -- managed policies --------------------------------------------------------------------------------------------------


def _policies(desk: Desk) -> tuple[Operation, ...]:
    async def create_policy(call: Call, members: Members) -> Members:
        spec = PolicySpec(
            document=members["PolicyDocument"],
            path=members.get("Path", "/"),
            description=members.get("Description", ""),
            tags=_tags(members),
        )
        return {"Policy": _policy(await iam.create_policy(desk, caller_of(call), members["PolicyName"], spec))}

    async def get_policy(call: Call, members: Members) -> Members:
        return {"Policy": _policy(await iam.get_policy(desk, caller_of(call), members["PolicyArn"]))}

    async def delete_policy(call: Call, members: Members) -> Members:
        await iam.delete_policy(desk, caller_of(call), members["PolicyArn"])
        return {}

    async def list_policies(call: Call, members: Members) -> Members:
        if members.get("Scope") == "AWS":
            return {"Policies": [], "IsTruncated": False}
        found, more = await iam.list_policies(desk, caller_of(call), _listing(call, "ListPolicies", members))
        wanted = [one for one in found if one.attached or not members.get("OnlyAttached", False)]
        # As IAM: lists leave the description and tags out.
        shown = [{k: v for k, v in _policy(one).items() if k not in ("Tags", "Description")} for one in wanted]
        return _page(call, "ListPolicies", members, {"Policies": shown}, found[-1].name if more else None)

    async def get_policy_version(call: Call, members: Members) -> Members:
        policy = await iam.get_policy(desk, caller_of(call), members["PolicyArn"])
        if members["VersionId"] != "v1":
            text = f"Policy {policy.arn} version {members['VersionId']} does not exist or is not attachable."
            raise AwsError("NoSuchEntity", text, 404)
        return {"PolicyVersion": {**_version(policy), "Document": _document(policy.spec.document)}}

    async def list_policy_versions(call: Call, members: Members) -> Members:
        policy = await iam.get_policy(desk, caller_of(call), members["PolicyArn"])
        return {"Versions": [_version(policy)], "IsTruncated": False}

    usage = {"PolicyUsageFilter": "Permissions boundaries are kept and never counted."}
    return (
        _operation("CreatePolicy", create_policy, ("PolicyName", "Path", "Description", "Tags"), ("PolicyDocument",)),
        _operation("GetPolicy", get_policy, ("PolicyArn",)),
        _operation("DeletePolicy", delete_policy, ("PolicyArn",)),
        _operation("ListPolicies", list_policies, ("Scope", "OnlyAttached", "PathPrefix", *_PAGED), (), usage),
        _operation("GetPolicyVersion", get_policy_version, ("PolicyArn", "VersionId")),
        _operation("ListPolicyVersions", list_policy_versions, ("PolicyArn", *_PAGED)),
    )


def _policy(policy: iam.Policy) -> dict[str, Any]:
    spec = policy.spec
    return given(
        PolicyName=policy.name,
        PolicyId="ANPA" + base64.b32encode(hashlib.sha256(policy.uid.encode()).digest()).decode()[:17],
        Arn=policy.arn,
        Path=spec.path,
        DefaultVersionId="v1",
        AttachmentCount=policy.attached,
        PermissionsBoundaryUsageCount=0,
        IsAttachable=True,
        Description=spec.description,
        CreateDate=instant(policy.created_us),
        UpdateDate=instant(policy.created_us),
        Tags=tag_list(spec.tags) if spec.tags else None,
    )


def _version(policy: iam.Policy) -> dict[str, Any]:
    return {"VersionId": "v1", "IsDefaultVersion": True, "CreateDate": instant(policy.created_us)}


# -- shared ------------------------------------------------------------------------------------------------------------


def _document(text: str) -> str:
    """IAM gives documents percent-encoded (RFC 3986); boto3 decodes them."""
    return quote(text, safe="")


def _tags(members: Members) -> dict[str, str]:
    return unique_tags([(tag["Key"], tag["Value"]) for tag in members.get("Tags", ())])


def _path_of(arn: str) -> str:
    """`/service-role/` of `arn:aws:iam::aws:policy/service-role/Name`."""
    return "/" + "".join(part + "/" for part in arn.rpartition(":")[2].split("/")[1:-1])


def _listing(call: Call, operation: str, members: Members) -> iam.Listing:
    after = ""
    if "Marker" in members:
        after = str(page.decode(members["Marker"], _parameters(call, operation, members), field="Marker")[0])
    return iam.Listing(members.get("PathPrefix", "/"), after, members.get("MaxItems", 100))


def _cut(call: Call, operation: str, members: Members, names: list[str]) -> tuple[list[str], str | None]:
    """One page of names that are all at hand, and the last of it where there is more."""
    listing = _listing(call, operation, members)
    rest = [name for name in sorted(names, key=str.lower) if name.lower() > listing.after]
    page_names = rest[: listing.limit]
    return page_names, page_names[-1] if len(rest) > len(page_names) else None


def _page(call: Call, operation: str, members: Members, items: dict[str, Any], last: str | None) -> Members:
    if last is None:
        return {**items, "IsTruncated": False}
    marker = page.encode((last.lower(), ""), _parameters(call, operation, members))
    return {**items, "IsTruncated": True, "Marker": marker}


def _parameters(call: Call, operation: str, members: Members) -> dict[str, object]:
    kept = {name: value for name, value in members.items() if name not in _PAGED}
    return {**kept, "": [operation, call.scope.account]}
