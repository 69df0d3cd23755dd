"""From spools to the metric store, once a second. Run by control; killing it at any moment counts nothing twice."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog

from clary.kit.clock import MICROS, Clock
from clary.kit.threads import Threads
from clary.telemetry.delta import Delta, Span, decode_deltas
from clary.telemetry.pressure import Pressure
from clary.telemetry.spool import is_complete, segments
from clary.telemetry.store import MetricStore, Taken
from clary.telemetry.totals import Totals

PHASE_US = 300_000
"""Routers ship as a second begins; this long after, their deltas lie in the spool."""


@dataclass(frozen=True)
class IngestOptions:
    """How much at once. A longer backlog takes several transactions, one right after the other."""

    step_bytes_max: int = 4 << 20
    """Once this much of the spool was read, the transaction ends with the segment."""
    step_segments_max: int = 64
    """Segments open at once: routers that crash often leave many small ones."""
    prune_steps: int = 10
    """Old points are deleted once in this many steps."""


@dataclass(frozen=True)
class _Chunk:
    """What was read of one segment."""

    path: Path
    deltas: list[Delta]
    end: int
    """Offset after the last whole delta."""
    finished: bool
    """Nothing more will come: the segment can go once the deltas are taken."""
    torn_bytes: int
    """What follows the last whole delta of a finished segment."""


class Ingest:
    """Tails every router's spool below `spool_root` (`HOME/spool`)."""

    def __init__(
        self,
        store: MetricStore,
        spool_root: Path,
        clock: Clock,
        threads: Threads,
        options: IngestOptions | None = None,
        *,
        totals: Totals | None = None,
        pressure: Pressure | None = None,
        trace: Callable[[Sequence[Span]], None] = lambda _: None,
    ) -> None:
        """`totals` count what is taken, `pressure` keeps its last seconds; `trace` gets its spans, on a thread."""
        self._store = store
        self._root = spool_root
        self._clock = clock
        self._threads = threads
        self._options = options or IngestOptions()
        self._totals = totals or Totals()
        self._pressure = pressure or Pressure()
        self._trace = trace
        self._offsets: dict[Path, int] = {}
        self._steps = 0
        self._log = structlog.get_logger("clary.telemetry")

    async def run(self) -> None:
        """One step a second, until cancelled. A full disk or a busy file is logged and tried again."""
        failed = False
        while True:
            now_us = self._clock.now_us()
            await self._clock.sleep(((PHASE_US - now_us) % MICROS or MICROS) / MICROS)
            try:
                while await self._threads.run(lambda: self.step(self._clock.now_us())):
                    pass
                failed = False
            except (OSError, sqlite3.Error) as error:
                if not failed:
                    self._log.error("metrics could not be stored; they wait in the spool", error=str(error))
                failed = True

    def step(self, now_us: int) -> bool:
        """Take what lies there, within the options' limits; True where more waits. Blocking."""
        with ExitStack() as held:
            paths = [path for folder in sorted(self._folders()) for path in segments(folder)]
            chunks = list(self._read(paths, held))
            deltas = [delta for chunk in chunks for delta in chunk.deltas]
            torn_bytes = sum(chunk.torn_bytes for chunk in chunks)
            if deltas or torn_bytes:
                taken = self._store.take(deltas, now_us)
                self._publish(taken)
                self._report(taken, torn_bytes)
            for chunk in chunks:
                if chunk.finished:
                    chunk.path.unlink(missing_ok=True)
                    self._offsets.pop(chunk.path, None)
                else:
                    self._offsets[chunk.path] = chunk.end
        self._steps += 1
        if self._steps % self._options.prune_steps == 0:
            self._prune(now_us)
        return len(chunks) < len(paths) and any(chunk.deltas or chunk.finished for chunk in chunks)

    def _read(self, paths: list[Path], held: ExitStack) -> Iterator[_Chunk]:
        """New deltas of each segment. Descriptors, and with them the locks of finished segments, are kept in `held`."""
        for gone in set(self._offsets) - set(paths):
            del self._offsets[gone]
        left = self._options.step_bytes_max
        for path in paths[: self._options.step_segments_max]:
            if left <= 0:
                return
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            held.callback(os.close, fd)
            start = self._offsets.get(path, 0)
            # In this order: a writer that is seen to be there may append until it is seen to be gone.
            finished = is_complete(fd)
            raw = os.pread(fd, os.fstat(fd).st_size - start, start)
            deltas, used, _ = decode_deltas(raw)
            left -= len(raw)
            yield _Chunk(path, deltas, start + used, finished, len(raw) - used if finished else 0)

    def _folders(self) -> list[Path]:
        try:
            return [path for path in self._root.iterdir() if path.is_dir()]
        except FileNotFoundError:
            return []

    def _publish(self, taken: Taken) -> None:
        """Count what was taken for the first time: what a control before this one took is told already."""
        self._totals.add(taken.new)
        self._pressure.add(taken.new)
        spans = [span for delta in taken.new for span in delta.spans]
        if spans:
            self._trace(spans)
        lost_spans = sum(delta.spans_lost for delta in taken.new)
        if lost_spans:
            self._log.warning("some traced invocations were lost", spans=lost_spans)
        self._totals.lose(deltas=taken.lost, samples=taken.refused, spans=lost_spans)

    def _prune(self, now_us: int) -> None:
        pruned = self._store.prune(now_us)
        self._totals.lose(points=pruned.dropped)
        if pruned.kept_s is not None:
            self._log.warning(
                "metrics are kept for another time than before: their store is full, or has room again",
                kept_s={f"{resolution_s} s": kept_s for resolution_s, kept_s in pruned.kept_s.items()},
            )

    def _report(self, taken: Taken, torn_bytes: int) -> None:
        if taken.moved_aside is not None:
            self._log.error("the metric store was broken and begun anew", kept_as=str(taken.moved_aside))
        if taken.lost or taken.refused or torn_bytes:
            self._log.warning(
                "some metrics were lost", deltas=taken.lost, refused_samples=taken.refused, torn_bytes=torn_bytes
            )
