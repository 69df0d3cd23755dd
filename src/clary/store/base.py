"""What the store is: transactions as functions, and a signal that says when one was committed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol, TypeVar

from sqlalchemy import Connection

from clary.kit.clock import Clock

Result = TypeVar("Result")
patience_s: ContextVar[float] = ContextVar("patience_s", default=math.inf)
"""Seconds that reads and writes of this task wait for a database that is away before they raise StoreUnavailableError.
Loops wait for ever; what serves a request sets less, since its client goes away."""
REQUEST_S = 20.0
"""Patience of requests: AWS clients wait 60 seconds for an answer, and ask again after a 503."""


class Signal:
    """Counts commits and wakes those who wait for the next one. Lives on one event loop.

    A reader takes `version` BEFORE it reads rows and waits past that version: no commit between its read and its wait
    can be missed.
    """

    def __init__(self) -> None:
        self.version = 0
        self._waiters: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """A commit happened."""
        self.version += 1
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_past(self, seen: int) -> int:
        """The version, as soon as it is above `seen`."""
        while self.version <= seen:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)
        return self.version

    async def wait_past_or(self, seen: int, clock: Clock, timeout_s: float) -> int:
        """As `wait_past`, but at most `timeout_s` seconds by `clock`; the version at that moment either way."""
        if self.version > seen or timeout_s <= 0:
            return self.version
        commit = asyncio.ensure_future(self.wait_past(seen))
        timer = asyncio.ensure_future(clock.sleep(timeout_s))
        try:
            await asyncio.wait({commit, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            commit.cancel()
            timer.cancel()
        return self.version


class Store(Protocol):
    """Rows and transactions. The functions given are sync, run on a thread, and may run again, but only where the
    transaction of the time before did not happen: they change nothing but the database."""

    @property
    def signal(self) -> Signal:
        """Counts its commits."""
        ...

    async def read(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` in a read-only transaction that sees one state of the database."""
        ...

    async def write(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` alone in a transaction. It is durable when this returns; an exception rolls all of it back.

        After StoreUnavailableError it may be unknown whether it happened; never is half of it there.
        """
        ...


class OpenStore(Store, Protocol):
    """A store to who opened it."""

    async def run(self) -> None:
        """Keep it usable, forever. Raises StoreUnavailableError once it is somebody else's."""
        ...

    def close(self) -> None:
        """Wait for running transactions and let go of it. Blocking."""
        ...


class StoreFormatError(RuntimeError):
    """The database was written by a newer Clary, or is not Clary's at all. The message names file and remedy."""


class StoreUnavailableError(RuntimeError):
    """The database cannot be reached, or not used now. The message names it, the cause and the remedy."""
