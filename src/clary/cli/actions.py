"""`clary actions`: commands and webhooks that alarms, topics and rules of this server call."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from clary.cli import options
from clary.cli.api import Api
from clary.cli.connect import find
from clary.cli.exit_codes import CliError, Exit
from clary.cli.output import note, print_facts, print_json, print_table
from clary.domain.durations import seconds_of
from clary.domain.errors import Invalid

app = typer.Typer(help="Commands and webhooks that alarms, topics and rules of this server call.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the action, as `clary actions list` shows it.")]
TEST_S = 15.0
"""Waited for a test beyond the action's own timeout, in seconds."""


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The last part of its ARNs.")],
    command: Annotated[
        str | None,
        typer.Option(
            "--command",
            metavar="CMD",
            help="A command on the server's machine, as typed in a shell; gets the event on stdin.",
        ),
    ] = None,
    webhook: Annotated[
        str | None, typer.Option("--webhook", metavar="URL", help="An address that gets the event by POST.")
    ] = None,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="Limit of one run: 60s, 2m; at most 15m.")] = "60s",
    retries: Annotated[int, typer.Option(metavar="N", help="Tries after the first that failed.")] = 2,
    role: Annotated[
        str | None, typer.Option(metavar="ARN", help="A role whose credentials the command gets for AWS clients.")
    ] = None,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Name a command or a webhook. Use the printed ARNs as actions of alarms and as targets of rules."""
    if (command is None) == (webhook is None):
        raise CliError(Exit.USAGE, "Give one of --command and --webhook.")
    members: dict[str, Any] = {"name": name, "timeout_s": _seconds(timeout), "retries": retries, "role": role or ""}
    members |= {"url": webhook} if command is None else {"command": _words(command)}
    made = Api(find(url, home, region, profile)).admin("POST", "/actions", members)
    if as_json:
        print_json(made)
        return
    print_facts({"name": made["name"], "as a function": made["function_arn"], "as a topic": made["topic_arn"]})


@app.command("list")
def list_(
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """List the actions, and what each calls."""
    found = Api(find(url, home, region, profile)).admin("GET", "/actions")
    if as_json:
        print_json(found)
        return
    rows = [
        [one["name"], one["url"] or shlex.join(one["command"]), f"{one['timeout_s']:g}s", one["function_arn"]]
        for one in found["actions"]
    ]
    print_table(["NAME", "CALLS", "TIMEOUT", "ARN"], rows, empty="No actions.")


@app.command()
def remove(
    name: Name,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Remove an action and the record of its runs. Alarms that name it keep its ARN, and call nobody."""
    Api(find(url, home, region, profile)).admin("DELETE", f"/actions/{quote(name, safe='')}")
    if as_json:
        print_json({"removed": name})
    else:
        print(f"removed {name}")


@app.command()
def runs(
    name: Name,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """List the last 100 runs of an action, the newest first."""
    found = Api(find(url, home, region, profile)).admin("GET", f"/actions/{quote(name, safe='')}/runs")
    if as_json:
        print_json(found)
        return
    rows = [
        [run["started"], run["source"], run["attempt"], run["outcome"], run["reason"] or _last_line(run["output"])]
        for run in found["runs"]
    ]
    print_table(["STARTED (UTC)", "SOURCE", "ATTEMPT", "OUTCOME", "TOLD"], rows, empty="No runs.")


@app.command("test")
def call(
    name: Name,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Call an action with the event of an alarm that there is not, once; exit 7 where that fails."""
    api = Api(find(url, home, region, profile))
    path = f"/actions/{quote(name, safe='')}"
    timeout_s = next((one["timeout_s"] for one in api.admin("GET", "/actions")["actions"] if one["name"] == name), 0.0)
    event_id = api.admin("POST", f"{path}/test")["event_id"]
    end_s = time.monotonic() + timeout_s + TEST_S
    while True:
        mine = [run for run in api.admin("GET", f"{path}/runs")["runs"] if run["event_id"] == event_id]
        if mine and mine[0]["ended"] is not None:
            break
        if time.monotonic() > end_s:
            raise CliError(Exit.TIMEOUT, "The test did not end in time: other events wait for this action.")
        time.sleep(0.05)
    run = mine[0]
    if as_json:
        print_json(run)
    else:
        if run["output"]:
            note(run["output"].rstrip("\n"))
        print_facts({"outcome": run["outcome"], "reason": run["reason"]})
    if run["outcome"] != "succeeded":
        raise CliError(Exit.FAILED, f"The action {name} failed: {run['reason']}")


def _words(command: str) -> list[str]:
    """A command line as words, a program given by a relative path by its absolute one."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise CliError(Exit.USAGE, f"The command cannot be read: {error}.") from None
    if words and "/" in words[0]:
        words[0] = str(Path(words[0]).expanduser().absolute())
    return words


def _seconds(text: str) -> float:
    """A length of time; a number alone is seconds."""
    try:
        return seconds_of(f"{text}s" if text[-1:].isdecimal() else text)
    except Invalid as error:
        raise CliError(Exit.USAGE, f"The timeout: {error.message}") from None


def _last_line(output: str) -> str:
    return output.strip().rpartition("\n")[2][:100]
