"""`clary config`: every option of the server from here, and where each value comes from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from clary.cli import options
from clary.cli.exit_codes import CliError, Exit
from clary.cli.output import print_json, print_table
from clary.settings import SettingError, resolve


def config(
    home: options.Home = None,
    file: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Read this file instead of ./clary.toml.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Show what `clary serve` would run with: flag > environment > clary.toml > default."""
    try:
        origins = resolve({"home": str(home) if home is not None else None}, os.environ, file)[1]
    except SettingError as error:
        raise CliError(Exit.USAGE, str(error)) from None
    if as_json:
        print_json({"options": [{"option": o.option, "value": o.value, "source": o.source} for o in origins]})
        return
    print_table(["OPTION", "VALUE", "SOURCE"], [[o.option, o.value or "-", o.source] for o in origins], empty="")
