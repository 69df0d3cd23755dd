"""The plan of scaling with no configuration: examples, then what always holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from clary.domain.auto_scaling import STEP_IN, STEP_OUT, AutoScale, limits_of
from clary.kit.clock import MICROS
from clary.reconcile.auto_scaling import Standing, Watch, decide, observe
from clary.telemetry.pressure import KEPT_S, Second

PHASE_US = 400_000


@dataclass
class Scaled:
    """A variant that gets every count at once, looked at each second; idle seconds are told every tenth."""

    spec: AutoScale
    cores: int = 16
    count: int = 1
    now_s: int = 1_000
    watch: Watch | None = None
    told: list[Second] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    active: bool = True

    def run(self, seconds: int, load: Callable[[int], float], *, silent: bool = False) -> list[int]:
        """So many seconds of `load(second)`; the counts after each."""
        for _ in range(seconds):
            now = load(self.now_s)
            if not silent and (now or self.now_s % 10 == 0):
                self.told = [*self.told, Second(self.now_s, now, round(now * 10))][-KEPT_S:]
            self.now_s += 1
            self.look()
            self.counts.append(self.count)
        return self.counts[-seconds:]

    def look(self) -> None:
        now_us = self.now_s * MICROS + PHASE_US
        have = Standing(1, self.count, self.active)
        self.watch = observe(self.watch, have, self.spec, self.told, now_us)
        limits = limits_of(self.spec, self.cores)
        decision = decide(self.watch, have, self.spec, limits, self.told, now_us)
        if decision is not None:
            assert decision.count != self.count
            self.count = decision.count


def test_out_within_seconds_in_proportion() -> None:
    one = Scaled(AutoScale(concurrency=4))
    assert one.run(10, lambda _: 3.0) == [1] * 10
    assert one.run(5, lambda _: 20.0) == [3, 5, 5, 5, 5]


def test_in_after_a_window_by_halves() -> None:
    one = Scaled(AutoScale(concurrency=4, window_s=20), count=8)
    counts = one.run(100, lambda _: 0.5)
    changes = [(at, count) for at, (before, count) in enumerate(pairwise([8, *counts])) if before != count]
    assert [count for _, count in changes] == [4, 2, 1]
    assert all(later - earlier >= 20 for (earlier, _), (later, _) in pairwise(changes))


def test_a_single_busy_second_keeps_what_it_needed() -> None:
    one = Scaled(AutoScale(concurrency=4, window_s=30))
    counts = one.run(300, lambda second: 16.0 if second % 25 == 0 else 1.0)
    assert counts[60:] == [counts[60]] * 240


def test_to_none_when_nobody_asked_and_back_at_the_first_request() -> None:
    one = Scaled(AutoScale(least=0, window_s=10))
    assert one.run(60, lambda second: 0.01 if second % 8 == 0 else 0.0) == [1] * 60
    assert one.run(25, lambda _: 0.0)[-1] == 0
    assert one.run(2, lambda _: 1.0)[-1] == 1


def test_one_that_nobody_tells_anything_of_stays() -> None:
    one = Scaled(AutoScale(window_s=20), count=6)
    one.run(5, lambda _: 20.0)
    assert one.run(60, lambda _: 0.0, silent=True) == [6] * 60
    assert one.run(15, lambda _: 0.0)[-1] == 3


def test_a_restart_waits_for_a_whole_window() -> None:
    one = Scaled(AutoScale(window_s=20), count=4)
    one.run(19, lambda _: 0.0)
    one.watch = None
    assert one.run(19, lambda _: 0.0) == [4] * 19
    assert one.run(12, lambda _: 0.0)[-1] == 2


def test_nothing_during_an_update_and_a_window_after_it() -> None:
    one = Scaled(AutoScale(window_s=10), count=4, active=False)
    assert one.run(30, lambda _: 50.0) == [4] * 30
    one.active = True
    assert one.run(9, lambda _: 0.0)[3:] == one.counts[-6:]
    assert one.counts[-1] == one.counts[-6]


def test_bounds_hold_at_once() -> None:
    assert Scaled(AutoScale(least=3), count=1).run(1, lambda _: 0.0) == [3]
    assert Scaled(AutoScale(most=2), count=9).run(1, lambda _: 90.0) == [2]
    assert Scaled(AutoScale(), cores=4, count=9).run(1, lambda _: 90.0) == [4]


specs = st.builds(
    AutoScale,
    concurrency=st.integers(1, 20),
    least=st.integers(0, 2),
    most=st.none() | st.integers(2, 40),
    window_s=st.integers(5, 60),
)


@given(specs, st.integers(1, 16), st.floats(0, 500))
def test_a_constant_load_comes_to_rest(spec: AutoScale, count: int, load: float) -> None:
    one = Scaled(spec, count=count)
    counts = one.run(8 * spec.window_s + 60, lambda _: load)
    settled = counts[-spec.window_s - 20 :]
    assert len(set(settled)) == 1
    # It never turns round: out first or in first, then no more.
    moves = [b - a for a, b in pairwise(counts) if a != b]
    assert all(move > 0 for move in moves) or all(move < 0 for move in moves)
    limits = limits_of(spec, one.cores)
    # What rests can bear the load, as far as the bounds let it.
    assert settled[0] * spec.concurrency >= load - 1e-6 or settled[0] == limits.most


@given(specs, st.integers(1, 16), st.lists(st.floats(0, 200), min_size=20, max_size=120))
def test_any_load_stays_within_bounds_and_steps(spec: AutoScale, count: int, loads: list[float]) -> None:
    one = Scaled(spec, count=count)
    limits = limits_of(spec, one.cores)
    before = count
    for load in loads:
        (after,) = one.run(1, lambda _, load=load: load)  # type: ignore[misc]
        assert limits.least <= after <= limits.most
        if limits.least <= before <= limits.most:
            assert after <= STEP_OUT * max(1, before)
            assert after >= before - max(1, before // STEP_IN)
        before = after


@given(specs, st.floats(1, 100), st.lists(st.floats(0.95, 1.0), min_size=200, max_size=200))
def test_a_load_that_trembles_moves_nothing_for_long(spec: AutoScale, load: float, noise: list[float]) -> None:
    """Five per cent up and down, as long as each window sees the top once: at rest after the first window."""
    one = Scaled(spec)
    top = spec.window_s // 2 or 1
    counts = one.run(200, lambda second: load if second % top == 0 else load * noise[second % len(noise)])
    assert len(set(counts[-60:])) == 1
