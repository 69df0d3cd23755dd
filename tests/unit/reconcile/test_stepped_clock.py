"""A wall clock that steps while endpoints drain and start: no wait is shorter for a step back, none is for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from clary.control import endpoints
from clary.kit.clock import MICROS, VirtualClock
from clary.reconcile.actions import Rules
from clary.reconcile.loop import LoopOptions
from tests.support.hosting import CALLER, Host

DRAIN_S = 20


class Stepped(VirtualClock):
    """Its wall clock can be set; its monotonic one goes on."""

    def step(self, offset_s: float) -> None:
        self._start_us += round(offset_s * MICROS)


async def drained_s(host: Host, clock: Stepped, offset_s: float) -> float:
    """Seconds from the deletion of an endpoint to its end, with a step while its replica drains."""
    async with host.reconciling():
        await host.endpoint("e")
        await host.until_status("e", "InService")
        await endpoints.remove(host.desk, CALLER, "e")
        began_s = clock.monotonic_s()
        await host.until(lambda: host.snapshot.endpoints == ())
        await host.until(lambda: clock.monotonic_s() >= began_s + DRAIN_S / 2)
        clock.step(offset_s)
        assert host.placement.specs, "it drains"
        await host.until_gone("e")
        return clock.monotonic_s() - began_s


@pytest.mark.parametrize("offset_s", [-3600, -86_400 * 365])
async def test_a_step_back_never_shortens_a_drain_nor_holds_it_up(tmp_path: Path, offset_s: float) -> None:
    clock = Stepped()
    host = Host(tmp_path, clock=clock, options=LoopOptions(rules=Rules(drain_us=DRAIN_S * MICROS)))
    assert DRAIN_S <= await drained_s(host, clock, offset_s) < 3 * DRAIN_S
    host.close()


@pytest.mark.parametrize("offset_s", [-86_400, 86_400])
async def test_an_endpoint_is_made_and_changed_across_a_step(tmp_path: Path, offset_s: float) -> None:
    clock = Stepped()
    host = Host(tmp_path, clock=clock)
    async with host.reconciling():
        await host.endpoint("before", replicas=2)
        clock.step(offset_s)
        await host.endpoint("after")
        for name in ("before", "after"):
            await host.until_status(name, "InService")
        assert clock.monotonic_s() < 60
    host.close()
