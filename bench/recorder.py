"""What metrics cost a request, on and off in one process: `python -m bench.recorder`.

1. One `Series.observe` with the two counts beside it, alone: nanoseconds, best of some rounds.
2. The hot path whole, from a request's bytes to its answer's, with metrics and with a recorder that does nothing:
   they take turns, so that both see the same machine; the best of each is compared. Aim: 2 us at most.
3. One tick: what a second of a busy variant costs once.

Processor time, so that other processes count for little.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

from clary.kit.clock import SystemClock
from clary.replica import frames
from clary.replica.frames import Tag
from clary.telemetry.recorder import Recorder, Series
from tests.support.hot_path import Rig, endpoint, invocation, snapshot

CALLS = 200_000
REQUESTS = 1_000
ROUNDS = 7
TURNS = 50
_HEAD = {
    Tag.STATUS: frames.u16(200),
    Tag.PREDICT_US: frames.u32(7),
    Tag.QUEUE_US: frames.u32(8),
    Tag.BATCH_ROWS: frames.u32(1),
    Tag.CONTENT_TYPE: b"text/csv",
}


class Silent(Series):
    """Counts nothing."""

    __slots__ = ()

    def observe(self, status: int, model_us: int, overhead_us: int, model_error: bool) -> None:
        """Nothing."""


class SilentRecorder(Recorder):
    """Gives series that count nothing."""

    def series(
        self, account: str, region: str, endpoint: str, endpoint_uid: str, variant: str, instances: int, **more: str
    ) -> Series:
        return Silent(account, region, endpoint, endpoint_uid, variant=variant, instances=instances, **more)


class Sink:
    """A replica that answers at once with the same bytes."""

    def __init__(self, rig: Rig) -> None:
        self.wire = rig.wires["v-AllTraffic-0"]
        self.wire.send = self.send  # type: ignore[method-assign]
        self.head = frames.encode_head(_HEAD)

    def send(self, data: bytes) -> None:
        """Nothing is written."""

    def answer(self) -> None:
        replica = self.wire.replica
        for frame_id in list(replica.inflight):
            replica.link_answer(frame_id, self.head, b"0.5")
        replica.link_read()


def hot_path(folder: Path, recorder: type[Recorder]) -> float:
    """Nanoseconds a request, through a connection of its own, without sockets."""
    rig = Rig(folder)
    rig.recorder = rig.fleet._metrics = recorder("router-0", "bench", folder, SystemClock())
    rig.use(snapshot(endpoint()))
    sink = Sink(rig)
    connection, transport = rig.client()
    raw = invocation(b"1.5,2.5,3.5,4.5")
    began = time.process_time_ns()
    for _ in range(REQUESTS):
        connection.data_received(raw)
        rig.turn()
        sink.answer()
        transport.written = b""
    return (time.process_time_ns() - began) / REQUESTS


def observe(recorder: Recorder) -> tuple[float, float]:
    """(nanoseconds an observation, microseconds a tick)."""
    draw = random.Random(7)
    model = [int(draw.lognormvariate(7, 1)) for _ in range(CALLS)]
    overhead = [int(draw.lognormvariate(4, 0.5)) for _ in range(CALLS)]
    series = recorder.series("123456789012", "us-east-1", "e", "u", "v", 3)
    best_ns = empty_ns = tick_us = 1e9
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        for model_us, overhead_us in zip(model, overhead, strict=True):
            series.concurrent += 1
            series.observe(200, model_us, overhead_us, False)
            series.concurrent -= 1
        best_ns = min(best_ns, (time.process_time_ns() - began) / CALLS)
        began = time.process_time_ns()
        for _model_us, _overhead_us in zip(model, overhead, strict=True):
            pass
        empty_ns = min(empty_ns, (time.process_time_ns() - began) / CALLS)
        began = time.process_time_ns()
        recorder.ship()
        tick_us = min(tick_us, (time.process_time_ns() - began) / 1000)
    return best_ns - empty_ns, tick_us


def cost() -> dict[str, float]:
    """Nanoseconds a request: `observe` alone, the hot path with metrics `on` and `off`; `tick_us` a second."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone_ns, tick_us = observe(Recorder("router-0", "bench", folder / "alone", SystemClock()))
        on, off = 1e9, 1e9
        for turn in range(TURNS):
            off = min(off, hot_path(folder / f"off-{turn}", SilentRecorder))
            on = min(on, hot_path(folder / f"on-{turn}", Recorder))
    return {"observe_ns": alone_ns, "on_ns": on, "off_ns": off, "cost_ns": on - off, "tick_us": tick_us}


def main() -> None:
    found = cost()
    print(f"observe and two counts: {found['observe_ns']:.0f} ns a request; one tick: {found['tick_us']:.0f} us")
    print(
        f"hot path without sockets: {found['on_ns']:.0f} ns with metrics, {found['off_ns']:.0f} without: "
        f"{found['cost_ns']:.0f} ns a request"
    )


if __name__ == "__main__":
    main()
