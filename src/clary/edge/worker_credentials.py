"""`GET /clary/credentials/UID` of a replica or training job: what the SDKs of AWS in its process ask for credentials.

The `Authorization` header holds the token of the worker's environment, as it stands. Answers `AccessKeyId`,
`SecretAccessKey`, `Token`, `Expiration` and `RoleArn`; errors are {"code", "message"}. Asked over loopback only.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clary.control import worker_roles
from clary.control.desk import Desk
from clary.control.worker_roles import Lender
from clary.domain.errors import Invalid, NotFound
from clary.kit import loopback
from clary.store.sessions import Sessions

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Counter:
    """What the handler works with."""

    desk: Desk
    sessions: Sessions
    lender: Lender


def routes(counter: Counter) -> list[Route]:
    """The route, for the application that assembly puts together."""

    async def credentials(request: Request) -> Response:
        answer = await _credentials(counter, request)
        answer.headers["cache-control"] = "no-store"
        return answer

    return [Route(worker_roles.PATH + "{replica_uid}", credentials, methods=["GET"])]


async def _credentials(counter: Counter, request: Request) -> Response:
    uid = str(request.path_params["replica_uid"])
    get = request.headers.get
    why = loopback.refusal(get("host"), get("origin"), get("sec-fetch-site"), ())
    if why is not None or not _is_near(request):
        return _error(403, "AccessDenied", why or "Credentials are lent over loopback only.")
    if not counter.lender.holds(uid, get("authorization", "")):
        return _error(403, "AccessDenied", "The token is not that of this replica or job.")
    request_id = counter.desk.ids.request_id()
    try:
        role_arn, made = await worker_roles.lend(counter.desk, counter.sessions, uid, request_id)
    except NotFound:
        return _error(404, "NotFound", "The replica is gone, or the training job has ended.")
    except Invalid as error:
        return _error(400, "ValidationException", error.message)
    _log.info("credentials were lent", replica=uid, role=role_arn, request_id=request_id)
    expires = datetime.fromtimestamp(made.expires_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return JSONResponse(
        {
            "RoleArn": role_arn,
            "AccessKeyId": made.key_id,
            "SecretAccessKey": made.secret,
            "Token": made.token,
            "Expiration": expires,
        }
    )


def _is_near(request: Request) -> bool:
    """Whether the peer's address is a loopback one."""
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"code": code, "message": message}, status)
