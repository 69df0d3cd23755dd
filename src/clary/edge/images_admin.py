"""Clary's own API for images of the user's own, behind `clary images`: the root key alone, since a command is code.

GET    /clary/api/images              200 {"images": [{"uri", "name", "tag", "command", "folder", "route", "ping",
                                           "env", "created"}]}
POST   /clary/api/images {"name", "command": [...], "folder", "route", "ping", "env": {}}
                                      201, one of the above
DELETE /clary/api/images/NAME         200 {"name", "removed": tags}
"""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clary.control import images
from clary.control.desk import Caller
from clary.domain.errors import Invalid
from clary.domain.model import ServerSpec
from clary.edge.admin import Admin, guarded, instant_text

BODY_BYTES_MAX = 256 * 1024


class _Wish(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    command: list[str]
    folder: str = ""
    route: str = "/invocations"
    ping: str = "/ping"
    env: dict[str, str] = {}


def routes(admin: Admin) -> list[Route]:
    """The routes, for the application that assembly puts together."""
    return [
        Route("/clary/api/images", guarded(admin, _list), methods=["GET"]),
        Route("/clary/api/images", guarded(admin, _add, body_bytes_max=BODY_BYTES_MAX), methods=["POST"]),
        Route("/clary/api/images/{name}", guarded(admin, _remove), methods=["DELETE"]),
    ]


async def _list(admin: Admin, caller: Caller, _: Request, __: bytes) -> Response:
    return JSONResponse({"images": [_shown(image) for image in await images.list_images(admin.desk, caller)]})


async def _add(admin: Admin, caller: Caller, _: Request, body: bytes) -> Response:
    try:
        wish = msgspec.json.decode(body, type=_Wish)
    except msgspec.DecodeError as error:
        raise Invalid(f"The body is not that of an image: {error}.") from None
    spec = ServerSpec(tuple(wish.command), wish.folder, wish.route, wish.ping, wish.env)
    return JSONResponse(_shown(await images.add(admin.desk, caller, wish.name, spec)), 201)


async def _remove(admin: Admin, caller: Caller, request: Request, _: bytes) -> Response:
    name = str(request.path_params["name"])
    return JSONResponse({"name": name, "removed": await images.remove(admin.desk, caller, name)})


def _shown(image: images.Image) -> dict[str, object]:
    spec = image.spec
    return {
        "uri": image.uri,
        "name": image.name,
        "tag": image.tag,
        "command": list(spec.command),
        "folder": spec.folder,
        "route": spec.route,
        "ping": spec.ping,
        "env": spec.env,
        "created": instant_text(image.created_us),
    }
