"""The last seconds of variants: over routers, without what replicas tell of their own, bounded."""

from __future__ import annotations

from pathlib import Path

from clary.kit.clock import MICROS, VirtualClock
from clary.telemetry.delta import Delta, VariantDelta, decode_deltas
from clary.telemetry.pressure import FORGET_S, KEPT_S, Pressure, Second
from clary.telemetry.recorder import Recorder


def told(
    at_s: int, load: float, calls: int, *, router: str = "router-0", variant: str = "A", replica: str = ""
) -> Delta:
    one = VariantDelta(
        "1", "r", "E", "u", variant, calls, 0.0, 0, 0, 0, None, None, 1, 0, 0, 0, replica=replica, load=load
    )
    return Delta(router, "b", at_s, at_s * MICROS, (one,))


def test_seconds_add_up_over_routers() -> None:
    pressure = Pressure()
    pressure.add(
        [told(10, 2.0, 5), told(11, 1.0, 1), told(10, 3.0, 7, router="router-1"), told(10, 9.0, 9, replica="x")]
    )
    assert pressure.of("u", "A") == (Second(10, 5.0, 12), Second(11, 1.0, 1))
    pressure.add([told(11, 1.5, 2, router="router-1")])
    assert pressure.of("u", "A")[-1] == Second(11, 2.5, 3)
    assert pressure.of("u", "B") == ()


def test_it_keeps_the_last_seconds_of_what_is_routed() -> None:
    pressure = Pressure()
    for at_s in range(100):
        pressure.add([told(at_s, 1.0, 1)])
    assert [one.at_s for one in pressure.of("u", "A")] == list(range(100 - KEPT_S, 100))
    pressure.add([told(100 + FORGET_S, 1.0, 1, variant="B")])
    assert pressure.of("u", "A") == ()


def test_a_router_samples_what_runs_and_waits(tmp_path: Path) -> None:
    recorder = Recorder("router-0", "b", tmp_path, VirtualClock(MICROS))
    series = recorder.series("1", "r", "E", "u", "A", 1)
    for second in range(4):
        for tenth in range(10):
            series.concurrent = 4 if second == 3 and tenth < 5 else 0
            recorder.sample()
        if second == 3:
            series.observe(200, 5, 5, False)
        recorder.ship()
    (segment,) = tmp_path.iterdir()
    deltas, _, _ = decode_deltas(segment.read_bytes())
    # The idle seconds between the first and the busy one tell nothing, and take nothing from it.
    assert [delta.variants[0].load for delta in deltas] == [0.0, 2.0]
