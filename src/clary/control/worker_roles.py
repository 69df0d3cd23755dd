"""What a worker or a training job's process is lent: the credentials of its execution role, for as long as it runs.

Its environment names a page of control (AWS_CONTAINER_CREDENTIALS_FULL_URI) and a token for it; SDKs of AWS ask
it by themselves, again before an hour is over. The token is of that one replica or job; no other secret enters it.
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
from clary.domain.training import ENDED
from clary.store.endpoints import endpoint_by_uid, fleet_of
from clary.store.records import record
from clary.store.sessions import Sessions
from clary.store.tables import replicas, training_jobs
from clary.store.training import training_job

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

    def environment(self, uid: str, region: str) -> dict[str, str]:
        """Variables that make the SDKs of AWS in a replica's or a training job's process speak to this server as its
        role.

        SDKs take credentials over plain HTTP from loopback addresses only: a server bound to another address gives
        none, and says where it is.
        """
        regions = dict.fromkeys(("AWS_REGION", "AWS_DEFAULT_REGION", "SAGEMAKER_REGION"), region)
        said = {**regions, "AWS_ENDPOINT_URL": self.url}
        if _is_loopback(self.url):
            said["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = f"{self.url}{PATH}{uid}"
            said["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = self.token(uid)
        return said

    def token(self, uid: str) -> str:
        """The same for the same replica, so that its specification does not change."""
        return hmac.digest(self.key, uid.encode(), hashlib.sha256).hex()

    def holds(self, uid: str, token: str) -> bool:
        """Whether the token is that replica's or job's."""
        return hmac.compare_digest(self.token(uid).encode(), token.encode("utf-8", "replace"))


@dataclass(frozen=True)
class Borrower:
    """Whose process asks."""

    scope: Scope
    name: str
    """The endpoint's or the training job's: what the session is called."""
    role_arn: str


async def lend(desk: Desk, sessions: Sessions, uid: str, request_id: str) -> tuple[str, Credentials]:
    """The role of a replica's model or of a training job, and an hour's credentials of it. NotFound for a replica that
    is gone and a job that has ended, Invalid where the role is none of the account."""
    who = await desk.store.read(lambda connection: _borrower(connection, uid))
    found = ROLE_ARN.fullmatch(who.role_arn)
    if found is None or found["account"] != who.scope.account:
        raise Invalid(f"The role {who.role_arn!r} of {who.name} is no role of account {who.scope.account}.")
    now_us = desk.clock.now_us()
    made = worker_credentials(sessions, who.role_arn, who.name, now_us)
    caller = Caller(
        Principal(who.scope.account, _SERVICE, ""), who.scope, request_id, Asked(source="sts.amazonaws.com")
    )
    deed = Deed("AssumeRole", found["name"], who.role_arn, now_us, "role")
    await desk.store.write(lambda connection: record(connection, caller, deed))
    return who.role_arn, made


def _borrower(connection: Connection, uid: str) -> Borrower:
    row = connection.execute(select(replicas).where(replicas.c.uid == uid)).first()
    endpoint = None if row is None else endpoint_by_uid(connection, row.endpoint_uid)
    if row is None or endpoint is None:
        return _trainer(connection, uid)
    revision = fleet_of(connection, row.endpoint_uid, row.generation).revision
    role_arn = next(variant.role_arn for variant in revision.variants if variant.name == row.variant)
    return Borrower(endpoint.scope, endpoint.name, role_arn)


def _trainer(connection: Connection, uid: str) -> Borrower:
    row = connection.execute(select(training_jobs).where(training_jobs.c.uid == uid)).first()
    job = None if row is None else training_job(row)
    if job is None or job.phase in ENDED:
        raise NotFound("replica", uid, uid)
    return Borrower(job.scope, job.name, job.spec.role_arn)


def _is_loopback(url: str) -> bool:
    try:
        return ipaddress.ip_address(urlsplit(url).hostname or "").is_loopback
    except ValueError:
        return False
