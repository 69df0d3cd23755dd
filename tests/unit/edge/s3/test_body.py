"""Bodies whose client stalls."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from clary.edge.aws.s3.body import Body
from clary.edge.aws.s3.errors import S3Error
from clary.kit.threads import Threads


class Stalling:
    """A client that sends some bytes, and then nothing more."""

    def __init__(self) -> None:
        self.parts = [b"abc", b"def"]
        self.waits = 0

    async def __call__(self) -> Any:
        if self.parts:
            return {"type": "http.request", "body": self.parts.pop(0), "more_body": True}
        self.waits += 1
        return await asyncio.Event().wait()


async def test_a_client_that_sends_nothing_more_is_told_and_left() -> None:
    client, threads = Stalling(), Threads("t", 1)
    body = Body(client, {"content-length": "1000"}, None, threads, idle_s=0.01)
    with pytest.raises(S3Error) as told:
        await body.read(2000)
    assert (told.value.code, told.value.status) == ("RequestTimeout", 400)
    assert not await body.drain()
    assert client.waits == 1  # not waited for a second time
    threads.close()


async def test_a_refused_body_that_never_comes_is_not_waited_for_forever() -> None:
    client, threads = Stalling(), Threads("t", 1)
    body = Body(client, {"content-length": "1000"}, None, threads, idle_s=0.01)
    assert not await body.drain()
    threads.close()
