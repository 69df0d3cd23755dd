"""`clary exec`: run a command that finds this server - or, with --serve, a server of its own for as long as it runs."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import FrameType
from typing import Annotated
from urllib.parse import urlsplit

import typer

from clary.cli import options
from clary.cli.connect import Target, find
from clary.cli.env import conflicting, variables
from clary.cli.exit_codes import CliError, Exit
from clary.cli.output import note
from clary.cli.private import private_server
from clary.cli.role import as_role


def exec_(
    command: Annotated[
        list[str], typer.Argument(metavar="-- COMMAND...", help="What to run, with its arguments, after two dashes.")
    ],
    serve: Annotated[
        bool,
        typer.Option("--serve", help="Start a private server on a temporary folder and a free port; stop it after."),
    ] = False,
    proxy: Annotated[
        bool,
        typer.Option("--proxy", help="Also answer AWS's own host names, for code that has them built in."),
    ] = False,
    role: Annotated[
        str | None,
        typer.Option(
            "--role", metavar="ROLE", help="Run it as a session of this role (name or ARN), as notebooks are."
        ),
    ] = None,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
) -> None:
    """Run a command whose AWS clients find this server: clary exec -- python train.py."""
    if shutil.which(command[0]) is None:
        raise CliError(Exit.NO_COMMAND, f"There is no command {command[0]!r}.", "Check its name and PATH.")
    if serve and (url is not None or home is not None):
        raise CliError(Exit.USAGE, "--serve starts a server of its own.", "Leave out --url and --home.")
    with ExitStack() as stack:
        target = stack.enter_context(own_server(region)) if serve else find(url, home, region, None)
        if not serve and not answers(target.url):
            note(f"warning: no server answers at {target.url}; start one with `clary serve`, or use --serve.")
        if role is not None:
            target = as_role(target, role)
        env = environment(target, os.environ)
        if proxy:
            env |= stack.enter_context(_proxied(target))
        if serve or proxy:
            raise typer.Exit(run(command, env))
    _replace_process(command, env)


def _proxied(target: Target) -> AbstractContextManager[dict[str, str]]:
    from clary.cli.proxy import proxied  # a start of `clary` need not wait for TLS

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    return proxied(target, os.environ)


def environment(target: Target, environ: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a command that should talk to `target`."""
    removed = conflicting(environ)
    kept = {name: value for name, value in environ.items() if name not in removed}
    return {**kept, **variables(target, environ), "CLARY_URL": target.url, "CLARY_HOME": str(target.home)}


def answers(url: str) -> bool:
    """Whether something listens there; a command may be about to start it, so that nothing more is made of it."""
    parts = urlsplit(url)
    try:
        with socket.create_connection(
            (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)), 2
        ):
            return True
    except (OSError, ValueError):
        return False


def _replace_process(command: list[str], env: Mapping[str, str]) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvpe(command[0], command, env)  # noqa: S606 - running the user's command is what this is for
    except OSError as error:
        raise CliError(Exit.CANNOT_RUN, f"{command[0]!r} cannot be run: {error.strerror}.") from None


def run(command: list[str], env: Mapping[str, str]) -> int:
    """Run a command to its end, passing it the signals that come; its status, 128 + N where signal N ended it.

    Ctrl-C reaches the command by the terminal itself: it is only waited for here.
    """
    try:
        child = subprocess.Popen(command, env=dict(env))
    except OSError as error:
        raise CliError(Exit.CANNOT_RUN, f"{command[0]!r} cannot be run: {error.strerror}.") from None

    def forward(number: int, _: FrameType | None) -> None:
        if child.poll() is None:
            child.send_signal(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        status = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status


@contextmanager
def own_server(region: str | None) -> Iterator[Target]:
    """A private server that is stopped on the way out also where a signal ends this process."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    with private_server(region) as target:
        yield target


def _end(number: int, _: FrameType | None) -> None:
    """Leave by an exception, so that the private server is stopped on the way out."""
    raise SystemExit(128 + number)
