"""`clary logs`: what a model's replicas print."""

from __future__ import annotations

import sys
from typing import Annotated
from urllib.parse import quote, urlencode

import typer

from clary.cli import options
from clary.cli.api import Api, error_of
from clary.cli.connect import find
from clary.cli.exit_codes import CliError, Exit


def logs(
    name: options.EndpointName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing as lines come, until Ctrl-C.")] = False,
    lines: Annotated[
        int | None,
        typer.Option("--lines", "-n", min=0, max=10_000, help="How many of each replica's last lines. [500]"),
    ] = None,
    variant: Annotated[
        str | None, typer.Option("--variant", metavar="NAME", help="This variant's replicas only.")
    ] = None,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Print the log of an endpoint's replicas."""
    api = Api(find(url, home, region, profile))
    path = f"/clary/logs/{quote(name, safe='')}" + (f"/{quote(variant, safe='')}" if variant else "")
    query = urlencode(({"follow": 1} if follow else {}) | ({"lines": lines} if lines is not None else {}))
    headers = {"accept": "text/plain"}
    # A followed log may be silent for hours: no time limit on its lines.
    timeout_s = None if follow else 90.0
    with api.open("GET", path, service="clary", headers=headers, query=query, timeout_s=timeout_s) as response:
        if response.status >= 400:
            raise error_of(api.read(response))
        try:
            for line in response:
                write(line, as_json=as_json)
        except (OSError, ValueError) as error:
            raise CliError(Exit.UNAVAILABLE, f"The log ended: {error or type(error).__name__}.") from None


def write(line: bytes, *, as_json: bool) -> None:
    """One line as it is, or as a JSON document of its own: a log that is followed has no end to close a list at."""
    if as_json:
        import json

        print(json.dumps({"line": line.decode("utf-8", "replace").rstrip("\n")}, ensure_ascii=False), flush=True)
        return
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
