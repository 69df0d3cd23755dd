"""What a worker is lent: the credentials of its model's execution role, for as long as it runs.

A worker's environment names a page of control (AWS_CONTAINER_CREDENTIALS_FULL_URI) and a token for it; SDKs of AWS ask
it by themselves, again before an hour is over. The token is of that one replica; no other secret enters a worker.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from sqlalchemy import Connection, select

from clary.control.desk import Caller, Deed, Desk
from clary.control.sessions import ROLE_ARN, Credentials, worker_credentials
from clary.domain.errors import Invalid, NotFound
from clary.domain.principal import Asked, Principal, Scope
from clary.store.endpoints import endpoint_by_uid, fleet_of
from clary.store.records import record
from clary.store.sessions import Sessions
from clary.store.tables import replicas

PATH = "/clary/credentials/"
_SERVICE = "sagemaker.amazonaws.com"
"""Who assumes the role, in the audit: what a role's trust policy names."""


@dataclass(frozen=True)
class Lender:
    """Makes workers' environments and checks their tokens."""

    url: str
    """Where clients reach the server, such as `http://127.0.0.1:8430`."""
    key: bytes
    """`Seal.derive("workers")`."""

    def environment(self, replica_uid: str, region: str) -> dict[str, str]:
        """Variables that make the SDKs of AWS in a worker speak to this server as its model's role.

        SDKs take credentials over plain HTTP from loopback addresses only: a server bound to another address gives
        none, and says where it is.
        """
        regions = dict.fromkeys(("AWS_REGION", "AWS_DEFAULT_REGION", "SAGEMAKER_REGION"), region)
        said = {**regions, "AWS_ENDPOINT_URL": self.url}
        if _is_loopback(self.url):
            said["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = f"{self.url}{PATH}{replica_uid}"
            said["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = self.token(replica_uid)
        return said

    def token(self, replica_uid: str) -> str:
        """The same for the same replica, so that its specification does not change."""
        return hmac.digest(self.key, replica_uid.encode(), hashlib.sha256).hex()

    def holds(self, replica_uid: str, token: str) -> bool:
        """Whether the token is that replica's."""
        return hmac.compare_digest(self.token(replica_uid).encode(), token.encode("utf-8", "replace"))


@dataclass(frozen=True)
class Borrower:
    """Whose worker asks."""

    scope: Scope
    endpoint: str
    role_arn: str


async def lend(desk: Desk, sessions: Sessions, replica_uid: str, request_id: str) -> tuple[str, Credentials]:
    """The execution role of a replica's model and an hour's credentials of it. NotFound for a replica that is gone,
    Invalid where the model names no role of the account."""
    who = await desk.store.read(lambda connection: _borrower(connection, replica_uid))
    found = ROLE_ARN.fullmatch(who.role_arn)
    if found is None or found["account"] != who.scope.account:
        raise Invalid(f"The model's ExecutionRoleArn {who.role_arn!r} is no role of account {who.scope.account}.")
    now_us = desk.clock.now_us()
    made = worker_credentials(sessions, who.role_arn, who.endpoint, now_us)
    caller = Caller(
        Principal(who.scope.account, _SERVICE, ""), who.scope, request_id, Asked(source="sts.amazonaws.com")
    )
    deed = Deed("AssumeRole", found["name"], who.role_arn, now_us, "role")
    await desk.store.write(lambda connection: record(connection, caller, deed))
    return who.role_arn, made


def _borrower(connection: Connection, replica_uid: str) -> Borrower:
    row = connection.execute(select(replicas).where(replicas.c.uid == replica_uid)).first()
    endpoint = None if row is None else endpoint_by_uid(connection, row.endpoint_uid)
    if row is None or endpoint is None:
        raise NotFound("replica", replica_uid, replica_uid)
    revision = fleet_of(connection, row.endpoint_uid, row.generation).revision
    role_arn = next(variant.role_arn for variant in revision.variants if variant.name == row.variant)
    return Borrower(endpoint.scope, endpoint.name, role_arn)


def _is_loopback(url: str) -> bool:
    try:
        return ipaddress.ip_address(urlsplit(url).hostname or "").is_loopback
    except ValueError:
        return False
