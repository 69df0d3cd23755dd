"""HOME, its lock and its format; the runtime folder; the public listener."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from pathlib import Path
from typing import TextIO

from clary.agent.options import AgentError
from clary.kit.durable import replace_file

FORMAT = 1
"""Layout of HOME that this Clary writes and the newest that it reads."""
RESTORING = "restoring"
"""What HOME/format holds while `clary restore` exchanges what is in HOME."""
_ADDRESS_BYTES_MAX = 107
_LONGEST_SOCKET = "w-" + "0" * 26 + ".sock"


def open_home(home: Path, runtime_dir: Path) -> TextIO:
    """Make the folders, take the lock, check the format. Keep what is returned open: it holds the lock.

    Raises AgentError where another server holds the lock or a newer Clary wrote HOME.
    """
    _make_private(home)
    lock = _lock(home)
    try:
        _prepare(home, runtime_dir)
    except BaseException:
        lock.close()
        raise
    return lock


def _prepare(home: Path, runtime_dir: Path) -> None:
    _check_format(home / "format", home)
    for name in ("run", "logs", "bundles"):
        (home / name).mkdir(exist_ok=True)
    if len(os.fsencode(str(runtime_dir / _LONGEST_SOCKET))) > _ADDRESS_BYTES_MAX:
        raise AgentError(
            f"the runtime folder {runtime_dir} is too long for Unix sockets ({_ADDRESS_BYTES_MAX} bytes with the"
            " socket's name); set XDG_RUNTIME_DIR to a shorter one"
        )
    _make_private(runtime_dir)


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise AgentError(f"{folder} belongs to another user; choose another one with --home")
        folder.chmod(0o700)
    except OSError as error:
        raise AgentError(f"cannot use the folder {folder}: {error.strerror}; choose another one with --home") from error


def _lock(home: Path) -> TextIO:
    lock = (home / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        pid = lock.read().strip() or "unknown"
        lock.close()
        raise AgentError(
            f"Clary already serves {home} (pid {pid}). Stop it with `kill {pid}` or Ctrl-C in its terminal,"
            " or serve another folder with --home."
        ) from error
    lock.seek(0)
    lock.truncate()
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def remove_sockets(runtime_dir: Path) -> None:
    """Take the runtime folder away when the server has stopped, while its lock is held; what is not ours stays."""
    with contextlib.suppress(OSError):
        for path in runtime_dir.glob("*.sock"):
            path.unlink()
        runtime_dir.rmdir()


def _check_format(path: Path, home: Path) -> None:
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        text = ""
    if not text:
        replace_file(path, f"{FORMAT}\n".encode())
        return
    if text == RESTORING:
        raise AgentError(f"a restore into {home} did not finish. Run it again: clary restore FILE --force")
    if not text.isdigit() or int(text) > FORMAT:
        raise AgentError(
            f"{home} has format {text}, written by a newer Clary; this one reads up to {FORMAT}."
            " Upgrade Clary, or serve another folder with --home."
        )


class PortTakenError(AgentError):
    """Somebody listens on the port already; it may be our own orphaned routers."""


def listen(host: str, port: int, backlog: int) -> socket.socket:
    """The public listener, without SO_REUSEPORT: a taken port is an error, never shared with a stranger."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(
                f"port {port} on {host} is taken by another program. Choose another one: clary serve --port {port + 1}"
            ) from error
        raise AgentError(
            f"cannot listen on {host} port {port}: {error.strerror}. Choose another --host or --port."
        ) from error
    listener.set_inheritable(False)
    return listener
