"""`clary logs`: what a model's replicas print, and log groups of CloudWatch Logs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import typer

from clary.cli import options
from clary.cli.api import Api, error_of
from clary.cli.connect import find
from clary.cli.exit_codes import CliError, Exit

LINES = 500
POLL_S = 2.0
GROUPS = "/aws/sagemaker/Endpoints/"
TARGET = "Logs_20140328.FilterLogEvents"


def logs(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="An endpoint, or a log group such as /aws/sagemaker/TrainingJobs.")
    ],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing as lines come, until Ctrl-C.")] = False,
    lines: Annotated[
        int | None,
        typer.Option("--lines", "-n", min=0, max=10_000, help="How many of each replica's last lines. [500]"),
    ] = None,
    variant: Annotated[
        str | None, typer.Option("--variant", metavar="NAME", help="This variant's replicas only.")
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option("--filter", metavar="PATTERN", help="Of a log group: lines that fit a filter pattern only."),
    ] = None,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Print the log of an endpoint's replicas, or the events of a log group."""
    api = Api(find(url, home, region, profile))
    if name.startswith("/"):
        if variant is not None:
            raise CliError(Exit.USAGE, "--variant is of endpoints; a log group's name says whose it is.")
        for event in _group_events(api, name, pattern or "", LINES if lines is None else lines, follow=follow):
            write(f"[{event['logStreamName']}] {event['message']}\n".encode(), as_json=as_json)
        return
    if pattern is not None:
        raise CliError(Exit.USAGE, f"--filter is of log groups; try `clary logs {GROUPS}{name} --filter ...`.")
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
        print(json.dumps({"line": line.decode("utf-8", "replace").rstrip("\n")}, ensure_ascii=False), flush=True)
        return
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def _group_events(api: Api, group: str, pattern: str, lines: int, *, follow: bool) -> Iterator[dict[str, Any]]:
    """The last events of a group, oldest first; with `follow` also those that come, without end."""
    asked = {"logGroupName": group, "filterPattern": pattern}
    last: list[dict[str, Any]] = []
    for event in _pages(api, {**asked, "startFromHead": False}):
        if len(last) >= lines:
            break
        last.append(event)
    yield from reversed(last)
    start_ms = last[0]["timestamp"] if last else 0
    seen = {event["eventId"] for event in last}
    if follow and not lines:
        newest = api.json("logs", TARGET, {**asked, "startFromHead": False, "limit": 1})["events"]
        seen, start_ms = {event["eventId"] for event in newest}, newest[0]["timestamp"] if newest else 0
    while follow:
        time.sleep(POLL_S)
        # Starts are inclusive and ids stable: what was seen at the newest time comes again, and is left out.
        for event in _pages(api, {**asked, "startTime": start_ms}):
            if event["eventId"] not in seen:
                if event["timestamp"] > start_ms:
                    start_ms, seen = event["timestamp"], set()
                seen.add(event["eventId"])
                yield event


def _pages(api: Api, members: dict[str, Any]) -> Iterator[dict[str, Any]]:
    while True:
        answer = api.json("logs", TARGET, members)
        yield from answer["events"]
        if not answer.get("nextToken"):
            return
        members = {**members, "nextToken": answer["nextToken"]}
