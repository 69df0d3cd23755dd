"""Clary's own API for scaling with no configuration, behind `clary scale`.

Each call carries a SigV4 signature (service name `clary`) by any key that is live; the region is the signature's.

    GET    /clary/api/endpoints/NAME/scale             200 {"name", "cores", "variants": [{"variant", "by", ...}]}
    PUT    /clary/api/endpoints/NAME/scale {"variant", "concurrency", "min", "max", "window_s"}   200, as above
    DELETE /clary/api/endpoints/NAME/scale {"variant"}                                            200, as above

What a PUT leaves out stays as it is or, where the variant is not scaled so yet, is the default. `by` is `load`,
`target` (Application Auto Scaling) or `nothing`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clary.control import auto_scaling
from clary.control.auto_scaling import Change, Scaled
from clary.control.desk import Caller
from clary.domain.errors import Invalid
from clary.edge.admin import Admin, Handler, guarded
from clary.telemetry.pressure import Pressure

T = TypeVar("T")


@dataclass(frozen=True)
class Gauge:
    """What is known here of the machine and of the load."""

    pressure: Pressure
    cores: int


class _Wish(msgspec.Struct, forbid_unknown_fields=True):
    variant: str = ""
    concurrency: int | None = None
    min: int | None = None
    max: int | None = None
    window_s: int | None = None


class _Which(msgspec.Struct, forbid_unknown_fields=True):
    variant: str = ""


def routes(admin: Admin, gauge: Gauge) -> list[Route]:
    """The routes, for the application that assembly puts together."""

    async def show(admin: Admin, caller: Caller, request: Request, _: bytes) -> Response:
        name, found = await auto_scaling.show(admin.desk, caller, str(request.path_params["name"]), gauge.cores)
        shown = [_shown(one, gauge) for one in found]
        return JSONResponse({"name": name, "cores": gauge.cores, "variants": shown})

    async def put(admin: Admin, caller: Caller, request: Request, body: bytes) -> Response:
        wish = _decoded(body, _Wish)
        change = Change(wish.concurrency, wish.min, wish.max, wish.window_s)
        name = str(request.path_params["name"])
        await auto_scaling.put(admin.desk, caller, name, wish.variant, change, gauge.cores)
        return await show(admin, caller, request, b"")

    async def off(admin: Admin, caller: Caller, request: Request, body: bytes) -> Response:
        wish = _decoded(body, _Which)
        await auto_scaling.off(admin.desk, caller, str(request.path_params["name"]), wish.variant)
        return await show(admin, caller, request, b"")

    def route(handler: Handler, method: str) -> Route:
        return Route("/clary/api/endpoints/{name}/scale", guarded(admin, handler, root=False), methods=[method])

    return [route(show, "GET"), route(put, "PUT"), route(off, "DELETE")]


def _decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.DecodeError as error:
        raise Invalid(f"The body is not what is asked for here: {error}.") from None


def _shown(one: Scaled, gauge: Gauge) -> dict[str, object]:
    seconds = gauge.pressure.of(one.endpoint_uid, one.variant)
    spec, limits = one.spec, one.limits
    return {
        "variant": one.variant,
        "by": "target" if one.registered else "load" if spec is not None else "nothing",
        "concurrency": spec.concurrency if spec is not None else None,
        "min": limits.least if limits is not None else None,
        "max": limits.most if limits is not None else None,
        "window_s": spec.window_s if spec is not None else None,
        "wanted": one.wanted,
        "ready": one.ready,
        "load": round(seconds[-1].load, 3) if seconds else 0.0,
    }
