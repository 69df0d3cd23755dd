"""How many live tails there may be: counted at the call, given back at the end of the stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clary.control.desk import Desk
from clary.control.log_groups import Group, LogKeeper
from clary.domain.principal import Principal
from clary.edge.aws.errors import AwsError
from clary.edge.aws.operation import Answer, Call
from clary.edge.aws.resources.logs_tail import SESSIONS_MAX, operations
from clary.kit.clock import VirtualClock
from clary.kit.ids import SystemIds
from clary.kit.threads import Threads
from clary.store.base import Store
from tests.support.hosting import CALLER

CALL = Call(Principal(CALLER.scope.account, "arn", "k"), CALLER.scope, "r", "", "http://127.0.0.1:1")


@pytest.fixture
async def keeper(store: Store, tmp_path: Path) -> LogKeeper:
    clock = VirtualClock()
    made = LogKeeper(Desk(store, clock, SystemIds()), tmp_path, Threads("logs", 1), clock)
    made.stopping = lambda: True
    await made.change(CALLER.scope, Group("/live", 0, ()), lambda _: None)
    return made


async def test_calls_at_once_start_no_more_than_there_may_be(keeper: LogKeeper) -> None:
    (start,) = (operation.handler for operation in operations(keeper))

    refused: list[str] = []

    async def begin() -> AsyncIterator[bytes] | None:
        try:
            answer = await start(CALL, {"logGroupIdentifiers": ["/live"]})
        except AwsError as error:
            refused.append(error.code)
            return None
        assert isinstance(answer, Answer)
        return answer.stream

    begun = await asyncio.gather(*(begin() for _ in range(SESSIONS_MAX + 5)))
    streams = [stream for stream in begun if stream is not None]
    assert (len(streams), refused) == (SESSIONS_MAX, ["LimitExceededException"] * 5)
    chunks = [chunk async for chunk in streams[0]]
    assert len(chunks) == 2
    assert all(chunks)
    assert await begin() is not None
