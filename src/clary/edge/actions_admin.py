"""Clary's own API for actions, behind `clary actions`: the root key alone, since a command is code.

GET    /clary/api/actions              200 {"actions": [{"name", "command", "url", "timeout_s", "retries", "role",
                                            "function_arn", "topic_arn", "created"}]}
POST   /clary/api/actions {"name", "command": [...] or "url", "timeout_s", "retries", "role"}
                                       201, one of the above
DELETE /clary/api/actions/NAME         200 {"name"}
GET    /clary/api/actions/NAME/runs    200 {"runs": [{"id", "event_id", "source", "attempt", "started", "ended",
                                            "outcome", "reason", "output"}]}
POST   /clary/api/actions/NAME/test    202 {"event_id"}
"""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clary.control import actions
from clary.control.desk import Caller
from clary.domain.actions import ActionSpec
from clary.domain.errors import Invalid
from clary.domain.principal import Scope
from clary.edge.admin import Admin, guarded, instant_text
from clary.kit.ids import uuid_of
from clary.store.actions import ActionRecord, Run

BODY_BYTES_MAX = 512 * 1024


class _Wish(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    command: list[str] = []
    url: str = ""
    timeout_s: float = 60.0
    retries: int = 2
    role: str = ""


def routes(admin: Admin) -> list[Route]:
    """The routes, for the application that assembly puts together."""
    return [
        Route("/clary/api/actions", guarded(admin, _list), methods=["GET"]),
        Route("/clary/api/actions", guarded(admin, _add, body_bytes_max=BODY_BYTES_MAX), methods=["POST"]),
        Route("/clary/api/actions/{name}", guarded(admin, _remove), methods=["DELETE"]),
        Route("/clary/api/actions/{name}/runs", guarded(admin, _runs), methods=["GET"]),
        Route("/clary/api/actions/{name}/test", guarded(admin, _test), methods=["POST"]),
    ]


async def _list(admin: Admin, caller: Caller, _: Request, __: bytes) -> Response:
    found = await actions.listed(admin.desk, caller)
    return JSONResponse({"actions": [_shown(one, caller.scope) for one in found]})


async def _add(admin: Admin, caller: Caller, _: Request, body: bytes) -> Response:
    try:
        wish = msgspec.json.decode(body, type=_Wish)
    except msgspec.DecodeError as error:
        raise Invalid(f"The body is not that of an action: {error}.") from None
    spec = ActionSpec(tuple(wish.command), wish.url, wish.timeout_s, wish.retries, wish.role)
    return JSONResponse(_shown(await actions.add(admin.desk, caller, wish.name, spec), caller.scope), 201)


async def _remove(admin: Admin, caller: Caller, request: Request, _: bytes) -> Response:
    name = str(request.path_params["name"])
    await actions.remove(admin.desk, caller, name)
    return JSONResponse({"name": name})


async def _runs(admin: Admin, caller: Caller, request: Request, _: bytes) -> Response:
    found = await actions.runs(admin.desk, caller, str(request.path_params["name"]))
    return JSONResponse({"runs": [_run(one) for one in found]})


async def _test(admin: Admin, caller: Caller, request: Request, _: bytes) -> Response:
    uid = await actions.trial(admin.desk, caller, str(request.path_params["name"]))
    return JSONResponse({"event_id": uuid_of(uid)}, 202)


def _shown(action: ActionRecord, scope: Scope) -> dict[str, object]:
    spec = action.spec
    function, topic = actions.arns(scope, action.name)
    return {
        "name": action.name,
        "command": list(spec.command),
        "url": spec.url,
        "timeout_s": spec.timeout_s,
        "retries": spec.retries,
        "role": spec.role,
        "function_arn": function,
        "topic_arn": topic,
        "created": instant_text(action.created_us),
    }


def _run(run: Run) -> dict[str, object]:
    return {
        "id": run.uid,
        "event_id": uuid_of(run.event_uid),
        "source": run.source,
        "attempt": run.attempt,
        "started": instant_text(run.started_us),
        "ended": None if run.ended_us is None else instant_text(run.ended_us),
        "outcome": run.outcome,
        "reason": run.reason,
        "output": run.output,
    }
