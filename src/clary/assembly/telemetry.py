"""Metrics and spans on their way: from routers and processes into the store, and out to a collector."""

from __future__ import annotations

import random
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clary import __version__
from clary.assembly.base import Base
from clary.kit.threads import Threads
from clary.placement.local import LocalPlacement
from clary.reconcile.utilization_loop import UtilizationLoop, UtilizationWorld
from clary.settings import Settings, otlp_options
from clary.telemetry.delta import Span
from clary.telemetry.ingest import Ingest
from clary.telemetry.pressure import Pressure
from clary.telemetry.totals import Totals
from clary.telemetry.utilization import Meter

if TYPE_CHECKING:
    from clary.telemetry.otlp import Exporter


@dataclass(frozen=True)
class Telemetry:
    """Made once; `loops` run until control ends."""

    totals: Totals
    pressure: Pressure
    ingest: Ingest
    utilization: UtilizationLoop
    exporter: Exporter | None
    """None where nothing is exported."""

    def loops(self) -> dict[str, Coroutine[object, object, None]]:
        """Every loop by its name; one that ends ends control."""
        loops = {"ingest": self.ingest.run(), "utilization": self.utilization.run()}
        return loops if self.exporter is None else {**loops, "otlp": self.exporter.run()}


def make_telemetry(base: Base, placement: LocalPlacement) -> Telemetry:
    """All of it, at rest."""
    totals, pressure = Totals(), Pressure()
    exporter = _exporter(base, totals)
    trace = exporter.take if exporter is not None else _nowhere
    return Telemetry(
        totals=totals,
        pressure=pressure,
        ingest=Ingest(
            base.metrics, base.home / "spool", base.clock, base.slow, totals=totals, pressure=pressure, trace=trace
        ),
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
        exporter=exporter,
    )


def spans_wanted(settings: Settings) -> bool:
    """Whether routers are to record spans."""
    options = otlp_options(settings)
    return options is not None and options.traces is not None


def _exporter(base: Base, totals: Totals) -> Exporter | None:
    options = otlp_options(base.settings)
    if options is None:
        return None
    from clary.telemetry.otlp import Exporter

    return Exporter(options, totals, base.clock, base.slow, __version__, random.random)


def _nowhere(spans: Sequence[Span]) -> None:
    """Of a router that has not yet seen that nobody takes spans any more."""
