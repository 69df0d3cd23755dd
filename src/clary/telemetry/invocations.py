"""Invocations as a trail tells of them: from routers, which write them down, to control, which delivers them.

Beside its metric deltas a router keeps segments of invocations in `events/`, only of accounts and regions for which a
trail asks. A segment is given up once a minute; control delivers whole segments and deletes them afterwards. Standard
library and msgspec only: the router's rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from clary.kit.clock import Clock
from clary.telemetry.spool import SpoolOptions, SpoolWriter

FOLDER = "events"
"""Below a router's spool."""
SECOND_MAX = 5_000
"""Kept of one second; more are counted as lost."""
SEGMENT_S = 60.0
"""Seconds after which a segment is given up to whoever delivers it."""


class Invocation(msgspec.Struct, frozen=True, array_like=True):
    """One call, answered."""

    at_us: int
    account: str
    region: str
    endpoint: str
    request_id: str
    principal_arn: str
    key_id: str
    user_agent: str
    source_ip: str
    status: int
    """HTTP status as the client was told; 0 where it had left."""
    stream: bool
    """InvokeEndpointWithResponseStream."""


class InvocationWriter:
    """Takes what the hot path tells, and writes it once a second."""

    def __init__(self, spool: Path, clock: Clock, tell_lost: Callable[[int], None] = lambda _: None) -> None:
        """`spool`: the router's own folder. `tell_lost` is told how many of a second were not kept."""
        self._clock = clock
        self._tell_lost = tell_lost
        self._writer = SpoolWriter(spool / FOLDER, SpoolOptions())
        self._waiting: list[Invocation] = []
        self._begun_s: float | None = None
        self._lost = 0
        """Of this second: too many of them, or no room on disk."""

    def keep(self, invocation: Invocation) -> None:
        """Take one. Called on the hot path."""
        if len(self._waiting) < SECOND_MAX:
            self._waiting.append(invocation)
        else:
            self._lost += 1

    async def run(self) -> None:
        """Write once a second, forever; the rest when it is cancelled."""
        try:
            while True:
                await self._clock.sleep(1.0)
                self.step()
        finally:
            self.step()
            self._writer.close()

    def step(self) -> None:
        """Write what waits, and give the segment up where it is old enough."""
        waiting, self._waiting = self._waiting, []
        now_s = self._clock.monotonic_s()
        if waiting:
            self._begun_s = now_s if self._begun_s is None else self._begun_s
            try:
                self._writer.append(encode(waiting))
            except OSError:
                self._lost += len(waiting)
        lost, self._lost = self._lost, 0
        if lost:
            self._tell_lost(lost)
        if self._begun_s is not None and now_s - self._begun_s >= SEGMENT_S:
            self._begun_s = None
            self._writer.close()


def encode(invocations: Iterable[Invocation]) -> bytes:
    """One JSON line each."""
    encoder = msgspec.json.Encoder()
    return b"".join(encoder.encode(one) + b"\n" for one in invocations)


def decode(raw: bytes) -> list[Invocation]:
    """The invocations of a segment; a line that a kill cut short is passed over."""
    decoder = msgspec.json.Decoder(Invocation)
    found = []
    for line in raw.split(b"\n"):
        try:
            found.append(decoder.decode(line))
        except msgspec.DecodeError:
            continue
    return found
