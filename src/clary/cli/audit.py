"""`clary audit`: who changed what on a server, and whether the record of it is whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from clary.cli import options
from clary.cli.api import Api
from clary.cli.connect import find
from clary.cli.exit_codes import CliError, Exit
from clary.cli.output import print_facts, print_json, print_table

app = typer.Typer(help="Who changed what, and whether the record of it is whole.", no_args_is_help=True)

LINES = 50
TARGET = "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.LookupEvents"


@app.command("list")
def list_(
    lines: Annotated[
        int | None, typer.Option("--lines", "-n", min=1, max=10_000, help="How many, the newest first. [50]")
    ] = None,
    action: Annotated[
        str | None, typer.Option("--action", metavar="NAME", help="Only these, such as DeleteEndpoint.")
    ] = None,
    resource: Annotated[
        str | None, typer.Option("--resource", metavar="NAME", help="Only what was done to this resource.")
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", metavar="NAME", help="Only what this user or session did.")
    ] = None,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """List what was changed in the last 90 days: the events of CloudTrail's LookupEvents."""
    chosen = [
        (key, value) for key, value in (("EventName", action), ("ResourceName", resource), ("Username", user)) if value
    ]
    if len(chosen) > 1:
        raise CliError(Exit.USAGE, "Give one of --action, --resource and --user.")
    events = list(_events(Api(find(url, home, region, profile)), chosen, lines or LINES))
    if as_json:
        print_json({"events": [json.loads(event["CloudTrailEvent"]) for event in events]})
        return
    rows = []
    for event in events:
        told = json.loads(event["CloudTrailEvent"])
        names = ", ".join(one["ResourceName"] for one in event["Resources"])
        rows.append([told["eventTime"], event["Username"], event["EventName"], names, told.get("errorCode", "")])
    print_table(["TIME (UTC)", "WHO", "WHAT", "RESOURCE", "ERROR"], rows, empty="Nothing was changed.")


@app.command()
def verify(
    known: Annotated[
        str | None, typer.Option("--known", metavar="SEQ:HASH", help="A head that an earlier verification printed.")
    ] = None,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Check that no row of the audit was changed, put in or taken out; exit 11 and name the first that is wrong."""
    query = urlencode({"known": known}) if known else ""
    found = Api(find(url, home, region, profile)).admin("GET", "/audit/verify", query=query)
    if as_json:
        print_json(found)
    else:
        facts = {name.replace("_", " "): found[name] for name in ("rows", "head", "pruned_rows")}
        print_facts(facts)
    if found["broken_seq"] is not None:
        raise CliError(
            Exit.UNHEALTHY,
            f"Row {found['broken_seq']} was changed, or one before it was taken out.",
            "Compare a backup.",
        )
    if found["known_is_right"] is False:
        raise CliError(Exit.UNHEALTHY, f"The audit holds no row {known}: it was made anew, or its end was cut off.")


def _events(api: Api, chosen: list[tuple[str, str]], lines: int) -> Iterator[dict[str, Any]]:
    members: dict[str, Any] = {"LookupAttributes": [{"AttributeKey": k, "AttributeValue": v} for k, v in chosen]}
    left = lines
    while left > 0:
        answer = api.json("cloudtrail", TARGET, {**members, "MaxResults": min(left, 50)})
        yield from answer["Events"]
        left -= len(answer["Events"])
        if not answer.get("NextToken"):
            return
        members["NextToken"] = answer["NextToken"]
