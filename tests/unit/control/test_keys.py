"""Access keys: made, listed, revoked, looked up; and the root key."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from clary.control import keys
from clary.control.keys import KeyRing
from clary.domain.errors import Invalid, LimitExceeded, NotFound
from clary.kit.sigv4_claim import Key
from clary.store.seal import Seal, load_seal
from clary.store.tables import audit
from clary.store.tables import keys as table
from tests.support.hosting import CALLER, Host

ACCOUNT, REGION = "123456789012", "us-east-1"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.close()


@pytest.fixture
def seal(host: Host) -> Seal:
    return load_seal(host.home / "secrets" / "kek")


async def lookup(host: Host, seal: Seal, key_id: str) -> Key | None:
    ring = KeyRing()
    await ring.refresh(host.desk, seal)
    return ring.lookup(key_id)


async def test_a_key_is_made_found_and_revoked(host: Host, seal: Seal) -> None:
    new = await keys.create(host.desk, seal, CALLER, "ann")
    assert new.key_id.startswith("CLARY")
    assert (len(new.key_id), len(new.secret)) == (20, 40)
    assert await lookup(host, seal, new.key_id) == Key(
        new.key_id, new.secret, ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/ann"
    )
    await keys.revoke(host.desk, CALLER, new.key_id)
    assert await lookup(host, seal, new.key_id) is None
    (listed,) = await keys.list_keys(host.desk)
    assert (listed.name, listed.revoked_us is not None) == ("ann", True)
    with pytest.raises(NotFound):
        await keys.revoke(host.desk, CALLER, new.key_id)
    rows = await host.store.read(lambda connection: connection.execute(select(audit)).all())
    assert [row.action for row in rows] == ["CreateAccessKey", "RevokeAccessKey"]


async def test_the_secret_is_nowhere_in_the_database(host: Host, seal: Seal) -> None:
    new = await keys.create(host.desk, seal, CALLER, "ann")
    (row,) = await host.store.read(lambda connection: connection.execute(select(table)).all())
    assert new.secret not in repr(row)
    content = await asyncio.to_thread(lambda: [path.read_bytes() for path in host.home.glob("clary.db*")])
    assert not any(new.secret.encode() in part for part in content)


async def test_a_running_ring_follows(host: Host, seal: Seal) -> None:
    ring = KeyRing()
    follow = asyncio.create_task(ring.follow(host.desk, seal))
    new = await keys.create(host.desk, seal, CALLER, "ann")
    await host.until(lambda: ring.lookup(new.key_id) is not None)
    await keys.revoke(host.desk, CALLER, new.key_id)
    await host.until(lambda: ring.lookup(new.key_id) is None)
    follow.cancel()
    await asyncio.gather(follow, return_exceptions=True)


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "a/b"])
async def test_a_bad_name_is_refused(host: Host, seal: Seal, name: str) -> None:
    with pytest.raises(Invalid):
        await keys.create(host.desk, seal, CALLER, name)


async def test_keys_have_a_limit(host: Host, seal: Seal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "KEYS_MAX", 2)
    for name in ("a", "b"):
        await keys.create(host.desk, seal, CALLER, name)
    with pytest.raises(LimitExceeded):
        await keys.create(host.desk, seal, CALLER, "c")


async def root(host: Host, seal: Seal, account: str = ACCOUNT) -> Key:
    return await keys.ensure_root(host.desk, seal, host.home / "secrets" / "root.json", account, REGION)


async def test_the_root_key_is_made_once_and_kept(host: Host, seal: Seal) -> None:
    path = host.home / "secrets" / "root.json"
    made = await root(host, seal)
    assert await root(host, seal) == made
    mode, document = await asyncio.to_thread(lambda: (path.stat().st_mode, json.loads(path.read_text())))
    assert stat.S_IMODE(mode) == 0o600
    assert (document["key_id"], document["secret"], document["account"]) == (made.key_id, made.secret, ACCOUNT)
    assert await lookup(host, seal, made.key_id) == made
    with pytest.raises(Invalid, match=r"Delete HOME/secrets/root\.json and restart"):
        await keys.revoke(host.desk, CALLER, made.key_id)


@pytest.mark.parametrize("damage", ["removed", "broken", "half", "forged"])
async def test_a_lost_root_file_gives_a_new_key_and_ends_the_old(host: Host, seal: Seal, damage: str) -> None:
    path = host.home / "secrets" / "root.json"
    old = await root(host, seal)
    contents = {"broken": "{", "half": "{}", "forged": json.dumps({"key_id": old.key_id, "secret": "guess"})}
    await asyncio.to_thread(path.unlink)
    if damage in contents:
        await asyncio.to_thread(path.write_text, contents[damage])
    new = await root(host, seal)
    assert new.key_id != old.key_id
    assert await lookup(host, seal, old.key_id) is None
    assert await lookup(host, seal, new.key_id) == new


async def test_another_account_gets_a_root_key_of_its_own(host: Host, seal: Seal) -> None:
    old = await root(host, seal)
    new = await root(host, seal, "210987654321")
    assert new.arn == "arn:aws:iam::210987654321:root"
    assert await lookup(host, seal, old.key_id) is None


async def test_keys_of_another_kek_do_not_stop_the_others(host: Host, seal: Seal) -> None:
    lost = await keys.create(host.desk, seal, CALLER, "ann")
    other = load_seal(host.home / "other" / "kek")
    kept = await keys.create(host.desk, other, CALLER, "bob")
    assert await lookup(host, other, lost.key_id) is None
    assert (await lookup(host, other, kept.key_id)) is not None
