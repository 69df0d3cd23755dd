"""What metrics cost a request: `python -m bench.recorder`."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

from clary.kit.clock import SystemClock
from clary.telemetry.recorder import Recorder

CALLS = 200_000


def main() -> None:
    """Print nanoseconds per `observe` (best of 7 runs), and the cost of a tick after a second at that rate."""
    draw = random.Random(7)
    model = [int(draw.lognormvariate(7, 1)) for _ in range(CALLS)]
    overhead = [int(draw.lognormvariate(4, 0.5)) for _ in range(CALLS)]
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder("router-0", "bench", Path(folder), SystemClock())
        series = recorder.series("123456789012", "us-east-1", "e", "u", "v", 3)
        best_ns = empty_ns = 1e9
        tick_us = 1e9
        for _ in range(7):
            began = time.perf_counter_ns()
            for model_us, overhead_us in zip(model, overhead, strict=True):
                series.concurrent += 1
                series.observe(200, model_us, overhead_us, False)
                series.concurrent -= 1
            best_ns = min(best_ns, (time.perf_counter_ns() - began) / CALLS)
            began = time.perf_counter_ns()
            for _model_us, _overhead_us in zip(model, overhead, strict=True):
                pass
            empty_ns = min(empty_ns, (time.perf_counter_ns() - began) / CALLS)
            began = time.perf_counter_ns()
            recorder.ship()
            tick_us = min(tick_us, (time.perf_counter_ns() - began) / 1000)
    print(f"observe and two counts: {best_ns - empty_ns:.0f} ns a request; one tick: {tick_us:.0f} us")


if __name__ == "__main__":
    main()
