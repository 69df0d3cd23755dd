"""Clary's own API for versions of endpoints, for which SageMaker has none.

Each call carries a SigV4 signature (service name `clary`) by any key that is live; the region is the signature's.

    GET  /clary/api/endpoints/NAME/versions                 200 {"name", "versions": [{"version", "state", ...}]}
    POST /clary/api/endpoints/NAME/rollback {"to": N}       200 {"name", "version"}; without `to`: the one before
    GET  /clary/api/endpoints/NAME/rollout                  200 {"name", "rollout": {...} or null}
    GET  /clary/api/endpoints/NAME/status                   200 {"name", "status", "fleets": [...], "rollout", ...}
    POST /clary/api/endpoints/NAME/promote {"whole": true}  200 {"name", "step"}; the bakes up to that step end: the one
                                              under way or, `whole`, all until the new fleet has all the traffic
    POST /clary/api/endpoints/NAME/versions/N/trial         200 {"version", "variant", "libraries", "signature", ...}

A rollback without `to`, while a guarded rollout is under way, sends the traffic back to the version it began with.

A trial loads the version's model into a process of its own, which no router sends to, and asks it once: with the body
of the request, of the request's Content-Type. An empty body asks nothing.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clary.control import endpoint_changes, rollouts, version_trials
from clary.control.desk import Caller
from clary.domain.endpoint import Revision, RevisionVariant
from clary.domain.errors import Invalid
from clary.domain.versions import Version, VersionState
from clary.edge.admin import Admin, Handler, guarded, instant_text

T = TypeVar("T")
TRIAL_BYTES_MAX = 25 * 1024 * 1024
"""As much as InvokeEndpoint takes."""


def routes(admin: Admin, bench: version_trials.Bench) -> list[Route]:
    """The routes, for the application that assembly puts together."""

    async def trial(admin: Admin, caller: Caller, request: Request, body: bytes) -> Response:
        name, number = str(request.path_params["name"]), int(request.path_params["number"])
        version = await endpoint_changes.version_of(admin.desk, caller, name, number)
        asked = request.query_params.get("variant", "")
        question = version_trials.Question(body, request.headers.get("content-type", ""), asked)
        found = await version_trials.run_trial(admin.desk, bench, name, version, question)
        return JSONResponse(
            {
                "version": number,
                "variant": found.variant,
                "bytes": found.artifact_bytes,
                "libraries": dict(found.libraries),
                "signature": dict(found.signature),
                "cause": found.cause,
                "remedy": found.remedy,
                "status": found.status,
                "content_type": found.content_type,
                "body": base64.b64encode(found.body).decode(),
            }
        )

    def route(path: str, handler: Handler, method: str, body_bytes_max: int = 16 * 1024) -> Route:
        return Route(
            f"/clary/api/endpoints/{{name}}{path}",
            guarded(admin, handler, root=False, body_bytes_max=body_bytes_max),
            methods=[method],
        )

    return [
        route("/versions", _versions, "GET"),
        route("/rollback", _rollback, "POST"),
        route("/status", _status, "GET"),
        route("/rollout", _rollout, "GET"),
        route("/promote", _promote, "POST"),
        route("/versions/{number:int}/trial", trial, "POST", TRIAL_BYTES_MAX),
    ]


async def _versions(admin: Admin, caller: Caller, request: Request, _: bytes) -> Response:
    name = str(request.path_params["name"])
    found = await endpoint_changes.versions(admin.desk, caller, name)
    return JSONResponse({"name": name, "versions": [_shown(version) for version in found]})


async def _rollback(admin: Admin, caller: Caller, request: Request, body: bytes) -> Response:
    name = str(request.path_params["name"])
    to = _member(body, "to", int, "the number of a version")
    return JSONResponse({"name": name, "version": await endpoint_changes.roll_back(admin.desk, caller, name, to)})


def _member(body: bytes, name: str, kind: type[T], what: str) -> T | None:
    """The one member that a body may have; None where it has none. Invalid."""
    try:
        members: Any = json.loads(body or b"{}")
    except ValueError:
        raise Invalid(f"The body is not JSON; send an object, with the member '{name}' or without.") from None
    given = members.get(name) if isinstance(members, dict) else None
    if not isinstance(members, dict) or set(members) - {name} or not (given is None or type(given) is kind):
        raise Invalid(f"The body must be an object with at most the member '{name}', {what}.")
    return given


async def _rollout(admin: Admin, caller: Caller, request: Request, _: bytes) -> Response:
    name = str(request.path_params["name"])
    found, now_us = await rollouts.under_way(admin.desk, caller, name), admin.desk.clock.now_us()
    return JSONResponse({"name": name, "rollout": None if found is None else _shown_rollout(found, now_us)})


async def _promote(admin: Admin, caller: Caller, request: Request, body: bytes) -> Response:
    name = str(request.path_params["name"])
    whole = bool(_member(body, "whole", bool, "whether all the traffic is to go to the new fleet"))
    return JSONResponse({"name": name, "step": await rollouts.promote(admin.desk, caller, name, whole=whole)})


async def _status(admin: Admin, caller: Caller, request: Request, _: bytes) -> Response:
    """What serves and what is on its way, now: DescribeEndpoint of an endpoint in transition is held."""
    name = str(request.path_params["name"])
    found, rollout, versions = await endpoint_changes.standing(admin.desk, caller, name)
    numbers = {v.state: v.number for v in reversed(versions)}
    serves = found.record.served_generation is not None
    fleets = [(numbers.get(VersionState.LIVE if serves else VersionState.STARTING), found.revision, found.ready)]
    if found.pending is not None and not found.pending.same_version:
        fleets.append((numbers.get(VersionState.STARTING), found.pending.revision, found.pending.ready))
    shown = [_fleet(version, revision, ready) for version, revision, ready in fleets]
    for fleet in shown:
        for variant in fleet["variants"]:
            new = rollout.share(variant["variant"]) if rollout else 0.0
            variant["share"] = new if fleet is not shown[0] else 1 - new if serves else 0.0
    return JSONResponse(
        {
            "name": found.record.name,
            "status": found.record.status.value,
            "failure_reason": found.record.failure_reason or None,
            "modified": instant_text(found.record.modified_us),
            "fleets": shown,
            "rollout": None if rollout is None else _shown_rollout(rollout, admin.desk.clock.now_us()),
        }
    )


def _fleet(version: int | None, revision: Revision, ready: Mapping[str, int]) -> dict[str, Any]:
    return {
        "version": version,
        "config": revision.config_name,
        "variants": [
            {"variant": v.name, "weight": v.weight, "ready": ready.get(v.name, 0), "wanted": v.instance_count}
            for v in revision.variants
        ],
    }


def _shown_rollout(found: rollouts.Rollout, now_us: int) -> dict[str, object]:
    progress = found.progress
    return {
        "stage": found.stage,
        "step": progress.step if progress else 1,
        "steps": len(found.steps),
        "bake_left_s": rollouts.bake_left_s(found, now_us),
        "counting": rollouts.counts(found, now_us),
        "reason": progress.reason if progress else "",
        "started": instant_text(progress.started_us) if progress else None,
        "deaths": progress.deaths if progress else 0,
        "old": {"version": found.old.version, "config": found.old.revision.config_name},
        "new": {"version": found.new.version, "config": found.new.revision.config_name},
        "shares": {variant.name: found.share(variant.name) for variant in found.new.revision.variants},
        "alarms": [
            {"name": name, "state": found.alarms[name].value.value if name in found.alarms else None}
            for name in found.deployment.alarms
        ],
    }


def _shown(version: Version) -> dict[str, object]:
    return {
        "version": version.number,
        "state": version.state.value,
        "created": instant_text(version.created_us),
        "config": version.revision.config_name,
        "reason": version.reason or None,
        "variants": [_variant(variant, version) for variant in version.revision.variants],
    }


def _variant(variant: RevisionVariant, version: Version) -> dict[str, object]:
    return {
        "variant": variant.name,
        "model": variant.model_name,
        "image": variant.container.image,
        "runtime": variant.container.runtime,
        "artifact": variant.container.model_data_url,
        "env": variant.container.environment,
        "digest": version.digests.get(variant.container.artifact),
        "weight": variant.weight,
        "instances": variant.instance_count,
        "instance_type": variant.instance_type,
    }
