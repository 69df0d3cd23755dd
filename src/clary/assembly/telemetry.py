"""Metrics on their way: from routers and processes into the store."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass

from clary.assembly.base import Base
from clary.kit.threads import Threads
from clary.placement.local import LocalPlacement
from clary.reconcile.utilization_loop import UtilizationLoop, UtilizationWorld
from clary.telemetry.ingest import Ingest
from clary.telemetry.totals import Totals
from clary.telemetry.utilization import Meter


@dataclass(frozen=True)
class Telemetry:
    """Made once; `loops` run until control ends."""

    totals: Totals
    ingest: Ingest
    utilization: UtilizationLoop

    def loops(self) -> dict[str, Coroutine[object, object, None]]:
        """Every loop by its name; one that ends ends control."""
        return {"ingest": self.ingest.run(), "utilization": self.utilization.run()}


def make_telemetry(base: Base, placement: LocalPlacement) -> Telemetry:
    """All of it, at rest."""
    totals = Totals()
    return Telemetry(
        totals=totals,
        ingest=Ingest(base.metrics, base.home / "spool", base.clock, base.slow, totals=totals),
        utilization=UtilizationLoop(
            UtilizationWorld(
                store=base.store,
                metrics=base.metrics,
                clock=base.clock,
                threads=Threads("utilization", 1),
                processes=placement.processes,
                meter=Meter(base.home),
                totals=totals,
            )
        ),
    )
