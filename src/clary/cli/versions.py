"""`clary versions`: every version of an endpoint, and which one is live."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from clary.cli import options
from clary.cli.api import Api
from clary.cli.connect import find
from clary.cli.exit_codes import CliError, Exit
from clary.cli.output import print_json, print_table


def versions(
    name: options.EndpointName,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """List the versions of an endpoint, the newest first: what each is made of, and which one is live."""
    found = versions_of(Api(find(url, home, region, profile)), name)
    if as_json:
        print_json({"name": name, "versions": found})
        return
    rows = [
        [
            version["version"],
            version["state"],
            version["created"].replace("T", " ").removesuffix("Z"),
            ", ".join(variant["model"] for variant in version["variants"]),
            ", ".join(variant["runtime"] for variant in version["variants"]),
            version["reason"] or "",
        ]
        for version in found
    ]
    print_table(["VERSION", "STATE", "CREATED (UTC)", "MODEL", "RUNTIME", "WHY IT FAILED"], rows, empty="")


def versions_of(api: Api, name: str) -> list[dict[str, Any]]:
    """What `versions --json` prints as `versions`; docs/reference/json.md holds the shape."""
    found: list[dict[str, Any]] = api.admin("GET", f"{path_of(name)}/versions")["versions"]
    return found


def path_of(name: str) -> str:
    """Where Clary's own API has an endpoint. A name that can be none, such as one with a slash, is refused."""
    if quote(name, safe="") != name:
        raise CliError(Exit.USAGE, f"{name!r} is no endpoint's name.")
    return f"/endpoints/{name}"


def live_of(found: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The version that is live."""
    return next((version for version in found if version["state"] == "live"), None)
