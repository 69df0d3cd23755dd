"""`GET /clary/api/audit/verify`: whether the audit's chain is whole. Signed by the root key, as all of Clary's own API.

Query: `known=SEQ:HASH`, the head of an earlier verification. Answer:
    {"whole", "rows", "head", "pruned_rows", "broken_seq", "known_is_right"}
`head` is SEQ:HASH of the last row that is right; `broken_seq` the first row that is not, or null.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clary.control import audit
from clary.control.desk import Caller
from clary.edge.admin import Admin, guarded


def routes(admin: Admin) -> list[Route]:
    """The routes, for the application that assembly puts together."""
    return [Route("/clary/api/audit/verify", guarded(admin, _verify), methods=["GET"])]


async def _verify(admin: Admin, _: Caller, request: Request, __: bytes) -> Response:
    verdict = await audit.verify(admin.desk, request.query_params.get("known", ""))
    return JSONResponse(
        {
            "whole": verdict.broken_seq is None and verdict.known_is_right is not False,
            "rows": verdict.rows,
            "head": f"{verdict.head_seq}:{verdict.head_hash}",
            "pruned_rows": verdict.pruned_rows,
            "broken_seq": verdict.broken_seq,
            "known_is_right": verdict.known_is_right,
        }
    )
