"""Requests that are none, by the thousand beside 64 clients: each is refused or cut off, none is an error of ours."""

from __future__ import annotations

import contextlib
import socket

import pytest

from tests.faults.clients import Clients
from tests.faults.conftest import ENDPOINT, Tally
from tests.support.server import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ROUNDS = 100
HOT = b"POST /endpoints/%b/invocations HTTP/1.1\r\nHost: 127.0.0.1\r\n" % ENDPOINT.encode()
HOSTILE = {
    "two lengths": HOT + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n1,2",
    "length and chunks": HOT + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a negative length": HOT + b"Content-Length: -1\r\n\r\n",
    "a length of 5000 digits": HOT + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "a length beyond the limit": HOT + b"Content-Length: 99999999999\r\n\r\n",
    "a chunk beyond the limit": HOT + b"Transfer-Encoding: chunked\r\n\r\nffffffffff\r\n",
    "a chunk that is no number": HOT + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    "another coding": HOT + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "bare line feeds": HOT.replace(b"\r\n", b"\n") + b"\n",
    "a NUL": HOT + b"X-A: \0\r\n\r\n",
    "a space before the colon": HOT + b"Content-Length : 3\r\n\r\n1,2",
    "a folded header": HOT + b"X-A: a\r\n b\r\n\r\n",
    "no host": HOT.split(b"\r\n")[0] + b"\r\n\r\n",
    "two hosts": HOT + b"Host: b\r\n\r\n",
    "a foreign host": HOT.replace(b"127.0.0.1", b"evil.example") + b"Content-Length: 0\r\n\r\n",
    "a head of 100 KB": HOT + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n",
    "10,000 headers": HOT + b"".join(b"X-%d: a\r\n" % at for at in range(10_000)) + b"\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": bytes.fromhex("16030100a5010000a10303") + bytes(160),
    "a path that climbs": b"GET /../../../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a key that climbs": b"GET /bucket/..%2f..%2f..%2fsecrets%2fkek HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "half a request": HOT + b"Content-Length: 10\r\n\r\n1,2",
    "nothing": b"",
}


def answer_to(server: Server, raw: bytes) -> bytes:
    """The first bytes of the answer; empty where the connection just ends."""
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", server.port), 30) as client:
        client.sendall(raw)
        client.shutdown(socket.SHUT_WR)
        return client.recv(4096)
    return b""


def test_hostile_requests(steady: Server, tally: Tally) -> None:
    wrong = []
    with Clients(steady, ENDPOINT) as clients:
        for _ in range(ROUNDS):
            for what, raw in HOSTILE.items():
                answer = answer_to(steady, raw)
                refused = answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 501 ", b"HTTP/1.1 505 "))
                if not refused:
                    wrong.append(f"{what}: {answer[:80]!r}")
        clients.more(100)
    tally("hostile requests: 64 clients beside them", clients.tried, clients.lost())
    note = f"{len(HOSTILE)} kinds, {ROUNDS} times; each refused (4xx, 501, 505) or cut off"
    tally("hostile requests", len(HOSTILE) * ROUNDS, wrong, note)
