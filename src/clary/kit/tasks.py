"""Every task has an owner, and an eternal loop that ends is an error."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class EternalTaskEndedError(RuntimeError):
    """A loop that should run for the life of its process came to an end."""


class Tasks:
    """Owns background tasks: the first that fails, or an eternal one that returns, ends the owner.

    Use as `async with Tasks() as tasks`; leaving the block cancels what still runs and waits for it.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Tasks:
        self._failed = asyncio.get_running_loop().create_future()
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._failed is not None and self._failed.done() and not self._failed.cancelled():
            self._failed.exception()

    def forever(self, name: str, loop: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a loop that must not end: its return is reported as `EternalTaskEndedError`."""
        return self._start(name, loop, eternal=True)

    def once(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run work that ends; its failure is the owner's failure."""
        return self._start(name, work, eternal=False)

    async def wait_failed(self) -> None:
        """Wait until a task fails, then raise what it raised."""
        assert self._failed is not None, "Tasks is used before `async with`"
        await asyncio.shield(self._failed)

    def _start(self, name: str, work: Coroutine[Any, Any, None], *, eternal: bool) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(done, eternal=eternal))
        return task

    def _ended(self, task: asyncio.Task[None], *, eternal: bool) -> None:
        self._tasks.discard(task)
        if task.cancelled() or self._failed is None or self._failed.done():
            return
        error = task.exception()
        if error is None and eternal:
            error = EternalTaskEndedError(f"the task {task.get_name()!r} ended; it should run as long as its process")
        if error is not None:
            self._failed.set_exception(error)
