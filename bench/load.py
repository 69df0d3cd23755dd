"""Clients on one event loop: each sends its next request when it has the whole answer to the one before."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import uvloop


@dataclass(frozen=True)
class Measured:
    """One stretch of load."""

    rate: float
    """Requests a second."""
    p50_ms: float
    p99_ms: float


class Client(asyncio.Protocol):
    """One connection. Answers may differ in length; anything but a 200 ends the measurement."""

    def __init__(self, requests: Sequence[bytes], done: list[float], ended: asyncio.Future[None]) -> None:
        self._requests = requests
        self._done = done
        self._ended = ended
        self._turn = 0
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        answer = self._answer = self._answer + data if self._answer else data
        head = answer.find(b"\r\n\r\n") + 4
        if head < 4 or len(answer) < head + _content_length(answer[:head]):
            return
        if not answer.startswith(b"HTTP/1.1 200"):
            self._ended.set_exception(RuntimeError(f"the server answered {answer[:500]!r}"))
            return
        self._answer = b""
        self._done.append(time.perf_counter() - self._sent)
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._requests[self._turn % len(self._requests)])
        self._turn += 1


def _content_length(head: bytes) -> int:
    at = head.lower().index(b"content-length:") + 15
    return int(head[at : head.index(b"\r", at)])


def request(path: str, body: bytes) -> bytes:
    """An invocation with a row of CSV, as curl would send it."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: text/csv\r\nContent-Type: text/csv"
    return f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def measure(port: int, requests: Sequence[bytes], concurrency: int, seconds: float) -> Measured:
    """Load from `concurrency` connections for `seconds`, after a short warm-up."""
    return uvloop.run(_measure(port, requests, concurrency, seconds))


async def _measure(port: int, requests: Sequence[bytes], concurrency: int, seconds: float) -> Measured:
    loop = asyncio.get_running_loop()
    done: list[float] = []
    ended: asyncio.Future[None] = loop.create_future()
    for at in range(concurrency):
        mine = [*requests[at % len(requests) :], *requests[: at % len(requests)]]
        await loop.create_connection(lambda mine=mine: Client(mine, done, ended), "127.0.0.1", port)
    await asyncio.wait({ended}, timeout=0.3)
    done.clear()
    began = time.perf_counter()
    await asyncio.wait({ended}, timeout=seconds)
    if ended.done():
        ended.result()
    rate = len(done) / (time.perf_counter() - began)
    cuts = statistics.quantiles(done, n=100)
    return Measured(rate, cuts[49] * 1000, cuts[98] * 1000)
