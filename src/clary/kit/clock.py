"""Time as an argument: nothing in Clary reads the wall clock or sleeps but through a Clock."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from typing import Protocol

from clary.kit.instants import MICROS

__all__ = ["MICROS", "Clock", "SystemClock", "VirtualClock"]


class Clock(Protocol):
    """The wall, the monotonic clock and the wait, together, so that a test can move all three."""

    def now_us(self) -> int:
        """UTC now, in microseconds since 1970. May step; persist this and nothing else."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never go back. Meaningful within one process only."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Wait `delay_s` seconds; zero or less yields once."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(max(0.0, delay_s))


class VirtualClock:
    """A clock that moves only when told: an hour of rollout runs in a test in a second.

    `advance` wakes sleepers in the order of their deadlines and lets each run before time moves on.
    """

    def __init__(self, start_us: int = 1_700_000_000 * MICROS) -> None:
        self._start_us = start_us
        self._elapsed_s = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now_us(self) -> int:
        return self._start_us + round(self._elapsed_s * MICROS)

    def monotonic_s(self) -> float:
        return self._elapsed_s

    async def sleep(self, delay_s: float) -> None:
        if delay_s <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed_s + delay_s, next(self._order), woken))
        await woken

    async def advance(self, delay_s: float) -> None:
        """Move time forward by `delay_s` seconds, running whatever falls due on the way."""
        until_s = self._elapsed_s + delay_s
        await _settle()
        while self._sleepers and self._sleepers[0][0] <= until_s:
            due_s, _, woken = heapq.heappop(self._sleepers)
            self._elapsed_s = max(self._elapsed_s, due_s)
            if not woken.done():
                woken.set_result(None)
            await _settle()
        self._elapsed_s = until_s


async def _settle() -> None:
    """Let every task that can run do so: a bounded number of turns of the loop."""
    for _ in range(32):
        await asyncio.sleep(0)
