"""Entry of the control process; options as `clary serve` resolved them."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from clary.assembly.control import run
from clary.kit.lifeline import Lifeline, identity_of
from clary.objects.errors import IndexFormatError
from clary.settings import OPTIONS, make_private_folder, resolve
from clary.store.address import served_address
from clary.store.base import StoreFormatError, StoreUnavailableError
from clary.store.seal import SealError
from clary.telemetry import logs


def main(argv: Sequence[str]) -> None:
    """Be control until it is told to stop."""
    parser = argparse.ArgumentParser(prog="clary-control", allow_abbrev=False)
    for option in OPTIONS:
        parser.add_argument(f"--{option.name.replace('_', '-')}", required=True)
    settings, _ = resolve(vars(parser.parse_args(argv)), {}, Path(os.devnull))
    make_private_folder(settings.home / "secrets")
    if settings.store is not None:  # argv has no password
        settings = replace(settings, store=served_address(settings.home, settings.store))
    logs.configure(settings.home / "logs" / "control.log")
    identity = identity_of(os.environ)
    if identity is not None:
        Lifeline(Path(identity.agent_socket), identity.uid, identity.kind, identity.nonce).start()
    try:
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(run(settings))
    except (StoreFormatError, StoreUnavailableError, IndexFormatError, SealError) as error:
        # Nothing to debug: the agent shows the last of this log to whoever started the server.
        sys.exit(str(error))


def _new_loop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


if __name__ == "__main__":
    main(sys.argv[1:])
