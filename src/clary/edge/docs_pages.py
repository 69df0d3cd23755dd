"""An endpoint's own pages: `GET /endpoints/NAME/docs` for people, `GET /endpoints/NAME/openapi.json` for tools.

Both are made from the signature that a replica in service reports. An unsigned S3 request for the key `NAME/docs` of a
bucket named `endpoints` means these pages; a signed one means the bucket.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from clary.control.endpoint_docs import EndpointFacts
from clary.domain.signature import ModelSignature
from clary.edge import docs_html, openapi
from clary.edge.visitor import Doorman, Refused
from clary.placement.base import ReplicaState

_PAGE = re.compile(r"/endpoints/[^/]+/(docs|openapi\.json)")
_S3_CREDENTIAL = re.compile(rb"/s3/aws4_request|%2Fs3%2Faws4_request|AWSAccessKeyId=|^AWS ", re.IGNORECASE)


@dataclass(frozen=True)
class DocsPages:
    """What the handlers work with."""

    doorman: Doorman
    facts: Callable[[str], Awaitable[EndpointFacts | None]]
    """By the endpoint's uid; None where it is gone."""
    observed: Callable[[], Mapping[str, ReplicaState]]
    """Replicas by uid."""


def is_page(scope: Scope) -> bool:
    """Whether a request means one of these pages, and not an S3 object of the same address."""
    return (
        scope["method"] in ("GET", "HEAD") and _PAGE.fullmatch(scope["path"]) is not None and not signed_for_s3(scope)
    )


def signed_for_s3(scope: Scope) -> bool:
    """Whether a request bears a signature for S3: then its path is a bucket's."""
    signs = [value for name, value in scope["headers"] if name == b"authorization"]
    return any(_S3_CREDENTIAL.search(text) for text in (*signs, scope["query_string"]))


def routes(pages: DocsPages) -> list[Route]:
    """The routes, for the application that assembly puts together."""

    async def docs(request: Request) -> Response:
        return await _answered(pages, request, as_page=True)

    async def schema(request: Request) -> Response:
        return await _answered(pages, request, as_page=False)

    return [
        Route("/endpoints/{name}/docs", docs, methods=["GET"]),
        Route("/endpoints/{name}/openapi.json", schema, methods=["GET"]),
    ]


async def _answered(pages: DocsPages, request: Request, *, as_page: bool) -> Response:
    name = request.path_params["name"]
    try:
        uid = await pages.doorman.endpoint_uid(request, name)
    except Refused as error:
        return JSONResponse({"code": error.code, "message": str(error)}, error.status)
    facts = await pages.facts(uid)
    if facts is None:  # deleted between the two looks
        return JSONResponse({"code": "NotFound", "message": f"There is no endpoint {name}."}, 404)
    auth = pages.doorman.options.auth
    base = f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}"
    variants = [openapi.Variant(one.name, _signature(pages, one.replica_uids)) for one in facts.variants]
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    if not as_page:
        document = openapi.document(facts, variants, base, auth=auth)
        return Response(json.dumps(document, indent=2), media_type="application/json", headers=headers)
    headers["content-security-policy"] = docs_html.POLICY
    return HTMLResponse(docs_html.page(facts, variants, base, auth=auth), headers=headers)


def _signature(pages: DocsPages, replica_uids: tuple[str, ...]) -> ModelSignature:
    """What the first replica in service says; nothing while none is."""
    observed = pages.observed()
    return next((observed[uid].signature for uid in replica_uids if uid in observed), ModelSignature())
