"""A server of one's own as a child process: started, asked for its health, watched, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

from clary.replica.http import HttpError, HttpReplica
from clary.worker.options import ServerOptions, WorkerOptions
from clary.worker.report import WorkerLog

HOST = "127.0.0.1"
PING_S = 5.0
"""Seconds between two looks at a server that is up, as observed of the hosted service."""
PING_TIMEOUT_S = 2.0
"""For one answer to a ping (container contract, hosting guide)."""
PING_FAILURES_MAX = 3
"""Pings missed in a row after which the server counts as hung."""
STOP_S = 20.0
"""Between SIGTERM and SIGKILL of the command."""
_START_PING_S = 0.2
_LISTEN = (
    f"It must listen on {HOST} at the port in SAGEMAKER_BIND_TO_PORT, or {{port}} in the command; raise "
    "ContainerStartupHealthCheckTimeoutInSeconds where it needs more time."
)
_OWN = "CLARY_"
_OWN_ROUTE = "/invocations"


class NotServing(Exception):  # noqa: N818 - a fact
    """The command did not come up. `cause` and `remedy` end in the endpoint's FailureReason."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"{cause} {remedy}")
        self.cause = cause
        self.remedy = remedy


class Command:
    """One run of the command."""

    def __init__(self, options: WorkerOptions, server: ServerOptions, log: WorkerLog) -> None:
        self._options = options
        self._server = server
        self._log = log
        self.port = _free_port()
        self.http = HttpReplica(HOST, self.port)
        self._process: Optional[asyncio.subprocess.Process] = None  # noqa: UP045 - Python 3.9

    async def start(self) -> None:
        """Start it and wait until it is healthy; NotServing."""
        argv = [word.replace("{port}", str(self.port)) for word in self._server.command]
        folder = self._server.folder or self._options.model_dir
        try:
            # In the worker's process group: it ends with the worker, however that ends.
            self._process = await asyncio.create_subprocess_exec(
                *argv, cwd=folder, env=environment(self._options, self._server, self.port, os.environ),
                stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise NotServing(
                f"The command {argv[0]!r} could not be started in {folder}: {error}.",
                "Check the command with `clary images list`, and add it again.",
            ) from None
        self._log.write("The command was started.", command=argv, pid=self._process.pid, port=self.port)
        started_s, last = time.monotonic(), "it did not listen"
        while True:
            last = await self.look()
            if not last:
                return
            if self._process.returncode is not None:
                raise NotServing(
                    f"The command {_end(self._process.returncode)} before it answered {self._server.ping}.",
                    "Its last lines stand in the replica's log (clary logs).",
                )
            if time.monotonic() - started_s > self._options.load_timeout_s:
                limit = f"{self._options.load_timeout_s:g} s"
                raise NotServing(f"The command did not answer {self._server.ping} within {limit}: {last}.", _LISTEN)
            await asyncio.sleep(_START_PING_S)

    async def look(self) -> str:
        """Why the server is not healthy; empty where it is. A server with a route of its own may lack /ping: any
        answer but a server error will do."""
        own = self._server.route != _OWN_ROUTE
        try:
            status = await asyncio.wait_for(self._ping(), PING_TIMEOUT_S)
        except (asyncio.TimeoutError, TimeoutError):
            return f"no answer within {PING_TIMEOUT_S:g} s"
        except HttpError as error:
            return str(error)
        return "" if 200 <= status < 300 or (own and status < 500) else f"it answers {status}"

    async def watch(self) -> str:
        """Returns why the server is lost: it ended, or hangs."""
        assert self._process is not None, "it was started"
        ended = asyncio.ensure_future(self._process.wait())
        failures, why = 0, ""
        try:
            while failures < PING_FAILURES_MAX:
                await asyncio.wait({ended}, timeout=PING_S)
                if ended.done():
                    return f"The command {_end(ended.result())}."
                why = await self.look()
                failures = failures + 1 if why else 0
        finally:
            ended.cancel()
        return f"The server did not answer {self._server.ping} {PING_FAILURES_MAX} times in a row: {why}."

    async def stop(self) -> None:
        """Ask the command to end, then end it."""
        self.http.close()
        if self._process is None or self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), STOP_S)
            except (asyncio.TimeoutError, TimeoutError):
                self._process.kill()
                await self._process.wait()

    async def _ping(self) -> int:
        answer = await self.http.ask("GET", self._server.ping)
        async for _ in answer.parts:
            pass
        return answer.status


def environment(options: WorkerOptions, server: ServerOptions, port: int, own: Mapping[str, str]) -> dict[str, str]:
    """The command's whole environment: the worker's without what is Clary's, the image's where the model sets nothing
    of that name, the port, and the folder of its environment's programs first in PATH."""
    kept = {name: value for name, value in own.items() if not name.startswith(_OWN)}
    given = {name: value for name, value in server.env.items() if name not in options.env}
    path = given.pop("PATH", kept.get("PATH", ""))
    return {
        **kept,
        **given,
        "PATH": os.pathsep.join(part for part in (str(Path(sys.executable).parent), path) if part),
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "PORT": str(port),
        "PYTHONUNBUFFERED": "1",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _end(status: int) -> str:
    return f"exited with status {status}" if status >= 0 else f"was ended by signal {-status}"
