"""From lines of logs to metrics: embedded metrics of replicas, jobs and users, and what metric filters make of lines.

Every log is read from where it was left, once a second. What was counted and how far it was read are written in one
transaction (MetricStore.put_logs): a control that is killed at any moment counts nothing twice and loses nothing. A
metric store that is begun anew is filled again from the logs that are there.
"""

from __future__ import annotations

import contextlib
import sqlite3
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from clary.control.log_groups import LogKeeper, Source
from clary.kit.clock import MICROS, Clock
from clary.kit.threads import Threads
from clary.telemetry.emf import samples_of
from clary.telemetry.log_filters import Filters
from clary.telemetry.log_groups_own import event_of
from clary.telemetry.log_reader import Piece, read_lines
from clary.telemetry.points import Sample
from clary.telemetry.store import MetricStore

OLD_S = 14 * 86400
"""Older points are left out, as PutLogEvents and PutMetricData refuse them."""
SLACK_US = 2 * MICROS
"""A filter counts lines that came after it was put; looks at files are a second apart."""
MARK_S = 60.0
"""Seconds between writing down how far logs without metrics were read."""


@dataclass(frozen=True)
class MeterOptions:
    """How much at once; a longer backlog takes several steps, one right after the other."""

    piece_bytes: int = 1 << 20
    """Of one log."""
    step_bytes: int = 8 << 20
    """Of all."""
    period_s: float = 1.0


@dataclass
class _Step:
    """What one step found."""

    samples: list[Sample] = field(default_factory=list)
    old: int = 0
    ahead: dict[str, int] = field(default_factory=dict)
    """How far each log was read."""
    more: bool = False


class LogMetrics:
    """Reads all logs that the keeper knows."""

    def __init__(
        self, keeper: LogKeeper, store: MetricStore, clock: Clock, threads: Threads, options: MeterOptions | None = None
    ) -> None:
        self._keeper = keeper
        self._store = store
        self._clock = clock
        self._threads = threads
        self._options = options or MeterOptions()
        self._at: dict[str, int] = {}
        """How far each log was read, and that is written down or harmless to read again."""
        self._sizes: dict[str, tuple[int, int]] = {}
        """Size and inode of each log that was read to its end."""
        self._unwritten: set[str] = set()
        """Logs read further than is written down: lines without metrics."""
        self._mark_us = 0
        self._refused = self._old = 0
        self._filters = Filters()
        self._log = structlog.get_logger(__name__)

    async def run(self) -> None:
        """One step a second, forever. A full disk or a busy file is told once and tried again."""
        self._at = await self._threads.run(self._store.log_marks)
        failed = False
        while True:
            try:
                while await self.step():
                    pass
                failed = False
            except (OSError, sqlite3.Error) as error:
                if not failed:
                    self._log.error("Metrics in logs could not be stored; they wait in the logs.", error=str(error))
                failed = True
            await self._clock.sleep(self._options.period_s)

    async def step(self) -> bool:
        """Read what came, within the options' limits; whether more waits."""
        sources = await self._keeper.sources()
        now_us = self._clock.now_us()
        return await self._threads.run(lambda: self._take(sources, now_us))

    def _take(self, sources: Sequence[Source], now_us: int) -> bool:
        step, sizes = _Step(), {}
        left = self._options.step_bytes
        for source in sources:
            try:
                now = source.path.stat()
                size = (now.st_size, now.st_ino)
                if self._sizes.get(source.name) == size:
                    continue
                if left <= 0:
                    step.more = True
                    break
                at = self._at.get(source.name, 0)
                piece = read_lines(source.path, at, self._options.piece_bytes)
            except FileNotFoundError:
                continue
            left -= abs(piece.position - at)
            self._read(source, piece, now_us // MICROS, step)
            step.ahead[source.name] = piece.position
            step.more |= piece.more
            if not piece.more:
                sizes[source.name] = size
        self._write(step, sources, now_us)
        self._sizes.update(sizes)
        return step.more

    def _read(self, source: Source, piece: Piece, now_s: int, step: _Step) -> None:
        said = self._keeper.own.known(source.folder)
        filters = tuple(said.filters.values()) if said is not None else ()
        times_s = self._times_s(source, piece, now_s) if filters and not source.put else ()
        for number, raw in enumerate(piece.lines):
            event = event_of(raw) if source.put else None
            found = samples_of(raw if event is None else event.message.encode(), source.place)
            for one in filters:
                message = raw.decode("utf-8", "replace") if event is None else event.message
                at_s = event.at_ms // 1000 if event is not None else times_s[number] if times_s else now_s
                came_us = event.ingested_ms * 1000 if event is not None else at_s * MICROS
                if came_us >= one.created_us - SLACK_US:
                    found += self._filters.samples_of(one, message, at_s, source.place)
            kept = [sample for sample in found if sample.at_s >= now_s - OLD_S]
            step.old += len(found) - len(kept)
            step.samples += kept

    def _times_s(self, source: Source, piece: Piece, now_s: int) -> list[int]:
        """When each line came, in seconds: by the looks at its file, now for what came since the last one."""
        windows = self._keeper.times.windows(source.path)
        ends = [window.end for window in windows]
        at = piece.position - sum(len(line) + 1 for line in piece.lines)
        found = []
        for line in piece.lines:
            index = bisect_right(ends, at)
            found.append(windows[index].until_us // MICROS if index < len(windows) else now_s)
            at += len(line) + 1
        return found

    def _write(self, step: _Step, sources: Sequence[Source], now_us: int) -> None:
        """Keep what was found, and how far was read: with it, or once in a while."""
        ahead = {name: at for name, at in step.ahead.items() if at != self._at.get(name, 0)}
        due = now_us >= self._mark_us
        marks = dict(ahead) if step.samples or due else {}
        if due:
            marks |= {name: self._at[name] for name in self._unwritten - ahead.keys()}
            gone = self._at.keys() - {source.name for source in sources}
            marks |= dict.fromkeys(gone, -1)
            self._mark_us = now_us + round(MARK_S * MICROS)
        if marks or step.samples:
            self._refused += self._store.put_logs(step.samples, marks, now_us)
        self._old += step.old
        if due and (self._refused or self._old):
            self._log.warning("Metrics in logs were left out.", too_many_or_ahead=self._refused, too_old=self._old)
            self._refused = self._old = 0
        self._unwritten |= ahead.keys()
        self._unwritten -= marks.keys()
        self._at.update(ahead)
        for name in [name for name, at in marks.items() if at < 0]:
            with contextlib.suppress(KeyError):
                del self._at[name]
            self._sizes.pop(name, None)
