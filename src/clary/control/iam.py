"""Roles and policies: create, get, list, attach, delete. Stored and returned; nothing is enforced by them yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from clary.control.desk import Caller, Deed, Desk
from clary.domain.errors import AlreadyExists, Invalid, LimitExceeded, NotFound
from clary.domain.iam import (
    ATTACHED_MAX,
    INLINE_CHARS_MAX,
    MANAGED_BY_AWS,
    MANAGED_CHARS_MAX,
    POLICIES_MAX,
    ROLES_MAX,
    TRUST_CHARS_MAX,
    InUse,
    PolicySpec,
    RoleSpec,
    check_policy,
    size_of,
)
from clary.store.documents import pack, unpack
from clary.store.records import record
from clary.store.tables import iam_entities as table

ROLE, POLICY = "role", "policy"
Spec = TypeVar("Spec", RoleSpec, PolicySpec)


@dataclass(frozen=True)
class Role:
    """A role as stored."""

    name: str
    arn: str
    uid: str
    created_us: int
    spec: RoleSpec


@dataclass(frozen=True)
class Policy:
    """A policy as stored."""

    name: str
    arn: str
    uid: str
    created_us: int
    spec: PolicySpec
    attached: int = 0
    """To how many roles."""


@dataclass(frozen=True)
class Listing:
    """One page: entities under a path, after a name."""

    path: str = "/"
    after: str = ""
    """Lower-case name of the last one given."""
    limit: int = 100


# -- roles -------------------------------------------------------------------------------------------------------------


async def create_role(desk: Desk, caller: Caller, name: str, spec: RoleSpec) -> Role:
    """Store a role. Raises AlreadyExists, MalformedPolicy, LimitExceeded."""
    check_policy(spec.trust, TRUST_CHARS_MAX, "ACLSizePerRole")
    made = Role(name, arn_of(caller, ROLE, spec.path, name), "", desk.clock.now_us(), spec)
    uid = await _create(desk, caller, ROLE, name, made.arn, spec, ROLES_MAX)
    return replace(made, uid=uid)


async def get_role(desk: Desk, caller: Caller, name: str) -> Role:
    """The role; NotFound."""
    return await desk.store.read(lambda connection: _role(connection, caller, name))


async def list_roles(desk: Desk, caller: Caller, listing: Listing) -> tuple[list[Role], bool]:
    """One page, and whether there is more."""
    rows, more = await desk.store.read(lambda connection: _page(connection, caller, ROLE, listing))
    return [_role_of(row) for row in rows], more


async def delete_role(desk: Desk, caller: Caller, name: str) -> None:
    """Drop a role; NotFound, InUse while policies hang on it. Its sessions go on until they end."""

    def work(connection: Connection) -> None:
        role = _role(connection, caller, name)
        if role.spec.attached:
            raise InUse("Cannot delete entity, must detach all policies first.")
        if role.spec.inline:
            raise InUse("Cannot delete entity, must delete policies first.")
        connection.execute(delete(table).where(table.c.uid == role.uid))
        _note(connection, caller, "DeleteRole", role.uid, role.arn, ROLE, desk.clock.now_us())

    await desk.store.write(work)


async def change_role(
    desk: Desk, caller: Caller, name: str, action: str, change: Callable[[RoleSpec], RoleSpec]
) -> None:
    """Replace a role's specification by what `change` makes of it, under `action` in the audit; NotFound, and what
    `change` raises."""
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> None:
        role = _role(connection, caller, name)
        spec = change(role.spec)
        connection.execute(update(table).where(table.c.uid == role.uid).values(spec=pack(spec), modified_us=now_us))
        _note(connection, caller, action, role.uid, role.arn, ROLE, now_us)

    await desk.store.write(work)


async def attach(desk: Desk, caller: Caller, role: str, policy_arn: str) -> None:
    """Attach a policy of the account or one of AWS's; attached already is fine. NotFound, LimitExceeded."""
    if MANAGED_BY_AWS.fullmatch(policy_arn) is None:
        await get_policy(desk, caller, policy_arn)

    def change(spec: RoleSpec) -> RoleSpec:
        if policy_arn in spec.attached:
            return spec
        if len(spec.attached) >= ATTACHED_MAX:
            raise LimitExceeded("PoliciesPerRole", ATTACHED_MAX, "policies")
        return replace(spec, attached=(*spec.attached, policy_arn))

    await change_role(desk, caller, role, "AttachRolePolicy", change)


async def detach(desk: Desk, caller: Caller, role: str, policy_arn: str) -> None:
    """Detach a policy; NotFound where it is not attached."""

    def change(spec: RoleSpec) -> RoleSpec:
        if policy_arn not in spec.attached:
            raise NotFound(POLICY, policy_arn.rpartition("/")[2], policy_arn)
        return replace(spec, attached=tuple(arn for arn in spec.attached if arn != policy_arn))

    await change_role(desk, caller, role, "DetachRolePolicy", change)


async def put_inline(desk: Desk, caller: Caller, role: str, name: str, document: str) -> None:
    """Add or replace an inline policy. NotFound, MalformedPolicy, LimitExceeded."""
    check_policy(document, INLINE_CHARS_MAX, "PolicySize")

    def change(spec: RoleSpec) -> RoleSpec:
        inline = {**spec.inline, name: document}
        if sum(size_of(text) for text in inline.values()) > INLINE_CHARS_MAX:
            raise LimitExceeded("MaxRolePolicySizeExceeded", INLINE_CHARS_MAX, "bytes")
        return replace(spec, inline=inline)

    await change_role(desk, caller, role, "PutRolePolicy", change)


async def delete_inline(desk: Desk, caller: Caller, role: str, name: str) -> None:
    """Drop an inline policy; NotFound."""

    def change(spec: RoleSpec) -> RoleSpec:
        inline_of(spec, name)
        return replace(spec, inline={key: text for key, text in spec.inline.items() if key != name})

    await change_role(desk, caller, role, "DeleteRolePolicy", change)


def inline_of(spec: RoleSpec, name: str) -> str:
    """The document of an inline policy; NotFound."""
    document = spec.inline.get(name)
    if document is None:
        raise NotFound("role policy", name, name)
    return document


def update_trust(document: str) -> Callable[[RoleSpec], RoleSpec]:
    """For `change_role`. Raises MalformedPolicy, LimitExceeded."""
    check_policy(document, TRUST_CHARS_MAX, "ACLSizePerRole")
    return lambda spec: replace(spec, trust=document)


# -- policies ----------------------------------------------------------------------------------------------------------


async def create_policy(desk: Desk, caller: Caller, name: str, spec: PolicySpec) -> Policy:
    """Store a policy. Raises AlreadyExists, MalformedPolicy, LimitExceeded."""
    check_policy(spec.document, MANAGED_CHARS_MAX, "PolicySize")
    made = Policy(name, arn_of(caller, POLICY, spec.path, name), "", desk.clock.now_us(), spec)
    uid = await _create(desk, caller, POLICY, name, made.arn, spec, POLICIES_MAX)
    return replace(made, uid=uid)


async def get_policy(desk: Desk, caller: Caller, arn: str) -> Policy:
    """The policy of an ARN; NotFound."""
    return await desk.store.read(lambda connection: _policy(connection, caller, arn))


async def list_policies(desk: Desk, caller: Caller, listing: Listing) -> tuple[list[Policy], bool]:
    """One page, and whether there is more."""

    def work(connection: Connection) -> tuple[list[Policy], bool]:
        rows, more = _page(connection, caller, POLICY, listing)
        counts = _attachments(connection, caller)
        return [_policy_of(row, counts) for row in rows], more

    return await desk.store.read(work)


async def delete_policy(desk: Desk, caller: Caller, arn: str) -> None:
    """Drop a policy; NotFound, InUse while it is attached."""

    def work(connection: Connection) -> None:
        policy = _policy(connection, caller, arn)
        if policy.attached:
            raise InUse("Cannot delete a policy attached to entities.")
        connection.execute(delete(table).where(table.c.uid == policy.uid))
        _note(connection, caller, "DeletePolicy", policy.uid, policy.arn, POLICY, desk.clock.now_us())

    await desk.store.write(work)


# -- rows --------------------------------------------------------------------------------------------------------------


def arn_of(caller: Caller, kind: str, path: str, name: str) -> str:
    """`arn:aws:iam::ACCOUNT:role/PATH/NAME`: IAM has no regions."""
    return f"arn:aws:iam::{caller.scope.account}:{kind}{path}{name}"


async def _create(
    desk: Desk, caller: Caller, kind: str, name: str, arn: str, spec: RoleSpec | PolicySpec, most: int
) -> str:
    now_us = desk.clock.now_us()
    uid = desk.ids.ulid(now_us)
    account = caller.scope.account

    def work(connection: Connection) -> None:
        if _find(connection, caller, kind, name) is not None:
            raise AlreadyExists(kind, name, arn)
        mine = (table.c.account == account, table.c.kind == kind)
        if connection.execute(select(func.count()).select_from(table).where(*mine)).scalar_one() >= most:
            raise LimitExceeded("RolesPerAccount" if kind == ROLE else "PoliciesPerAccount", most, kind)
        times = {"created_us": now_us, "modified_us": now_us}
        named = {"kind": kind, "name": name, "name_key": name.lower()}
        connection.execute(insert(table).values(uid=uid, account=account, **named, **times, spec=pack(spec)))
        _note(connection, caller, f"Create{kind.title()}", uid, arn, kind, now_us)

    await desk.store.write(work)
    return uid


def _find(connection: Connection, caller: Caller, kind: str, name: str) -> Row[Any] | None:
    where = (table.c.account == caller.scope.account, table.c.kind == kind, table.c.name_key == name.lower())
    return connection.execute(select(table).where(*where)).first()


def _role(connection: Connection, caller: Caller, name: str) -> Role:
    row = _find(connection, caller, ROLE, name)
    if row is None:
        raise NotFound(ROLE, name, arn_of(caller, ROLE, "/", name))
    return _role_of(row)


def _policy(connection: Connection, caller: Caller, arn: str) -> Policy:
    if not arn.startswith("arn:"):
        raise Invalid(f"ARN {arn} is not valid.")
    row = _find(connection, caller, POLICY, arn.rpartition("/")[2])
    found = None if row is None else _policy_of(row, _attachments(connection, caller))
    if found is None or found.arn != arn:
        raise NotFound(POLICY, arn.rpartition("/")[2], arn)
    return found


def _page(connection: Connection, caller: Caller, kind: str, listing: Listing) -> tuple[list[Row[Any]], bool]:
    """Rows in the order of names. Paths stand in the specification; there are few enough rows to look into each."""
    where = (table.c.account == caller.scope.account, table.c.kind == kind, table.c.name_key > listing.after)
    found = []
    for row in connection.execute(select(table).where(*where).order_by(table.c.name_key)):
        path = (unpack(row.spec, RoleSpec) if kind == ROLE else unpack(row.spec, PolicySpec)).path
        if path.startswith(listing.path):
            found.append(row)
        if len(found) > listing.limit:
            break
    return found[: listing.limit], len(found) > listing.limit


def _attachments(connection: Connection, caller: Caller) -> dict[str, int]:
    """Policy ARN to the number of roles it is attached to."""
    counts: dict[str, int] = {}
    where = (table.c.account == caller.scope.account, table.c.kind == ROLE)
    for document in connection.execute(select(table.c.spec).where(*where)).scalars():
        for arn in unpack(document, RoleSpec).attached:
            counts[arn] = counts.get(arn, 0) + 1
    return counts


def _role_of(row: Row[Any]) -> Role:
    spec = unpack(row.spec, RoleSpec)
    arn = f"arn:aws:iam::{row.account}:{ROLE}{spec.path}{row.name}"
    return Role(row.name, arn, row.uid, row.created_us, spec)


def _policy_of(row: Row[Any], counts: Mapping[str, int]) -> Policy:
    spec = unpack(row.spec, PolicySpec)
    arn = f"arn:aws:iam::{row.account}:{POLICY}{spec.path}{row.name}"
    return Policy(row.name, arn, row.uid, row.created_us, spec, counts.get(arn, 0))


def _note(
    connection: Connection, caller: Caller, action: str, uid: str, arn: str, kind: str, now_us: int
) -> None:  # fmt: skip
    record(connection, caller, Deed(action, uid, arn, now_us, kind))
