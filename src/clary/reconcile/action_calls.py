"""One delivery of one event: an action's command or webhook, or a subscriber's URL. What becomes of it, not when."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from clary.domain import sns_messages
from clary.domain.actions import ActionSpec
from clary.domain.principal import Scope
from clary.domain.topics import SubscriptionSpec
from clary.kit.clock import Clock
from clary.kit.ids import uuid_of
from clary.reconcile.action_process import OUTPUT_BYTES_MAX, run_command
from clary.store.deliveries import Waiting

SUBSCRIBER_S = 15.0
"""An HTTP subscriber has this long to answer (SNS developer guide)."""
_LATER = frozenset({408, 425, 429})
"""Statuses below 500 after which trying again may help."""
BAD_ADDRESS = "The URL cannot be used"


@dataclass(frozen=True)
class Result:
    """What became of one attempt."""

    why: str = ""
    """What went wrong; empty where nothing did."""
    output: str = ""
    """The end of what the other side said."""
    final: bool = False
    """Whether trying again cannot help."""


class Calls(Protocol):
    """Who is called."""

    async def action(self, event: Waiting, name: str, spec: ActionSpec, attempt: int) -> Result:
        """Call an action."""
        ...

    async def subscriber(self, event: Waiting, url: str, spec: SubscriptionSpec) -> Result:
        """Post a message of a topic to a subscriber."""
        ...


Lend = Callable[[Scope, str, ActionSpec], Awaitable[Mapping[str, str]]]
"""Variables that make a command's AWS clients speak to this server, with its role where it has one."""


class RealCalls:
    """Implements Calls by processes and HTTP."""

    def __init__(self, clock: Clock, lend: Lend, rooms: Path) -> None:
        """`rooms`: where each command gets an empty folder; what a killed control left there goes. Blocking."""
        self._clock = clock
        self._lend = lend
        self._rooms = rooms
        shutil.rmtree(rooms, ignore_errors=True)
        rooms.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def action(self, event: Waiting, name: str, spec: ActionSpec, attempt: int) -> Result:
        if spec.url:
            headers = {
                "content-type": "application/json",
                "user-agent": "clary-actions",
                "x-clary-action": name,
                "x-clary-event-id": uuid_of(event.uid),
                "x-clary-attempt": str(attempt),
            }
            return await self._post(spec.url, event.text.encode(), headers, spec.timeout_s)
        given = {
            **await self._lend(event.scope, name, spec),
            "CLARY_ACTION": name,
            "CLARY_EVENT_ID": uuid_of(event.uid),
            "CLARY_ATTEMPT": str(attempt),
        }
        told = event.text.encode()
        ended = await run_command(self._clock, spec.command, given, told, spec.timeout_s, self._rooms)
        return Result(ended.why, ended.output)

    async def subscriber(self, event: Waiting, url: str, spec: SubscriptionSpec) -> Result:
        document = event.body
        raw = spec.raw and document["Type"] == sns_messages.NOTIFICATION
        headers = sns_messages.headers_of(document, event.target_arn, raw=raw)
        return await self._post(url, sns_messages.post_body(document, raw=raw), headers, SUBSCRIBER_S)

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Result:
        """One POST, without redirects, within `timeout_s` by the clock."""
        posting = asyncio.ensure_future(_post(url, body, headers, timeout_s))
        timer = asyncio.ensure_future(self._clock.sleep(timeout_s))
        try:
            await asyncio.wait({posting, timer}, return_when=asyncio.FIRST_COMPLETED)
            if not posting.done():
                return Result(f"No whole answer came within {timeout_s:g} s.")
            return posting.result()
        finally:
            posting.cancel()
            timer.cancel()
            await asyncio.gather(posting, timer, return_exceptions=True)


async def _post(url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Result:
    try:
        # No proxy and no netrc of the server's own environment.
        async with (
            httpx.AsyncClient(timeout=timeout_s, follow_redirects=False, trust_env=False) as client,
            client.stream("POST", url, content=body, headers=dict(headers)) as answer,
        ):
            said = b""
            async for part in answer.aiter_raw(65_536):
                said += part[: OUTPUT_BYTES_MAX - len(said)]
                if len(said) >= OUTPUT_BYTES_MAX:
                    break
            return _judged(answer.status_code, said.decode("utf-8", "replace").replace("\0", "\ufffd"))
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
        return Result(f"{BAD_ADDRESS}: {error}", final=True)
    except (httpx.HTTPError, OSError) as error:
        return Result(f"{type(error).__name__}: {error}"[:500])


def _judged(status: int, said: str) -> Result:
    if 200 <= status < 300:
        return Result("", said)
    final = status < 500 and status not in _LATER
    return Result(f"It answered {status}.", said, final)
