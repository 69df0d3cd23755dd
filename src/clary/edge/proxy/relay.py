"""Hands a decrypted request for a host of AWS to the running server, as it came: path, headers and body are signed.

Only where the server does not verify signatures (no --auth) the Host header is put below `localhost`: such a server
answers loopback names only, and `bucket.s3.us-east-1.amazonaws.com.localhost` means the same bucket and service to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import httpx
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from clary.edge.forward import body_of, stream_of
from clary.edge.proxy.hosts import ServedHosts
from clary.kit.loopback import host_of

ANSWER_S = 900.0
"""Longest silence of the server: above every hold, and above the 8 minutes of a stream."""
CONNECT_S = 10.0
# Not transfer-encoding: it says how the body is framed, on both sides.
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"expect",
        b"keep-alive",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"upgrade",
    }
)


def refusal(host: str, services: tuple[str, ...]) -> str:
    """Why a host is not answered, in one line: clients show it as the reason of a failed tunnel."""
    return f"clary exec --proxy does not answer {host[:256]}: no host of {', '.join(services)}"


@dataclass(frozen=True)
class Relay:
    """An ASGI application for `http` scopes."""

    url: str
    """Of the server, without a closing slash."""
    open_server: bool
    """Whether it runs without --auth."""
    served: ServedHosts
    transport: httpx.AsyncBaseTransport

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", "there are neither websockets nor a lifespan here"
        request = Request(scope, receive)
        host = host_of(request.headers.get("host", ""))
        try:
            if self.served.service_of(host) is None:
                response: Response = PlainTextResponse(refusal(host, self.served.services) + "\n", 403)
            else:
                response = await self._forward(request, host)
        except ClientDisconnect:
            return
        except httpx.TransportError as error:
            text = f"clary exec --proxy: no server answers at {self.url}: {error or type(error).__name__}\n"
            response = PlainTextResponse(text, 502)
        await response(scope, receive, send)

    async def _forward(self, request: Request, host: str) -> Response:
        target: bytes = request.scope["raw_path"] or b"/"
        if request.scope["query_string"]:
            target += b"?" + request.scope["query_string"]
        headers = [(name, value) for name, value in request.headers.raw if name not in _HOP_BY_HOP]
        if self.open_server:
            headers = [(n, f"{host}.localhost".encode() if n == b"host" else value) for n, value in headers]
        has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
        answer = await self.transport.handle_async_request(
            httpx.Request(
                request.method,
                self.url,
                headers=headers,
                content=body_of(request) if has_body else None,
                # The target goes out as it came in: a client signed it byte by byte.
                extensions={
                    "target": httpx.URL(self.url).raw_path.rstrip(b"/") + target,
                    "timeout": httpx.Timeout(ANSWER_S, connect=CONNECT_S).as_dict(),
                },
            )
        )
        response = StreamingResponse(stream_of(answer), answer.status_code)
        response.raw_headers = [(n.lower(), v) for n, v in answer.headers.raw if n.lower() not in _HOP_BY_HOP]
        return response
