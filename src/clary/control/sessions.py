"""Temporary credentials: AssumeRole and GetSessionToken. Nothing is stored but the audit line: the token is it all."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
from dataclasses import dataclass

from msgspec.structs import replace

from clary.control import iam
from clary.control.desk import Caller, Deed, Desk
from clary.domain.errors import Invalid, NotFound
from clary.kit.clock import MICROS
from clary.store.records import record
from clary.store.sessions import Session, Sessions, new_key_pair

ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::(?P<account>\d{12}):role/(?:[!-~]+/)?(?P<name>[\w+=,.@-]{1,64})", re.ASCII)
ROLE_DEFAULT_S = 3_600
"""DurationSeconds of AssumeRole where it is not given; also the most for a session that assumes a role in turn."""
TOKEN_DEFAULT_S = 43_200
"""DurationSeconds of GetSessionToken where it is not given."""
TOKEN_ROOT_S = 3_600
"""The most, and the default, for the root's (GetSessionToken, API reference)."""


@dataclass(frozen=True)
class Credentials:
    """What a caller gets."""

    key_id: str
    secret: str
    token: str
    expires_s: int
    arn: str
    user_id: str


class Denied(Exception):  # noqa: N818 - a refusal, not a fault
    """The caller may not do this. `message` is for people."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def role_id(arn: str) -> str:
    """The unique id of a role, `AROA` and 17 characters: it follows from the ARN, so that roles need not be stored."""
    return "AROA" + base64.b32encode(hashlib.sha256(arn.encode()).digest()).decode()[:17]


@dataclass(frozen=True)
class Wish:
    """What a caller asks for."""

    duration_s: int | None = None
    """None: the default."""
    token_chars_min: int = 0
    """MinimumSessionTokenSize."""


async def assume_role(
    desk: Desk, sessions: Sessions, caller: Caller, role_arn: str, name: str, wish: Wish = Wish()
) -> Credentials:
    """Credentials of a role in the caller's own account, stored or not; Denied for another account's, Invalid."""
    role = _role(role_arn)
    who = caller.principal
    if role["account"] != who.account:
        raise Denied(f"User: {who.arn} is not authorized to perform: sts:AssumeRole on resource: {role_arn}")
    wanted_s = ROLE_DEFAULT_S if wish.duration_s is None else wish.duration_s
    if who.temporary and wanted_s > ROLE_DEFAULT_S:
        text = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
        raise Invalid(text)
    await _check_duration(desk, caller, role["name"], wanted_s)
    parent = who.parent if who.temporary else who.key_id
    session = _role_session(role_arn, name, desk.clock.now_us() // MICROS + wanted_s)
    await _note(desk, caller, "AssumeRole", role_arn, "role")
    return _made(sessions, replace(session, parent=parent, open=sessions.open_server), wish.token_chars_min)


async def session_token(desk: Desk, sessions: Sessions, caller: Caller, wish: Wish = Wish()) -> Credentials:
    """Temporary credentials of the caller itself; Denied for a caller that has only such."""
    who = caller.principal
    if who.temporary:
        raise Denied("Cannot call GetSessionToken with session credentials")
    root = who.arn.endswith(":root")
    wanted_s = (TOKEN_ROOT_S if root else TOKEN_DEFAULT_S) if wish.duration_s is None else wish.duration_s
    key_id, secret = new_key_pair()
    session = Session(
        key_id, secret, who.account, who.arn, who.key_id,
        expires_s=desk.clock.now_us() // MICROS + (min(wanted_s, TOKEN_ROOT_S) if root else wanted_s),
        parent=who.key_id, open=sessions.open_server,
    )  # fmt: skip
    await _note(desk, caller, "GetSessionToken", who.arn, "user")
    return _made(sessions, session, wish.token_chars_min)


def worker_credentials(sessions: Sessions, role_arn: str, name: str, now_us: int) -> Credentials:
    """An hour's credentials of a model's execution role, made by the server itself; Invalid for an ARN that is none.

    They hold with and without --auth: a worker that outlives a restart goes on.
    """
    return _made(sessions, _role_session(role_arn, name, now_us // MICROS + ROLE_DEFAULT_S))


async def _check_duration(desk: Desk, caller: Caller, role: str, wanted_s: int) -> None:
    """A role that was created says how long its sessions may be; Invalid."""
    with contextlib.suppress(NotFound):
        longest_s = (await iam.get_role(desk, caller, role)).spec.session_s
        if wanted_s > longest_s:
            raise Invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")


def _role(role_arn: str) -> re.Match[str]:
    found = ROLE_ARN.fullmatch(role_arn)
    if found is None:
        raise Invalid(f"{role_arn} is invalid")
    return found


def _role_session(role_arn: str, name: str, expires_s: int) -> Session:
    role = _role(role_arn)
    account = role["account"]
    arn = f"arn:aws:sts::{account}:assumed-role/{role['name']}/{name}"
    return Session(*new_key_pair(), account, arn, f"{role_id(role_arn)}:{name}", expires_s, name=name)


def _made(sessions: Sessions, session: Session, chars_min: int = 0) -> Credentials:
    token = sessions.seal(session, chars_min)
    return Credentials(session.key_id, session.secret, token, session.expires_s, session.arn, session.user_id)


async def _note(desk: Desk, caller: Caller, action: str, resource: str, kind: str) -> None:
    deed = Deed(action, resource.rpartition("/")[2][:128], resource, desk.clock.now_us(), kind)
    await desk.store.write(lambda connection: record(connection, caller, deed))
