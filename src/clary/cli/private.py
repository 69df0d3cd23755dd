"""A server of one's own for a while: on a temporary HOME and a free port, gone with all its files at the end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clary.cli.connect import Target, find
from clary.cli.exit_codes import CliError, Exit
from clary.cli.output import note
from clary.settings import runtime_dir

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 40.0
"""Above the 30 s that a worker gets to drain."""
_BOUND = (
    "import ctypes, os, signal, sys\n"
    "ctypes.CDLL(None).prctl(1, int(signal.SIGTERM))\n"  # PR_SET_PDEATHSIG: kept through exec
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
"""Runs Python with the arguments that follow, and ends it when the process that asked for it is no more, however that
ended."""


@contextmanager
def private_server(region: str | None) -> Iterator[Target]:
    """A running server, ready to host. Raises CliError, with the end of its log, where it does not start."""
    folder = Path(tempfile.mkdtemp(prefix="clary-private-"))
    log = folder / "serve.log"
    home = folder / "home"
    port = free_port()
    argv = [sys.executable, "-c", _BOUND, "-m", "clary.cli.main", "serve", "--home", str(home), "--port", str(port)]
    argv += ["--region", region] if region else []
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CLARY_", "AWS_"))}
    with log.open("wb") as out:
        # Its own session: Ctrl-C stops the command first, and the server after it.
        server = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=clean, cwd=folder, start_new_session=True
        )
    try:
        wait_ready(server, f"http://127.0.0.1:{port}", log)
        yield find(f"http://127.0.0.1:{port}", home, region, None, clean)
    finally:
        stopped = stop(server)
        if stopped:
            shutil.rmtree(runtime_dir(home, clean), ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)
        else:
            note(f"The private server (pid {server.pid}) did not stop; its log is {log}.")


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody holds just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_ready(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Wait until GET /clary/health answers 200. Raises CliError, with the end of the log, where it does not."""
    import urllib.error
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        if server.poll() is not None:
            raise CliError(Exit.NO_SERVER, f"The private server ended with status {server.returncode}.", _tail(log))
        try:
            with opener.open(f"{url}/clary/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (OSError, urllib.error.URLError):
            time.sleep(0.05)
    raise CliError(Exit.TIMEOUT, f"The private server was not ready within {START_TIMEOUT_S:.0f} s.", _tail(log))


def stop(server: subprocess.Popen[bytes]) -> bool:
    """SIGTERM, then wait for a clean end; whether it came."""
    if server.poll() is None:
        server.send_signal(signal.SIGTERM)
    try:
        server.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        return False
    return True


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-15:]
    return "Its last words:\n  " + "\n  ".join(lines) if lines else "It said nothing."
