"""The proxy's listener: CONNECT and requests in absolute form, from whoever knows the token.

A tunnel to a host of a served service ends here, in a TLS server with a certificate for that host, and its requests go
to the relay. Every other host is refused with 403 in the status line, which clients show of a failed tunnel.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import socket
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import uvicorn
from uvicorn.server import ServerState

from clary.dataplane.handoff import FirstBytes
from clary.edge.patience import PatientHttp
from clary.edge.proxy.authority import Authority
from clary.edge.proxy.hosts import ServedHosts
from clary.edge.proxy.relay import Relay, refusal
from clary.kit.loopback import host_of

USER = "clary"
"""User name in the proxy's URL; the token is its password."""
HEAD_BYTES_MAX = 64 * 1024
HEAD_S = 10.0
"""Seconds within which a whole head, and then a TLS handshake, must have come."""


class Refused(Exception):  # noqa: N818 - a refusal, not a fault
    """Answer this status line and end the connection."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class Head:
    """The first head of a connection."""

    method: str
    target: str
    headers: dict[str, str]
    """By lower-case name."""


def head_of(raw: bytes) -> Head:
    """A head read as far as its blank line; Refused for what is no HTTP/1 request."""
    first, *lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise Refused(400, "This is an HTTP/1 proxy")
    pairs = (line.partition(":") for line in lines)
    return Head(parts[0], parts[1], {name.strip().lower(): value.strip() for name, _, value in pairs})


def host_asked(head: Head) -> str:
    """The host that a client wants to reach; Refused for a request that is not one to a proxy, or for another port."""
    if head.method == "CONNECT":
        authority, port = head.target, "443"
    elif head.target.startswith("http://"):
        authority, port = urlsplit(head.target).netloc, "80"
    else:
        raise Refused(400, "This is a proxy: name it in HTTPS_PROXY")
    host = host_of(authority)
    if not host:
        raise Refused(400, "The host that is asked for cannot be read")
    given = authority.rpartition(":")[2]
    if given.isdigit() and given != port:
        raise Refused(403, f"clary exec --proxy does not answer {host[:256]} at port {given[:8]}: AWS has port {port}")
    return host


class Proxy:
    """Serves one listener for as long as `run` runs."""

    def __init__(
        self, *, token: str, served: ServedHosts, authority: Authority, relay: Relay, on_refused: Callable[[str], None]
    ) -> None:
        """`on_refused` is told each refused host once."""
        credentials = base64.b64encode(f"{USER}:{token}".encode()).decode()
        self._credentials = f"Basic {credentials}".encode()
        self._served = served
        self._authority = authority
        self._on_refused = on_refused
        self._told: set[str] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self._state = ServerState()
        self._config = uvicorn.Config(
            relay,
            http="httptools",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=75,
        )
        self._config.load()

    async def run(self, listener: socket.socket) -> None:
        """Accept until cancelled; `listener` does not block."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                client, _ = await loop.sock_accept(listener)
                client.setblocking(False)
                task = loop.create_task(self._connection(client))
                self._connections.add(task)
                task.add_done_callback(self._connections.discard)
        finally:
            for task in list(self._connections):
                task.cancel()
            for connection in list(self._state.connections):
                connection.shutdown()

    async def _connection(self, client: socket.socket) -> None:
        """The first head of a connection; what follows is the HTTP server's. Clients may go away at any moment."""
        try:
            async with asyncio.timeout(HEAD_S):
                tunnel, read = await self._enter(client)
        except Refused as refused:
            with contextlib.suppress(OSError):
                await _refuse(client, refused)
            client.close()
        except OSError:
            client.close()
        else:
            with contextlib.suppress(OSError):  # the loop closes what fails in the handshake
                await self._attach(client, tunnel, read)

    async def _enter(self, client: socket.socket) -> tuple[str | None, bytes]:
        """The host of a tunnel, None for a request in absolute form, and what was read; Refused, OSError."""
        raw, rest = await _read_head(client)
        head = head_of(raw)
        self._admit(head)
        host = host_asked(head)
        self._require_served(host)
        if head.method != "CONNECT":
            return None, raw + rest
        if rest:
            raise Refused(400, "A tunnel begins when this proxy has said so")
        await asyncio.get_running_loop().sock_sendall(client, b"HTTP/1.1 200 Connected\r\n\r\n")
        return host, b""

    def _admit(self, head: Head) -> None:
        given = head.headers.get("proxy-authorization", "").encode("latin-1")
        if not hmac.compare_digest(given, self._credentials):
            raise Refused(407, "This proxy belongs to one command, which has its token in HTTPS_PROXY")

    def _require_served(self, host: str) -> None:
        if self._served.service_of(host) is not None:
            return
        if host not in self._told:
            self._told.add(host)
            self._on_refused(host)
        raise Refused(403, refusal(host, self._served.services))

    async def _attach(self, client: socket.socket, tunnel: str | None, read: bytes) -> None:
        loop = asyncio.get_running_loop()
        http = PatientHttp(config=self._config, server_state=self._state, app_state={})
        if tunnel is None:
            await loop.connect_accepted_socket(lambda: FirstBytes(http, read), client)
        else:
            await loop.connect_accepted_socket(
                lambda: http, client, ssl=self._authority.context(tunnel), ssl_handshake_timeout=HEAD_S
            )


async def _read_head(client: socket.socket) -> tuple[bytes, bytes]:
    """The head with its blank line, and what came after it; Refused for one that is too long, OSError."""
    loop = asyncio.get_running_loop()
    read = b""
    while b"\r\n\r\n" not in read:
        if len(read) > HEAD_BYTES_MAX:
            raise Refused(431, "The head is too long")
        part = await loop.sock_recv(client, 16 * 1024)
        if not part:
            raise ConnectionResetError
        read += part
    head, _, rest = read.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


async def _refuse(client: socket.socket, refused: Refused) -> None:
    body = f"{refused.reason}.\n".encode("latin-1", "replace")
    head = f"HTTP/1.1 {refused.status} {refused.reason}\r\n"
    if refused.status == 407:
        head += 'Proxy-Authenticate: Basic realm="clary"\r\n'
    head += f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    await asyncio.get_running_loop().sock_sendall(client, head.encode("latin-1", "replace") + body)
