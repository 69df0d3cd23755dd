"""GetMetricWidgetImage: a widget's metrics, drawn by a process of its own, so that control stays responsive."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

import msgspec

from clary.control.metrics import MetricDesk, calculate
from clary.control.widgets import Line, Widget
from clary.domain.errors import Invalid, NotServed
from clary.domain.principal import Scope
from clary.kit.clock import MICROS
from clary.telemetry.expressions import BadExpression, Series
from clary.telemetry.labels import rendered
from clary.telemetry.metric_data import Math, Wanted
from clary.telemetry.statistics import Percentile, Question, window

LINES_MAX = 500
"""Series in one image ("a graph can display as many as 500 time series")."""


class DrawError(RuntimeError):
    """The drawing process failed, which no widget should make it do."""


@dataclass(frozen=True)
class PlotOptions:
    """Limits of drawing."""

    at_once: int = 2
    """Processes; another request waits for one to end. Each holds about 100 MB while it draws."""
    draw_s: float = 60.0
    """Longest that one may take. The first one ever makes matplotlib's font cache, which takes some seconds."""


@dataclass(frozen=True)
class Plotter:
    """Draws widgets."""

    desk: MetricDesk
    options: PlotOptions = field(default_factory=PlotOptions)
    _room: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_room", asyncio.Semaphore(self.options.at_once))

    async def png(self, scope: Scope, widget: Widget) -> bytes:
        """The image. NotServed where matplotlib is not installed; Invalid for an expression that cannot be applied.

        DrawError and TimeoutError where drawing failed: nobody's request is at fault.
        """
        if importlib.util.find_spec("matplotlib") is None:
            raise NotServed("GetMetricWidgetImage without matplotlib", "On the server: pip install 'clary[plots]'.")
        spec = await self._spec(scope, widget)
        async with self._room:
            return await self._drawn(msgspec.json.encode(spec))

    async def _spec(self, scope: Scope, widget: Widget) -> dict[str, object]:
        """What `telemetry.draw` takes."""
        now_s = self.desk.clock.now_us() / MICROS
        lines = widget.lines
        try:
            values = await calculate(
                self.desk,
                scope,
                {line.id: _wanted(line, widget, now_s) for line in lines if line.metric is not None},
                {line.id: Math(line.expression, _period(line)) for line in lines if line.expression is not None},
                lambda period_s: window(widget.start_s, widget.end_s, period_s, now_s),
            )
        except BadExpression as error:
            raise Invalid(f"metrics: {error.message}") from None
        drawn = []
        for line in lines:
            value = values[line.id]
            for one in (value,) if isinstance(value, Series) else value:
                if line.visible:
                    drawn.append(_drawn(line, one, widget, now_s, single=isinstance(value, Series)))
        if len(drawn) > LINES_MAX:
            raise Invalid(f"metrics: the widget would show {len(drawn)} time series, and may show {LINES_MAX}")
        shown = asdict(widget)
        del shown["zone"]
        offset = datetime.fromtimestamp(now_s, UTC).astimezone(widget.zone).utcoffset()
        return {**shown, "lines": drawn, "offset_s": 0 if offset is None else offset.total_seconds()}

    async def _drawn(self, spec: bytes) -> bytes:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "clary.telemetry.draw", stdin=pipe, stdout=pipe, stderr=pipe
        )
        try:
            async with asyncio.timeout(self.options.draw_s):
                image, words = await process.communicate(spec)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        if process.returncode:
            raise DrawError(f"exit status {process.returncode}: {words.decode(errors='replace')[-2000:]}")
        return image


def _wanted(line: Line, widget: Widget, now_s: float) -> Wanted:
    assert line.metric is not None
    seen = window(widget.start_s, widget.end_s, line.period_s, now_s)
    return Wanted(Question(line.metric, seen, None, isinstance(line.stat, Percentile)), line.stat)


def _period(line: Line) -> int | None:
    """An expression's own period, where it combines nothing that has one."""
    expression = line.expression
    assert expression is not None
    own = expression.references or expression.metrics or any(search.period_s for search in expression.searches)
    return None if own else line.period_s


def _drawn(line: Line, one: Series, widget: Widget, now_s: float, *, single: bool) -> dict[str, object]:
    label = one.label or line.id if line.label is None else rendered(line.label, one, widget.zone)
    if not single and line.label is not None and "${LABEL}" not in line.label:
        label = f"{label} {one.label}".strip()
    points = [(at, value) for at, value in one.points.items() if widget.live or at + one.period_s <= now_s]
    return {
        "label": label,
        "points": points,
        "colour": line.colour if single else None,
        "right": line.right,
        "period_s": one.period_s,
    }
