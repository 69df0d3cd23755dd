"""Session credentials: self-contained tokens that whoever holds the session key verifies without asking the store.

A token is AES-256-GCM of the session itself, secret included, under a key derived from HOME/secrets/kek. Control and
the routers hold that key; nothing about a session is stored, so that sessions work while control is away and their
number has no limit. A session ends with its time, or earlier with the access key that it came from.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from collections.abc import Container

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from clary.kit.sigv4_claim import Key

TOKEN_CHARS_MAX = 4096
"""A longer token is none of ours; the hosted service advises clients to reserve as much."""
_NONCE_BYTES = 12
_TAG_BYTES = 16
_LABEL = b"clary session token 1"
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


class Session(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a token says. Short names: it rides in every request's headers."""

    key_id: str = msgspec.field(name="k")
    secret: str = msgspec.field(name="s")
    account: str = msgspec.field(name="a")
    arn: str = msgspec.field(name="r")
    """`arn:aws:sts::ACCOUNT:assumed-role/ROLE/NAME`, or the user's own (GetSessionToken)."""
    user_id: str = msgspec.field(name="u")
    """`AROA...:NAME`, or the user's own."""
    expires_s: int = msgspec.field(name="e")
    """Seconds since 1970."""
    name: str = msgspec.field(name="n", default="")
    """RoleSessionName; empty for GetSessionToken."""
    parent: str = msgspec.field(name="p", default="")
    """The access key behind it, with which it ends; empty: the server itself, for a worker."""
    open: bool = msgspec.field(name="o", default=False)
    """Made by a server without --auth, which verified nobody: worth nothing with --auth."""


class Sessions:
    """Seals and opens session tokens."""

    def __init__(self, key: bytes, *, auth: bool = True) -> None:
        """`key`: 32 bytes, `Seal.derive("sessions")`. `auth`: whether this server verifies its callers."""
        self._cipher = AESGCM(key)
        self._auth = auth

    @property
    def open_server(self) -> bool:
        """Whether the server verifies nobody; sessions that it makes then say so."""
        return not self._auth

    def seal(self, session: Session, chars_min: int = 0) -> str:
        """The token, blown up to `chars_min` characters where it is shorter."""
        nonce = os.urandom(_NONCE_BYTES)
        # Blanks after a JSON document mean nothing.
        said = msgspec.json.encode(session).ljust(-(-chars_min // 4) * 3 - _NONCE_BYTES - _TAG_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, said, _LABEL)
        return base64.urlsafe_b64encode(sealed).decode("ascii")

    def open(self, token: str) -> Session | None:
        """What a token says; None for one that this server (with this kek) did not make."""
        if len(token) > TOKEN_CHARS_MAX:
            return None
        try:
            raw = base64.b64decode(token, altchars=b"-_", validate=True)
            said = self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _LABEL)
            return msgspec.json.decode(said, type=Session)
        except (binascii.Error, ValueError, InvalidTag):
            return None

    def key_of(self, key_id: str, token: str, live: Container[str]) -> Key | None:
        """The key that a token stands for, with its end in it (`Key.expires_s`, which verifying checks); None where
        the token is not ours, belongs to another key id, or came from a key that is not in `live` any more."""
        session = self.open(token)
        if session is None or session.key_id != key_id:
            return None
        if session.open:
            if self._auth:
                return None
        elif session.parent and session.parent not in live:
            return None
        return Key(
            session.key_id, session.secret, session.account, session.arn, session.user_id, session.name,
            session.expires_s, session.parent,
        )  # fmt: skip


def new_key_pair() -> tuple[str, str]:
    """Access key id (CLAST and 15 characters: 20 in all, as the ids of AWS have) and secret of a new session."""
    return "CLAST" + "".join(secrets.choice(_ALPHABET) for _ in range(15)), secrets.token_urlsafe(30)
