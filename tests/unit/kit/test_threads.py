"""The bridge to blocking code: results, errors, and the one error that no future may hold."""

from __future__ import annotations

import pytest

from clary.kit.threads import Threads


async def test_results_and_errors_come_back() -> None:
    threads = Threads("test", 1)
    assert await threads.run(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)
    threads.close()


async def test_a_stop_iteration_ends_its_waiter_too() -> None:
    threads = Threads("test", 1)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await threads.run(lambda: next(iter(())))
    threads.close()
