"""What a connection needs of whoever answers its requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from clary.dataplane.head import Head, Refused
from clary.dataplane.limits import Limits

if TYPE_CHECKING:
    from clary.dataplane.http import Connection, Exchange


class App(Protocol):
    """What answers the requests of connections."""

    limits: Limits
    now_s: float
    """Coarse monotonic time, moved by the sweep: good for timeouts of seconds."""
    stopping: bool
    heads: dict[bytes, Head]
    """Heads parsed before, by their bytes."""
    connections: set[Connection]

    def request(self, connection: Connection, head: Head, body: bytes) -> Exchange | bytes:
        """A whole request: its answer, or an exchange that will be answered."""
        ...

    def refusal(self, refused: Refused) -> bytes:
        """The whole response of a refusal."""
        ...

    def unexpected(self, error: Exception) -> Refused:
        """Log an error of ours; what the client is told."""
        ...

    def abandoned(self, exchange: Exchange) -> None:
        """The client of this exchange is gone."""
        ...

    def resumed(self, exchange: Exchange) -> None:
        """The client of this exchange takes more of its answer's parts again."""
        ...

    def hand_over(self, transport: asyncio.Transport, read: bytes) -> bytes | None:
        """Give the socket and the bytes already read to control: None when it is on its way, else the refusal.

        The transport is paused and its writes are flushed; the caller closes it without touching the socket's state.
        """
        ...
