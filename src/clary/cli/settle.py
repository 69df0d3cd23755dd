"""Waiting until an endpoint is what was asked for."""

from __future__ import annotations

import time
from typing import Any

from clary.cli.api import Api
from clary.cli.exit_codes import CliError, Exit
from clary.cli.output import spinner

WAIT_TIMEOUT_S = 600.0
_MOVING = ("Creating", "Updating")


def wait_in_service(api: Api, name: str, *, quiet: bool, doing: str = "Starting") -> dict[str, Any]:
    """Wait until the endpoint is InService; its description. One that failed, or whose update did, raises."""
    deadline_s = time.monotonic() + WAIT_TIMEOUT_S
    with spinner(f"{doing} {name}", quiet=quiet):
        while time.monotonic() < deadline_s:
            seen = api.sagemaker("DescribeEndpoint", EndpointName=name)
            status, reason = str(seen["EndpointStatus"]), seen.get("FailureReason")
            if status == "InService" and reason is None:
                return seen
            if status == "InService":
                raise CliError(
                    Exit.FAILED,
                    f"The update of {name} failed, and it goes on as it was: {reason}",
                    f"`clary versions {name}` shows what is live.",
                )
            if status not in _MOVING:
                raise CliError(
                    Exit.FAILED,
                    f"The endpoint {name} is {status}: {reason or 'no reason was given'}",
                    f"`clary logs {name}` shows the model's own words; deploying again replaces it.",
                )
            time.sleep(0.1)
    raise CliError(
        Exit.TIMEOUT,
        f"The endpoint {name} was not in service within {WAIT_TIMEOUT_S:.0f} s.",
        f"`clary describe {name}` shows how it goes on.",
    )
