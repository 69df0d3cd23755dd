"""`clary rollback`: an older version of an endpoint, live again."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from clary.cli import options, status
from clary.cli.api import Api
from clary.cli.connect import find
from clary.cli.output import note, print_json
from clary.cli.rollout import wait_over
from clary.cli.settle import wait_in_service
from clary.cli.versions import path_of


def rollback(
    name: options.EndpointName,
    to: Annotated[
        int | None, typer.Option("--to", min=1, metavar="N", help="Version to go to. Default: the one live before.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is live.")] = True,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Make an older version live again, without a lost request: clary rollback fraud, or --to 1.

    While a rollout is under way it takes that back: all of the traffic goes to the version that it began with.
    """
    api = Api(find(url, home, region, profile))
    started_s = time.monotonic()
    rolls = to is None and status.seen_of(api, name)["rollout"] is not None
    members: dict[str, object] = {} if to is None else {"to": to}
    version = int(api.admin("POST", f"{path_of(name)}/rollback", members)["version"])
    if wait and rolls:
        wait_over(api, name, version, quiet=as_json)
    elif wait:
        wait_in_service(api, name, quiet=as_json, doing=f"Bringing back version {version} of")
    took_s = time.monotonic() - started_s
    if as_json:
        print_json(
            {
                "name": name,
                "version": version,
                "status": "InService" if wait else "Updating",
                "seconds": round(took_s, 3),
            }
        )
    elif wait:
        note(f"Version {version} of {name} is live after {took_s:.1f} s.")
    else:
        note(f"Version {version} of {name} is on its way; `clary versions {name}` shows when it is live.")
