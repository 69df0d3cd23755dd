"""The one bridge from async code to blocking code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


class Threads:
    """A bounded pool of threads for blocking work: `threads_max` at once, the rest waits in order."""

    def __init__(self, name: str, threads_max: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads_max, thread_name_prefix=name)

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run `work` on a thread. Cancelling the caller does not stop work that has begun.

        A StopIteration, which no future may hold (its waiter would wait for ever), comes as a RuntimeError.
        """

        def safe() -> Result:
            try:
                return work()
            except StopIteration as error:
                raise RuntimeError("blocking work raised StopIteration") from error

        return await asyncio.get_running_loop().run_in_executor(self._pool, safe)

    def close(self) -> None:
        """Wait for what runs, refuse what comes."""
        self._pool.shutdown(wait=True, cancel_futures=True)
