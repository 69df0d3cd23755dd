"""`clary delete`: an endpoint, and what `clary deploy` made for it."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from clary.cli import options
from clary.cli.api import Api, ApiError
from clary.cli.connect import find
from clary.cli.exit_codes import CliError, Exit
from clary.cli.output import print_json
from clary.cli.policy import drop_guards
from clary.cli.resources import TAG, describe_or_none
from clary.cli.versions import versions_of

TIMEOUT_S = 120.0
Thing = tuple[str, str]
"""A kind (`config`, `model`, `artifact`) and a name."""


def delete(
    name: options.EndpointName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the endpoint is gone.")] = True,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Delete an endpoint, and the configuration, model and artifact that `clary deploy` made for it."""
    api = Api(find(url, home, region, profile))
    endpoint = api.sagemaker("DescribeEndpoint", EndpointName=name)
    if not yes:
        confirm(f"Delete the endpoint {endpoint['EndpointName']} at {api.target.url}?")
    deleted = remove(api, name, wait=wait)
    if as_json:
        print_json({"deleted": [{"kind": kind, "name": what} for kind, what in deleted]})
    else:
        for kind, what in deleted:
            print(f"deleted {kind} {what}")


def confirm(question: str, verb: str = "delete", done: str = "deleted") -> None:
    """Ask at the terminal; raise, saying that nothing was `done`, where the answer is no or nobody can be asked."""
    if not sys.stdin.isatty():
        raise CliError(Exit.USAGE, "There is no terminal to ask at.", f"Give --yes to {verb} without being asked.")
    if not typer.confirm(question, err=True):
        raise CliError(Exit.INTERRUPTED, f"Nothing was {done}.")


def remove(api: Api, name: str, *, wait: bool) -> list[Thing]:
    """Delete the endpoint and all that deploy made for it; what was deleted, in order."""
    endpoint = api.sagemaker("DescribeEndpoint", EndpointName=name)
    made = [
        thing for config in configs_of(api, endpoint) for thing in made_by_deploy(api, endpoint["EndpointName"], config)
    ]
    if endpoint["EndpointStatus"] != "Deleting":
        api.sagemaker("DeleteEndpoint", EndpointName=name)
    if wait:
        wait_gone(api, name)
    drop_guards(api, endpoint["EndpointName"])
    for kind, what in made:
        if kind == "config":
            api.sagemaker("DeleteEndpointConfig", EndpointConfigName=what)
        elif kind == "model":
            api.sagemaker("DeleteModel", ModelName=what)
        else:
            where = urlsplit(what)
            api.delete_object(where.netloc, where.path.removeprefix("/"))
    return [("endpoint", endpoint["EndpointName"]), *made]


def configs_of(api: Api, endpoint: dict[str, Any]) -> list[str]:
    """The configurations of every version, the newest first."""
    try:
        older = [version["config"] for version in versions_of(api, endpoint["EndpointName"])]
    except ApiError as error:
        if error.code is not Exit.NOT_FOUND:  # else it went meanwhile
            raise
        older = []
    return list(dict.fromkeys([endpoint["EndpointConfigName"], *older]))


def made_by_deploy(api: Api, endpoint: str, config_name: str) -> list[Thing]:
    """The configuration, models and artifacts that carry deploy's tag with this endpoint's name."""
    config = describe_or_none(api, "DescribeEndpointConfig", EndpointConfigName=config_name)
    if config is None:
        return []
    found: list[Thing] = [("config", config_name)] if _tagged(api, config["EndpointConfigArn"], endpoint) else []
    for variant in config["ProductionVariants"]:
        model = describe_or_none(api, "DescribeModel", ModelName=variant["ModelName"])
        if model is None or not _tagged(api, model["ModelArn"], endpoint):
            continue
        found.append(("model", variant["ModelName"]))
        container = model.get("PrimaryContainer", {})
        code = container.get("Environment", {}).get("SAGEMAKER_SUBMIT_DIRECTORY", "")
        for artifact in (container.get("ModelDataUrl", ""), code):
            if artifact.startswith("s3://") and f"/clary/{endpoint}/" in artifact:
                found.append(("artifact", artifact))
    return found


def wait_gone(api: Api, name: str) -> None:
    """Wait until the server has no such endpoint; it holds each question itself while the endpoint is on its way."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline_s:
        if describe_or_none(api, "DescribeEndpoint", EndpointName=name) is None:
            return
        time.sleep(0.1)
    raise CliError(Exit.TIMEOUT, f"The endpoint {name} was not gone within {TIMEOUT_S:.0f} s.")


def _tagged(api: Api, arn: str, endpoint: str) -> bool:
    return any(tag["Key"] == TAG and tag["Value"] == endpoint for tag in api.pages("ListTags", "Tags", ResourceArn=arn))
