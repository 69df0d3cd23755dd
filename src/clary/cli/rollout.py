"""`clary rollout`: a new version of an endpoint, step by step and guarded by alarms."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from clary.cli import deploy, options, status
from clary.cli.api import Api
from clary.cli.connect import find
from clary.cli.exit_codes import CliError, Exit
from clary.cli.output import note, print_json
from clary.cli.policy import AT_ONCE, ROLLING, Policy, Words, deployment_members, drop_guards, guard, policy_of
from clary.cli.recognise import recognised
from clary.cli.sample import read_sample
from clary.cli.undo import taking_back
from clary.cli.versions import live_of, versions_of

POLL_S = 0.5
PATIENCE_S = 60.0
"""For a server that does not answer."""


def rollout(
    name: options.EndpointName,
    path: Annotated[
        Path, typer.Argument(metavar="MODEL", help="The model, as `clary deploy` takes it: a file, folder or archive.")
    ],
    canary: Annotated[
        str | None, typer.Option("--canary", metavar="PERCENT", help="First this part of the traffic, then all. [10%]")
    ] = None,
    linear: Annotated[
        str | None,
        typer.Option("--linear", metavar="PERCENT", help="So much more of the traffic each time, 10 to 50%."),
    ] = None,
    rolling: Annotated[
        str | None, typer.Option("--rolling", metavar="PERCENT", help="Replace so many replicas at a time, 5 to 50%.")
    ] = None,
    all_at_once: Annotated[bool, typer.Option("--all-at-once", help="All of the traffic, then one bake.")] = False,
    bake: Annotated[
        str | None, typer.Option("--bake", metavar="TIME", help="Wait after each shift of traffic, also the last. [5m]")
    ] = None,
    alarm: Annotated[
        list[str] | None,
        typer.Option(
            "--alarm", metavar="TEXT", help="What must hold of the new version, as 'p99 < 50ms'; may be repeated."
        ),
    ] = None,
    termination_wait: Annotated[
        str | None,
        typer.Option("--termination-wait", metavar="TIME", help="Keep the old replicas so long after the last bake."),
    ] = None,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="TIME", help="Go back if it takes longer: 10m to 8h.")
    ] = None,
    instances: Annotated[
        int | None, typer.Option("--instances", min=1, help="Replicas of the new version. Default: as many as now.")
    ] = None,
    sample: Annotated[
        Path | None, typer.Option("--sample", metavar="FILE", help="Some rows of what the model takes, as for deploy.")
    ] = None,
    entry_point: Annotated[
        str | None, typer.Option("--entry-point", metavar="FILE", help="Script with model_fn, as for deploy.")
    ] = None,
    image: Annotated[
        str | None, typer.Option("--image", metavar="URI", help="Image to serve with. Default: by what the files are.")
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", "-e", metavar="NAME=VALUE", help="Variable of the model's environment; may be repeated."),
    ] = None,
    untrusted: Annotated[
        bool, typer.Option("--untrusted", help="Refuse a pickle that would import what fitted models do not hold.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is live, or was taken back.")] = True,
    url: options.Url = None,
    home: options.Home = None,
    region: options.Region = None,
    profile: options.Profile = None,
    as_json: options.AsJson = False,
) -> None:
    """Update an endpoint step by step: clary rollout fraud model.json --canary 10% --bake 5m --alarm 'p99 < 50ms'.

    The new version starts beside the old one and takes its share of the traffic; each shift bakes. An objective that is
    missed meanwhile sends all traffic back.
    """
    policy = policy_of(Words(canary, linear, rolling, all_at_once, bake, alarm or (), termination_wait, timeout))
    if not path.exists():
        raise CliError(Exit.USAGE, f"MODEL {str(path)!r} does not exist.", "Give a model file, a folder or an archive.")
    say = (lambda _: None) if as_json else note
    known = recognised(path, image, entry_point, env or ())
    say(f"{path} is {known.found.why}.")
    deploy.judge(path, known.found, refuse=untrusted, say=say)
    told = read_sample(sample, known.found.runtime) if sample is not None else None
    api = Api(find(url, home, region, profile))
    endpoint, shape = _present(api, name, instances)
    started_s = time.monotonic()
    with taking_back() as undo:
        made = deploy.configured(api, path, known, endpoint, shape, undo, signature=told, quiet=as_json)
        guards = update_guarded(api, endpoint, made.resource, [shape.variant], policy, undo)
    version = deploy.version_of(api, made)
    if not as_json:
        note(f"Version {version} of {endpoint} is on its way: {words_of(policy, guards)}.")
    end = "InService"
    if wait:
        try:
            wait_over(api, endpoint, version, quiet=as_json)
        except KeyboardInterrupt:
            note(f"\nIt goes on; `clary status {endpoint}` shows it, `clary rollback {endpoint}` takes it back.")
            raise
    else:
        end = "Updating"
    took_s = round(time.monotonic() - started_s, 3)
    if as_json:
        artifact = f"s3://{made.bucket}/{made.key}"
        facts = {"config": made.resource, "model": made.resource, "artifact": artifact, "alarms": guards}
        print_json({"name": endpoint, "version": version, "status": end, **facts, "seconds": took_s})
    elif wait:
        note(f"Version {version} of {endpoint} is live after {took_s:.1f} s.")
    else:
        note(f"`clary status {endpoint} --watch` shows how far it is.")


def update_guarded(
    api: Api, endpoint: str, config: str, variants: list[str], policy: Policy, undo: list[Any]
) -> list[str]:
    """UpdateEndpoint to `config`, as `policy` says, with its alarms; their names. Those of earlier rollouts go."""
    guards = guard(api, endpoint, config, variants, policy, undo)
    api.sagemaker(
        "UpdateEndpoint",
        EndpointName=endpoint,
        EndpointConfigName=config,
        DeploymentConfig=deployment_members(policy, guards),
    )
    undo.clear()  # it is wanted now
    drop_guards(api, endpoint, keep=guards)
    return guards


def wait_over(api: Api, name: str, version: int, *, quiet: bool) -> None:
    """Wait until the update to a version has ended, and tell how it goes on; CliError where it was taken back.

    A server that is away meanwhile, as while it starts again, is waited for: the rollout goes on by itself.
    """
    told, answered_s = "", time.monotonic()
    while True:
        try:
            seen = status.seen_of(api, name)
        except CliError as error:
            if error.code not in (Exit.NO_SERVER, Exit.UNAVAILABLE) or time.monotonic() > answered_s + PATIENCE_S:
                raise
            time.sleep(POLL_S)
            continue
        answered_s = time.monotonic()
        line = status.stage_line(seen)
        if line != told and not quiet and seen["status"] == "Updating":
            note(line)
            told = line
        if seen["status"] != "Updating":
            break
        time.sleep(POLL_S)
    live = live_of(versions_of(api, name))
    if live is not None and live["version"] == version:
        return
    reason = seen["failure_reason"] or f"it is {seen['status']}"
    raise CliError(
        Exit.FAILED,
        f"Version {version} of {name} did not come into service: {reason}",
        f"`clary status {name}` shows what serves, `clary versions {name}` why each version ended.",
    )


def words_of(policy: Policy, guards: list[str]) -> str:
    """A policy for people."""
    way = {AT_ONCE: "all at once", ROLLING: f"rolling by {policy.percent}%"}.get(
        policy.kind, f"{policy.kind} {policy.percent}%"
    )
    objectives = " and ".join(objective.text for objective in policy.objectives)
    return f"{way}, baking {policy.bake_s} s" + (f", while {objectives} holds" if guards else "")


def _present(api: Api, name: str, instances: int | None) -> tuple[str, deploy.FleetShape]:
    """The endpoint in its own case, and what its one variant becomes."""
    found = status.seen_of(api, name)
    live = live_of(versions_of(api, name))
    if found["status"] not in ("InService", "UpdateRollbackFailed") or live is None:
        raise CliError(
            Exit.REFUSED,
            f"The endpoint {found['name']} is {found['status']}: nothing can be rolled out now.",
            f"`clary status {found['name']}` shows more.",
        )
    variants = live["variants"]
    if len(variants) != 1:
        raise CliError(
            Exit.REFUSED,
            f"{found['name']} has the variants {', '.join(v['variant'] for v in variants)}; rollout updates one.",
            "Describe all of them in a file for `clary apply`, with its rollout policy.",
        )
    one = variants[0]
    wanted = int(found["fleets"][0]["variants"][0]["wanted"])  # also where it is scaled; to none as well
    return str(found["name"]), deploy.FleetShape(one["variant"], instances or max(1, wanted), one["instance_type"])
