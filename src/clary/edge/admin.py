"""Clary's own API below /clary: readiness, and the access keys behind `clary keys`. Endpoints: endpoint_admin.py.

Keys are not an AWS API here: IAM's is a service of its own. Each call must carry a valid SigV4 signature (service name
`clary`) by a root key, with or without --auth: who may make keys may do everything.

    GET    /clary/health              200 {"status": "ok", "version": ..., "auth": "none" or "sigv4"}, 503 {"status":
                                      "starting", ...}
    GET    /clary/api/keys            200 {"keys": [{"key_id", "name", "arn", "status", "created", "revoked"}]}
    POST   /clary/api/keys {"name"}   201 {"key_id", "secret", "name", "arn"}
    DELETE /clary/api/keys/KEY_ID     200 {"key_id", "status": "revoked"}

Errors are {"code", "message"} with a fitting status.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clary.control import keys as use_cases
from clary.control.desk import Caller, Desk
from clary.domain.errors import AlreadyExists, DomainError, InTransition, Invalid, LimitExceeded, NotFound
from clary.domain.principal import Asked, Principal, Scope
from clary.edge.aws.errors import DISK_FULL
from clary.kit import sigv4
from clary.kit.clock import MICROS
from clary.kit.disk import is_full
from clary.kit.instants import stamp_s
from clary.kit.loopback import refusal
from clary.store.base import StoreUnavailableError
from clary.store.keys import KeyRecord
from clary.store.seal import Seal

BODY_BYTES_MAX = 16 * 1024
SERVICE = "clary"

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class AdminOptions:
    """What the door is told."""

    version: str
    """Reported by /clary/health; the CLI compares it with its own."""
    auth: bool
    """Whether the server runs with --auth; without it, requests of foreign hosts and pages are refused first."""
    hosts: tuple[str, ...]
    """Host names answered besides loopback ones, lower case, without port."""


class _Refused(Exception):  # noqa: N818 - a refusal, not a fault
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Admin:
    """What the handlers work with."""

    desk: Desk
    seal: Seal
    keys: sigv4.Keys
    ready: Callable[[], bool]
    """Whether the server can host models: the store is open and reconcile runs."""
    options: AdminOptions


Handler = Callable[[Admin, Caller, Request, bytes], Awaitable[Response]]


def routes(admin: Admin) -> list[Route]:
    """The routes, for the application that assembly puts together."""

    async def health(_: Request) -> Response:
        ready = admin.ready()
        auth = "sigv4" if admin.options.auth else "none"
        document = {"status": "ok" if ready else "starting", "version": admin.options.version, "auth": auth}
        return JSONResponse(document, 200 if ready else 503)

    return [
        Route("/clary/health", health, methods=["GET"]),
        Route("/clary/api/keys", guarded(admin, _list_keys), methods=["GET"]),
        Route("/clary/api/keys", guarded(admin, _create_key), methods=["POST"]),
        Route("/clary/api/keys/{key_id}", guarded(admin, _revoke_key), methods=["DELETE"]),
    ]


async def _list_keys(admin: Admin, _: Caller, __: Request, ___: bytes) -> Response:
    return JSONResponse({"keys": [_shown(key) for key in await use_cases.list_keys(admin.desk)]})


async def _create_key(admin: Admin, caller: Caller, _: Request, body: bytes) -> Response:
    try:
        members: Any = json.loads(body)
    except ValueError:
        raise Invalid("The body is not JSON; send an object with the member 'name'.") from None
    name = members.get("name") if isinstance(members, dict) else None
    if not isinstance(name, str) or set(members) != {"name"}:
        raise Invalid("The body must be an object with the one member 'name', a text.")
    made = await use_cases.create(admin.desk, admin.seal, caller, name)
    return JSONResponse({"key_id": made.key_id, "secret": made.secret, "name": made.name, "arn": made.arn}, 201)


async def _revoke_key(admin: Admin, caller: Caller, request: Request, _: bytes) -> Response:
    key_id = str(request.path_params["key_id"])
    await use_cases.revoke(admin.desk, caller, key_id)
    return JSONResponse({"key_id": key_id, "status": "revoked"})


def _shown(key: KeyRecord) -> dict[str, str | None]:
    return {
        "key_id": key.key_id,
        "name": key.name,
        "arn": key.arn,
        "status": "active" if key.revoked_us is None else "revoked",
        "created": instant_text(key.created_us),
        "revoked": None if key.revoked_us is None else instant_text(key.revoked_us),
    }


def instant_text(at_us: int) -> str:
    """ISO 8601 in UTC, to the second."""
    return stamp_s(at_us)


def guarded(
    admin: Admin, handler: Handler, *, root: bool = True, body_bytes_max: int = BODY_BYTES_MAX
) -> Callable[[Request], Awaitable[Response]]:
    """`handler` behind the checks: origin, body size, signature; `root`: of the root key, else of any that is live."""

    async def answer(request: Request) -> Response:
        request_id = admin.desk.ids.request_id()
        try:
            body = await _body(request, body_bytes_max)
            caller = _caller(admin, request, body, request_id, root=root)
            response = await handler(admin, caller, request, body)
        except _Refused as error:
            response = _error(error.status, error.code, str(error))
        except DomainError as error:
            response = _domain_error(error)
        except Exception as error:
            response = _unforeseen(error, request, request_id)
        response.headers["x-amzn-requestid"] = request_id
        response.headers["cache-control"] = "no-store"
        return response

    return answer


def _unforeseen(error: Exception, request: Request, request_id: str) -> Response:
    """The answer to an exception, which is logged here."""
    facts = {"request_id": request_id, "path": request.url.path}
    if is_full(error):
        log.error("An internal call found the disk full.", error=str(error), **facts)
        return _error(500, "InternalFailure", DISK_FULL)
    if isinstance(error, StoreUnavailableError):
        log.warning("An internal call found the store away.", error=str(error), **facts)
        return _error(503, "ServiceUnavailable", "The server's database cannot be reached now.")
    log.error("An internal call failed.", exc_info=error, **facts)
    return _error(500, "InternalFailure", "An internal error; the server's log has the details.")


async def _body(request: Request, bytes_max: int) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > bytes_max:
            raise _Refused(413, "RequestTooLarge", f"The body is larger than {bytes_max} bytes.")
    return body


def _caller(admin: Admin, request: Request, body: bytes, request_id: str, *, root: bool) -> Caller:
    """The holder of the root key or, unless `root`, of any other. Raises _Refused for everybody else."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    if not admin.options.auth:
        why = refusal(headers.get("host"), headers.get("origin"), headers.get("sec-fetch-site"), admin.options.hosts)
        if why is not None:
            raise _Refused(403, "AccessDenied", why)
    try:
        claim = sigv4.parse_headers(headers)
        if claim is None:
            raise _Refused(401, "MissingAuthenticationToken", "The request is not signed; sign it with the root key.")
        proof = sigv4.verify(
            claim,
            admin.keys.lookup(claim.credential.key_id),
            method=request.method,
            path=request.scope["raw_path"].decode("latin-1"),
            query=request.scope["query_string"].decode("latin-1"),
            headers=headers,
            payload=hashlib.sha256(body).hexdigest(),
            now_s=admin.desk.clock.now_us() / MICROS,
        )
    except sigv4.UnknownKey:
        raise _Refused(403, "UnrecognizedClientException", "The key is unknown or revoked.") from None
    except sigv4.Stale:
        raise _Refused(403, "RequestTimeTooSkewed", "The request's time is too far from the server's.") from None
    except sigv4.SigV4Error as error:
        raise _Refused(
            403, "InvalidSignatureException", f"The signature is not valid: {type(error).__name__}."
        ) from None
    key = proof.key
    if key is None or claim.credential.service != SERVICE or (root and not key.arn.endswith(":root")):
        raise _Refused(403, "AccessDenied", "Only the root key (HOME/secrets/root.json) may do this.")
    asked = Asked(user_agent=headers.get("user-agent", ""), source_ip=request.client.host if request.client else "")
    scope = Scope(key.account, claim.credential.region)
    return Caller(Principal(key.account, key.arn, key.key_id), scope, request_id, asked)


def _domain_error(error: DomainError) -> JSONResponse:
    if isinstance(error, NotFound):
        return _error(404, "NotFound", f"There is no active {error.kind} {error.name}.")
    if isinstance(error, AlreadyExists):
        return _error(409, "AlreadyExists", f"The name {error.name} is taken: there is such an {error.kind} already.")
    if isinstance(error, Invalid):
        return _error(400, "ValidationException", error.message)
    if isinstance(error, InTransition):
        text = f"The {error.kind} {error.name} is being created, updated or deleted; try again when that is done."
        return _error(409, "InTransition", text)
    if isinstance(error, LimitExceeded):
        return _error(400, "LimitExceeded", f"There are {error.limit} {error.what} already, the most there may be.")
    return _error(400, type(error).__name__, str(error))


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"code": code, "message": message}, status)
