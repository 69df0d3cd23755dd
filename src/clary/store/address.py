"""Where a server's store is, where it is not HOME/clary.db: the URL of a PostgreSQL database, and its password apart.

The URL travels in argv, logs and `clary config`; the password does not: `clary serve` leaves it in a file of
HOME/secrets, where control, `clary backup` and `clary doctor` find it.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from clary.kit.durable import replace_file

SCHEMES = ("postgresql", "postgres")
FILE = "store.json"
"""In HOME/secrets, 0600: the store of the last `clary serve`; no file where that was HOME/clary.db."""


@dataclass(frozen=True)
class Address:
    """A PostgreSQL database."""

    url: str
    """As libpq reads it (PostgreSQL's manual, 34.1.1.2), without a password."""
    password: str = field(default="", repr=False)
    """Empty: PGPASSWORD, a password file, a certificate or trust, as libpq finds them."""

    def __str__(self) -> str:
        return self.url


def parse_address(text: str) -> Address:
    """An address of its URL. ValueError, whose text never shows the URL, for one that cannot be used."""
    scheme, _, rest = text.partition("://")
    if scheme not in SCHEMES or not rest:
        raise ValueError("is not of the form postgresql://USER@HOST/DATABASE")
    if importlib.util.find_spec("psycopg") is None:
        raise ValueError("needs the package psycopg: pip install 'clary[postgres]'")
    parts = urlsplit(text)
    # An @ further on belongs to a password that holds a /, ? or #, which would be shown as part of the rest.
    if "@" in parts.path + parts.query or "#" in text:
        raise ValueError("has a character that must be percent-encoded: %40 for @, %2F for /, %3F for ?, %23 for #")
    user, at, hosts = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    options = [option for option in parts.query.split("&") if option]
    kept = [option for option in options if not option.startswith("password=")]
    for option in options:
        if option.startswith("password="):
            password = option.removeprefix("password=")
    url = urlunsplit(("postgresql", f"{name}{at}{hosts}", parts.path, "&".join(kept), ""))
    # urlunsplit writes an empty host without its slashes, which libpq needs.
    if not url.startswith("postgresql://"):
        url = url.replace("postgresql:", "postgresql://", 1)
    return Address(url, unquote(password))


def remember(home: Path, address: Address | None) -> None:
    """Note which store HOME will be served with; None: HOME/clary.db. Nothing where a server holds its lock: that one
    goes on, and the new one will be refused. OSError where HOME cannot be written."""
    path = home / "secrets" / FILE
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with (home / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        if address is None:
            path.unlink(missing_ok=True)
        else:
            replace_file(path, json.dumps({"url": address.url, "password": address.password}).encode(), 0o600)


def served_address(home: Path, given: Address | None) -> Address | None:
    """The store of HOME's server: the one given, with the password that is remembered where it has none, else the one
    remembered; None for HOME/clary.db."""
    try:
        facts = json.loads((home / "secrets" / FILE).read_text())
        kept = Address(str(facts["url"]), str(facts["password"]))
    except (OSError, ValueError, KeyError, TypeError):
        return given
    if given is None:
        return kept
    return kept if given.url == kept.url and not given.password else given


def session_name(role: str) -> str:
    """How connections of this process are called in pg_stat_activity: at most 63 bytes of ASCII, unlike any other's."""
    host = os.uname().nodename.encode("ascii", "replace").decode()[:20]
    return f"{role} on {host}, pid {os.getpid()} ({os.urandom(3).hex()})"
