"""Secrets at rest: AES-256-GCM under a key-encryption key that lies beside the database, readable by its owner only.

What it buys: a copy of the database (a backup, a support bundle) gives no secret away. Who can read HOME/secrets can.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
NONCE_BYTES = 12
"""Random: with 2^32 secrets under one key the chance of a repeat is still below 2^-32 (NIST SP 800-38D)."""


class SealError(RuntimeError):
    """A secret cannot be opened: another kek, or a damaged row. The message names the remedy."""


class Seal:
    """Seals and opens secrets. `label` binds a sealed secret to its row: it opens nowhere else."""

    def __init__(self, kek: bytes) -> None:
        self._cipher = AESGCM(kek)
        self._kek = kek

    def derive(self, purpose: str) -> bytes:
        """32 bytes that follow from the kek and tell nothing of it: the key for another purpose (RFC 5869)."""
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"clary {purpose}".encode()).derive(self._kek)

    def close(self, secret: str, label: str) -> bytes:
        """Nonce and ciphertext."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret.encode(), label.encode())

    def open(self, sealed: bytes, label: str) -> str:
        """The secret; SealError where it was sealed with another key or for another label."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], label.encode()).decode()
        except InvalidTag:
            raise SealError(
                f"the secret of {label} does not open with HOME/secrets/kek. "
                "Restore the kek that belongs to this database, or revoke the key and create another."
            ) from None


def load_seal(path: Path) -> Seal:
    """The seal of the kek at `path`, which is made (0600, its folder 0700) where it does not exist. Blocking."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        write_secret(path, os.urandom(KEY_BYTES))
    kek = path.read_bytes()
    if len(kek) != KEY_BYTES:
        raise SealError(f"{path} has {len(kek)} bytes and should have {KEY_BYTES}. Restore it from a backup.")
    return Seal(kek)


def write_secret(path: Path, content: bytes) -> None:
    """Replace a file durably, readable by its owner only from its first moment."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
