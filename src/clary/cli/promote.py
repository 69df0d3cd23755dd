"""`clary promote`: the traffic goes to the new version now."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from clary.cli import options, status
from clary.cli.api import Api
from clary.cli.connect import find
from clary.cli.exit_codes import CliError, Exit
from clary.cli.output import note, print_json
from clary.cli.versions import path_of

POLL_S, WAIT_S = 0.2, 600.0


def promote(
    name: options.EndpointName,
    step: Annotated[bool, typer.Option("--step", help="End only the bake under way.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the traffic has moved.")] = True,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Give a rollout's new version all of the traffic now: clary promote fraud.

    The bake after that still guards it. Where the new version has all of the traffic already, that bake ends, and it
    is live for good.
    """
    api = Api(find(url, home, region, profile))
    ended = int(api.admin("POST", f"{path_of(name)}/promote", {"whole": not step})["step"])
    seen = status.seen_of(api, name)
    deadline_s = time.monotonic() + WAIT_S
    while wait and _before(seen, ended):
        if time.monotonic() > deadline_s:
            raise CliError(Exit.TIMEOUT, f"The traffic had not moved after {WAIT_S:.0f} s; `clary status {name}`.")
        time.sleep(POLL_S)
        seen = status.seen_of(api, name)
    if wait and (seen["failure_reason"] or (seen["rollout"] or {}).get("reason")):
        why = seen["failure_reason"] or seen["rollout"]["reason"]
        raise CliError(Exit.FAILED, f"The rollout of {seen['name']} was taken back: {why}")
    if as_json:
        print_json({"name": seen["name"], "step": ended, "status": seen["status"], "rollout": seen["rollout"]})
    else:
        note(status.stage_line(seen))


def _before(seen: dict[str, object], ended: int) -> bool:
    """Whether the rollout still has to get through the step whose bake ended."""
    rollout = seen["rollout"]
    if not isinstance(rollout, dict) or rollout["stage"] == "returning":
        return False
    return bool(rollout["step"] <= ended or rollout["stage"] == "starting")
