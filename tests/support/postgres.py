"""A PostgreSQL of its own in a temporary folder, from the machine's binaries."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg

from clary.kit.clock import SystemClock
from clary.store.address import Address
from clary.store.postgres import PostgresStore
from tests.support.server import free_port, wait_until

_number = itertools.count()


@functools.cache
def binaries() -> Path | None:
    """The folder of initdb and postgres, or None where the machine has none."""
    asked = shutil.which("pg_config")
    said = subprocess.run([asked, "--bindir"], check=False, capture_output=True, text=True).stdout if asked else ""
    own = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in (Path(own or "/").resolve().parent, Path(said.strip() or "/"), *debian):
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    return None


class Cluster:
    """Listens on loopback, trusts everybody there, and syncs nothing to disk: a test's. Use as a context manager."""

    def __init__(self, *, password: str = "") -> None:
        """`password`: of the user clary, who then must give it."""
        folder = binaries()
        assert folder is not None, "no PostgreSQL on this machine"
        self._bin = folder
        self._password = password
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._template: Address | None = None

    def __enter__(self) -> Cluster:
        # PostgreSQL refuses to run as root.
        self._user = pwd.getpwnam("nobody") if os.getuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        if self._user is not None:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
        secret = self.folder / "secret"
        secret.write_text(self._password or "-")
        secret.chmod(0o644)
        self._call(
            "initdb", "-D", self.folder / "data", "-U", "clary", "-E", "UTF8", "--locale=C", "--no-sync",
            "--auth-host", "scram-sha-256" if self._password else "trust", "--auth-local", "trust",
            "--pwfile", secret,
        )  # fmt: skip
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Start, on the same port as ever, and wait until it answers."""
        argv = [
            self._bin / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-k", self.folder,
            "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=60",
            "-c", "shared_buffers=16MB", "-c", "autovacuum=off",
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, **self._as_user())  # type: ignore[call-overload]
        wait_until(self._answers, f"an answer of {self.folder}/log", 30)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: fast by default (connections are ended), as in a crash with SIGQUIT."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def create(self, template: str = "template0", options: str = "") -> Address:
        """A new database."""
        name = f"db{next(_number)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} {options}")
        return self.address(name)

    def store_address(self) -> Address:
        """A new database with the present schema and no rows: copied from one that was made once."""
        if self._template is None:
            template = self.create()
            store = PostgresStore(template, SystemClock())
            with ThreadPoolExecutor(1) as other:  # this thread may run a loop
                other.submit(lambda: asyncio.run(store.open())).result()
            store.close()
            self._template = template
        return self.create(template=self._template.url.rpartition("/")[2])

    def address(self, database: str) -> Address:
        """Of a database; through the port, as from another machine."""
        return Address(f"postgresql://clary@127.0.0.1:{self.port}/{database}", self._password)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run one statement outside of transactions; its rows."""
        with self._connect(database) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def _connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        # The socket: trusted, and there before the port is.
        return psycopg.connect(
            host=str(self.folder), port=self.port, user="clary", dbname=database, autocommit=True, connect_timeout=5
        )

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        with contextlib.suppress(psycopg.OperationalError):
            self._connect("postgres").close()
            return True
        return False

    def _call(self, program: str, *arguments: object) -> None:
        argv = [str(self._bin / program), *map(str, arguments)]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, **self._as_user())  # type: ignore[call-overload]
        assert done.returncode == 0, done.stderr

    def _as_user(self) -> dict[str, object]:
        if self._user is None:
            return {"cwd": self.folder}
        return {"cwd": self.folder, "user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
