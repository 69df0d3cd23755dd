"""A hot request on a connection that control holds: forwarded to a router's private socket.

A client that talks to control first (S3, a control operation) and invokes on the same connection lands here; most
clients keep one connection pool a service and never do.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"transfer-encoding", b"te", b"upgrade", b"proxy-connection", b"expect"}
)
_HOT = re.compile(r"/endpoints/[^/]+(?:/versions/[^/]*)?/invocations(?:-response-stream)?").fullmatch
"""The paths of `dataplane/head`."""
_ANSWER_S = 660.0
"""Above any deadline that a router keeps itself: the router answers first."""
_RELOAD_S = 1.0


class Routers:
    """The private sockets of all routers, one HTTP client each."""

    def __init__(self, sockets: Sequence[Path]) -> None:
        self._clients = [
            httpx.AsyncClient(
                transport=httpx.AsyncHTTPTransport(uds=str(path)),
                base_url="http://router",
                timeout=httpx.Timeout(_ANSWER_S, connect=_RELOAD_S),
            )
            for path in sockets
        ]
        self._turn = itertools.cycle(self._clients)

    async def aclose(self) -> None:
        """Close every connection."""
        for client in self._clients:
            await client.aclose()

    async def reload(self) -> None:
        """Have every router that runs read the snapshot. One that does not answer reads it when it starts."""
        for client in self._clients:
            try:
                await client.post("/clary/router/reload", timeout=_RELOAD_S)
            except httpx.TransportError:
                continue

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request, as an ASGI application."""
        request = Request(scope, receive)
        try:
            response = await self._forward(request, next(self._turn))
        except ClientDisconnect:
            return
        except httpx.TransportError:
            response = JSONResponse(
                {"Message": "No router answers at the moment."}, 503, {"x-amzn-ErrorType": "ServiceUnavailable"}
            )
        await response(scope, receive, send)

    async def _forward(self, request: Request, client: httpx.AsyncClient) -> Response:
        target = request.scope["raw_path"].decode("latin-1")
        if request.scope["query_string"]:
            target += "?" + request.scope["query_string"].decode("latin-1")
        headers = [(name, value) for name, value in request.headers.raw if name not in _HOP_BY_HOP]
        answer = await client.send(
            client.build_request(request.method, target, headers=headers, content=body_of(request)), stream=True
        )
        forwarded = StreamingResponse(stream_of(answer), answer.status_code)
        forwarded.raw_headers = [(n.lower(), v) for n, v in answer.headers.raw if n.lower() not in _HOP_BY_HOP]
        return forwarded


def is_hot(method: str, path: str) -> bool:
    """Whether a router serves this request: an invocation of an endpoint."""
    return method == "POST" and _HOT(path) is not None


async def body_of(request: Request) -> AsyncIterator[bytes]:
    """The parts of a request's body, to be sent on as they come. ClientDisconnect."""
    async for part in request.stream():
        if part:
            yield part


async def stream_of(answer: httpx.Response) -> AsyncIterator[bytes]:
    """The parts of an answer's body as they were sent, encodings included; it is closed at the end."""
    try:
        async for part in answer.aiter_raw():
            yield part
    finally:
        await answer.aclose()
