"""AssumeRole and GetSessionToken: who gets what, for how long, and what the audit says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from clary.control import iam
from clary.control import sessions as use_cases
from clary.control.sessions import Denied, Wish
from clary.domain.errors import Invalid
from clary.domain.iam import RoleSpec
from clary.domain.principal import Principal
from clary.kit.clock import MICROS
from clary.store.sessions import Sessions
from clary.store.tables import audit
from tests.support.hosting import CALLER, Host

ROLE = "arn:aws:iam::123456789012:role/service-role/notebook"
SESSIONS = Sessions(bytes(32))
LIVE = {CALLER.principal.key_id}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.close()


def principal_of(made: use_cases.Credentials) -> Principal:
    key = SESSIONS.key_of(made.key_id, made.token, LIVE)
    assert key is not None
    return Principal(key.account, key.arn, key.key_id, key.session, key.user_id, True, key.parent)


async def test_a_role_is_assumed_by_its_last_name_and_the_audit_names_it(host: Host) -> None:
    made = await use_cases.assume_role(host.desk, SESSIONS, CALLER, ROLE, "ann")
    assert made.arn == "arn:aws:sts::123456789012:assumed-role/notebook/ann"
    assert made.user_id == f"{use_cases.role_id(ROLE)}:ann"
    assert made.expires_s == host.clock.now_us() // MICROS + 3600
    assert principal_of(made).session == "ann"
    rows = await host.store.read(lambda connection: connection.execute(select(audit)).all())
    assert [(row.action, row.resource, row.principal_arn) for row in rows] == [
        ("AssumeRole", ROLE, CALLER.principal.arn)
    ]


async def test_what_a_session_does_stands_in_the_audit_under_its_name(host: Host) -> None:
    made = await use_cases.assume_role(host.desk, SESSIONS, CALLER, ROLE, "ann")
    await host.model("m", "s3://b/k")
    again = replace(CALLER, principal=principal_of(made))
    await use_cases.assume_role(host.desk, SESSIONS, again, ROLE, "bob", Wish(900))
    rows = await host.store.read(lambda connection: connection.execute(select(audit)).all())
    assert (rows[-1].session, rows[-1].principal_arn, rows[-1].key_id) == ("ann", made.arn, made.key_id)


async def test_a_chain_lasts_an_hour_at_most_and_ends_with_the_first_key(host: Host) -> None:
    made = await use_cases.assume_role(host.desk, SESSIONS, CALLER, ROLE, "ann", Wish(43_200))
    again = replace(CALLER, principal=principal_of(made))
    with pytest.raises(Invalid, match="1 hour session limit for roles assumed by role chaining"):
        await use_cases.assume_role(host.desk, SESSIONS, again, ROLE, "bob", Wish(3601))
    chained = await use_cases.assume_role(host.desk, SESSIONS, again, ROLE, "bob", Wish(3600))
    assert principal_of(chained).parent == CALLER.principal.key_id
    assert SESSIONS.key_of(chained.key_id, chained.token, set()) is None


async def test_other_accounts_roles_are_denied_and_what_is_no_role_is_invalid(host: Host) -> None:
    with pytest.raises(Denied) as denied:
        await use_cases.assume_role(host.desk, SESSIONS, CALLER, "arn:aws:iam::999999999999:role/r", "ann")
    assert denied.value.message == (
        "User: arn:aws:iam::123456789012:root is not authorized to perform: sts:AssumeRole on resource: "
        "arn:aws:iam::999999999999:role/r"
    )
    with pytest.raises(Invalid):
        await use_cases.assume_role(host.desk, SESSIONS, CALLER, "arn:aws:iam::123456789012:user/ann", "ann")


async def test_session_tokens_are_the_caller_itself_and_not_for_sessions(host: Host) -> None:
    made = await use_cases.session_token(host.desk, SESSIONS, CALLER, Wish(43_200))
    assert (made.arn, made.expires_s) == (CALLER.principal.arn, host.clock.now_us() // MICROS + 3600)
    ann = replace(CALLER, principal=replace(CALLER.principal, arn="arn:aws:iam::123456789012:user/ann"))
    assert (await use_cases.session_token(host.desk, SESSIONS, ann)).expires_s - made.expires_s == 39_600
    with pytest.raises(Denied, match="Cannot call GetSessionToken with session credentials"):
        await use_cases.session_token(host.desk, SESSIONS, replace(CALLER, principal=principal_of(made)))


def test_a_workers_credentials_are_the_servers_own() -> None:
    made = use_cases.worker_credentials(SESSIONS, ROLE, "replica", 0)
    assert SESSIONS.key_of(made.key_id, made.token, set()) is not None


async def test_a_role_that_was_created_says_how_long_its_sessions_may_be(host: Host) -> None:
    trust = '{"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole"}}'
    await iam.create_role(host.desk, CALLER, "notebook", RoleSpec(trust, session_s=7200))
    await use_cases.assume_role(host.desk, SESSIONS, CALLER, ROLE, "ann", Wish(7200))
    with pytest.raises(Invalid, match="exceeds the MaxSessionDuration set for this role"):
        await use_cases.assume_role(host.desk, SESSIONS, CALLER, ROLE, "ann", Wish(7201))
