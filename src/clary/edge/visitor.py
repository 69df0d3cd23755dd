"""Who looks at Clary's own pages of an endpoint, and which endpoint is meant.

Without --auth anybody on this machine and no foreign page (kit/loopback.py); with it, whoever signs, with a key of any
service, in a header or presigned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request

from clary.kit import loopback, sigv4
from clary.kit.clock import MICROS, Clock

Lookup = Callable[[str, str], Awaitable[dict[str, str]]]
"""(account, endpoint name) -> uid by region; see control.endpoint_logs."""


class Refused(Exception):  # noqa: N818 - a refusal, not a fault
    """Answer this."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class VisitorOptions:
    """Who may look."""

    auth: bool
    """True: a valid SigV4 signature of any service, in a header or presigned. False: loopback rules only."""
    account: str
    """Of unsigned callers."""
    region: str
    """Of unsigned callers, where several regions hold the name."""
    hosts: tuple[str, ...] = ()
    """Host names answered besides loopback ones, without auth."""


@dataclass(frozen=True)
class Doorman:
    """Finds the endpoint that a visitor may see."""

    lookup: Lookup
    keys: sigv4.Keys
    clock: Clock
    options: VisitorOptions

    async def endpoint_uid(self, request: Request, name: str) -> str:
        """The uid of the endpoint of that name. Raises Refused."""
        account, region = self._caller(request)
        region = request.query_params.get("region", region)
        found = await self.lookup(account, name)
        if region is None:
            region = next(iter(found)) if len(found) == 1 else self.options.region
        uid = found.get(region)
        if uid is None:
            raise Refused(404, "NotFound", f"There is no endpoint {name} in account {account} and region {region}.")
        return uid

    def account(self, request: Request) -> str:
        """The account of who asks. Raises Refused."""
        return self._caller(request)[0]

    def check_origin(self, request: Request) -> None:
        """Raise Refused where nobody need sign and a foreign page, or a foreign name of this host, asks."""
        get = request.headers.get
        if not self.options.auth:
            why = loopback.refusal(get("host"), get("origin"), get("sec-fetch-site"), self.options.hosts)
            if why is not None:
                raise Refused(403, "AccessDenied", why)

    def _caller(self, request: Request) -> tuple[str, str | None]:
        """Account and region of who asks; the region is None for unsigned callers."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        options = self.options
        self.check_origin(request)
        try:
            claim = sigv4.parse(headers, request.scope["query_string"].decode("latin-1"))
            if claim is None and options.auth:
                raise Refused(
                    401, "MissingAuthenticationToken", "This server wants signed requests; sign or presign this one."
                )
            if claim is None:
                return options.account, None
            region = claim.credential.region
            return (self._signer(request, headers, claim) if options.auth else options.account), region
        except sigv4.UnknownKey:
            raise Refused(403, "UnrecognizedClientException", "The key is unknown or revoked.") from None
        except sigv4.SessionExpired:
            raise Refused(403, "ExpiredTokenException", "The session has ended; ask for new credentials.") from None
        except sigv4.SigV4Error as error:
            text = f"The signature is not valid: {type(error).__name__}."
            raise Refused(403, "InvalidSignatureException", text) from None

    def _signer(self, request: Request, headers: Mapping[str, str], claim: sigv4.Claim) -> str:
        """The account of whoever signed. Raises SigV4Error."""
        proof = sigv4.verify(
            claim,
            self.keys.lookup(claim.credential.key_id, claim.token),
            method=request.method,
            path=request.scope["raw_path"].decode("latin-1"),
            query=request.scope["query_string"].decode("latin-1"),
            headers=headers,
            payload=hashlib.sha256(b"").hexdigest(),
            now_s=self.clock.now_us() / MICROS,
        )
        assert proof.key is not None, "verify raises for an unknown key"
        return proof.key.account
