"""Access keys: create, list, revoke, look up; and the root key that `clary env` and the CLI use.

Ids start with CLARY, which no key of AWS does: they are worth nothing elsewhere, and a leaked one is told at a glance.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, update

from clary.control.desk import Caller, Deed, Desk
from clary.domain.errors import Invalid, LimitExceeded, NotFound
from clary.domain.principal import Principal, Scope
from clary.kit.sigv4_claim import Key
from clary.store.keys import KeyRecord, key_records, live_keys, put_key
from clary.store.records import announce, last_change, record
from clary.store.seal import Seal, write_secret
from clary.store.sessions import Sessions
from clary.store.tables import keys as keys_table

KIND = "key"
ROOT = "root"
KEYS_MAX = 1_000
"""Keys that may sign at once; every router holds all of them."""
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class NewKey:
    """A key as shown once, to whoever made it."""

    key_id: str
    secret: str
    account: str
    arn: str
    name: str


class KeyRing:
    """The keys that may sign, in memory: what the door asks for every request (kit.sigv4_claim.Keys)."""

    def __init__(self, sessions: Sessions | None = None) -> None:
        """`sessions` opens session tokens; None: temporary credentials are unknown."""
        self._keys: dict[str, Key] = {}
        self._sessions = sessions

    def lookup(self, key_id: str, token: str = "") -> Key | None:
        """The key, or None where it is unknown or revoked, or its token not of this server."""
        if not token:
            return self._keys.get(key_id)
        return None if self._sessions is None else self._sessions.key_of(key_id, token, self._keys)

    async def refresh(self, desk: Desk, seal: Seal) -> None:
        """Read the keys anew."""
        live = await desk.store.read(lambda connection: live_keys(connection, seal))
        self._keys = {key.key_id: key for key in live}

    async def follow(self, desk: Desk, seal: Seal) -> None:
        """Refresh after every change of a key, forever: a revoked one is refused as soon as that is durable."""
        read = -1
        while True:
            seen = desk.store.signal.version
            newest = await desk.store.read(partial(last_change, kind=KIND))
            if newest != read:
                await self.refresh(desk, seal)
                read = newest
            await desk.store.signal.wait_past(seen)


async def create(desk: Desk, seal: Seal, caller: Caller, name: str) -> NewKey:
    """A key of user `name` in the caller's account. Raises Invalid for a name that is none, LimitExceeded."""
    if not _NAME.fullmatch(name):
        raise Invalid(f"The name '{name[:64]}' of the key is not one to 64 of letters, digits and _+=,.@-.")
    arn = f"arn:aws:iam::{caller.scope.account}:user/{name}"
    return await _create(desk, seal, caller, NewKey(_key_id(), _secret(), caller.scope.account, arn, name))


async def list_keys(desk: Desk) -> list[KeyRecord]:
    """Every key, revoked ones too, without secrets; oldest first."""
    return await desk.store.read(key_records)


async def revoke(desk: Desk, caller: Caller, key_id: str) -> None:
    """Refuse the key from now on. Raises NotFound for an unknown or revoked one, Invalid for the root key."""
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> None:
        found = next((key for key in key_records(connection) if key.key_id == key_id and key.revoked_us is None), None)
        if found is None:
            raise NotFound(KIND, key_id, key_id)
        if found.name == ROOT and found.arn.endswith(":root"):
            raise Invalid(
                f"The root key {key_id} is what the clary command uses and cannot be revoked. "
                "Delete HOME/secrets/root.json and restart to replace it."
            )
        _revoke(connection, caller, key_id, now_us)

    await desk.store.write(work)


async def ensure_root(desk: Desk, seal: Seal, path: Path, account: str, region: str) -> Key:
    """The root key of `path` (HOME/secrets/root.json, 0600), made on the first start and again when the file is gone.

    A root key that stands in the store and not in the file is revoked: whoever removed the file wanted that.
    """
    caller = Caller(Principal(account, f"arn:aws:iam::{account}:root", ""), Scope(account, region), "")
    kept = _read_root(path)
    ring = KeyRing()
    await ring.refresh(desk, seal)
    if kept is not None:
        found = ring.lookup(kept["key_id"])
        if found is not None and found.secret == kept["secret"] and found.account == account:
            return found
    arn = f"arn:aws:iam::{account}:root"
    new = NewKey(_key_id(), _secret(), account, arn, ROOT)
    # The file first: a key in the file that the store lacks is made anew, one in the store alone would be nobody's.
    document = {"key_id": new.key_id, "secret": new.secret, "account": account, "arn": arn}
    write_secret(path, json.dumps(document, indent=1).encode() + b"\n")
    now_us = desk.clock.now_us()

    def retire(connection: Connection) -> None:
        for key in key_records(connection):
            if key.name == ROOT and key.arn.endswith(":root") and key.revoked_us is None:
                _revoke(connection, caller, key.key_id, now_us)

    await desk.store.write(retire)
    await _create(desk, seal, caller, new)
    return Key(key_id=new.key_id, secret=new.secret, account=account, arn=arn)


async def _create(desk: Desk, seal: Seal, caller: Caller, new: NewKey) -> NewKey:
    now_us = desk.clock.now_us()

    def work(connection: Connection) -> None:
        live = sum(key.revoked_us is None for key in key_records(connection))
        if live >= KEYS_MAX:
            raise LimitExceeded("access keys", KEYS_MAX, "keys")
        put_key(connection, seal, KeyRecord(new.key_id, new.account, new.arn, new.name, now_us, None), new.secret)
        announce(connection, KIND, new.key_id, now_us)
        record(connection, caller, Deed("CreateAccessKey", new.key_id, new.key_id, now_us, KIND))

    await desk.store.write(work)
    return new


def _revoke(connection: Connection, caller: Caller, key_id: str, now_us: int) -> None:
    connection.execute(update(keys_table).where(keys_table.c.key_id == key_id).values(revoked_us=now_us))
    announce(connection, KIND, key_id, now_us)
    record(connection, caller, Deed("RevokeAccessKey", key_id, key_id, now_us, KIND))


def _read_root(path: Path) -> dict[str, str] | None:
    try:
        kept = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    usable = isinstance(kept, dict) and all(isinstance(kept.get(part), str) for part in ("key_id", "secret"))
    return kept if usable else None


def _key_id() -> str:
    """CLARY and 15 characters: 20 in all, as the ids of AWS have."""
    return "CLARY" + "".join(secrets.choice(_ALPHABET) for _ in range(15))


def _secret() -> str:
    """40 characters of base64 with 240 random bits, as the secrets of AWS have."""
    return secrets.token_urlsafe(30)
