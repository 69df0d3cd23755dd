"""The plan of a variant that is scaled with no configuration: the last seconds, and what there is -> a count. Pure.

Out in proportion to the load of the last two seconds, at once; in when no second of a window needed what there is, and
a window after the last change. A load that stays the same moves nothing once it is served (property tests).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from clary.domain.auto_scaling import SPARE, AutoScale, Limits, grown, needed, shrunk
from clary.kit.clock import MICROS
from clary.telemetry.pressure import Second

OUT_S = 2
"""Seconds whose mean is the load that scaling out goes by."""
FRESH_S = 2
"""A load that was told of an earlier second than this many ago scales nothing out."""
SILENT_S = 15
"""Nor does anything go in where nobody told anything for longer: idle variants tell their zeros every ten seconds."""
IDLE = 0.001
"""The least load of a second in which somebody asked: such a second keeps a replica."""


@dataclass(frozen=True)
class Watch:
    """What is remembered of a variant from look to look. In memory alone: a restart waits for a whole window anew."""

    since_us: int
    """When watching began, or the count last changed."""
    generation: int = 0
    """Of the endpoint, as is the next: what somebody else changed begins a window as well."""
    count: int = -1
    peaks: tuple[tuple[int, float], ...] = ()
    """(second, load): the highest of the window first, then the highest since, and so on."""
    heard_s: int = 0
    """The newest second that was told."""


@dataclass(frozen=True)
class Standing:
    """The variant as it is."""

    generation: int
    count: int
    active: bool
    """In service, with nothing under way that changes it."""


@dataclass(frozen=True)
class Decision:
    """Another count, and why."""

    count: int
    cause: str


def observe(watch: Watch | None, have: Standing, spec: AutoScale, seconds: Sequence[Second], now_us: int) -> Watch:
    """What is known after another look at the last `seconds`, the oldest first."""
    if watch is None or watch.since_us > now_us:  # new, or the clock was set back
        watch = Watch(now_us)
    if not have.active or (watch.generation, watch.count) != (have.generation, have.count):
        watch = replace(watch, since_us=now_us, generation=have.generation, count=have.count)
    first_s = now_us // MICROS - spec.window_s
    told = [one for one in seconds if one.at_s >= first_s]
    border_s = told[0].at_s if told else now_us // MICROS
    # What is told again may have grown: another router was late.
    peaks = [peak for peak in watch.peaks if first_s <= peak[0] < border_s]
    for second in told:
        load = max(second.load, IDLE if second.calls else 0.0)
        while peaks and peaks[-1][1] <= load:
            peaks.pop()
        peaks.append((second.at_s, load))
    heard_s = seconds[-1].at_s if seconds else watch.heard_s
    return replace(watch, peaks=tuple(peaks), heard_s=heard_s)


def decide(
    watch: Watch, have: Standing, spec: AutoScale, limits: Limits, seconds: Sequence[Second], now_us: int
) -> Decision | None:
    """The count to set; None to leave it. `watch` has seen `seconds`."""
    if not have.active:
        return None
    if not limits.least <= have.count <= limits.most:
        count = min(max(have.count, limits.least), limits.most)
        return Decision(count, f"{limits.least} to {limits.most} replicas are allowed")
    now_s = now_us // MICROS
    load = _load(seconds, now_s)
    out = min(grown(have.count, needed(spec, load)), limits.most)
    if out > have.count:
        return Decision(out, f"{load:.1f} requests at once, {spec.concurrency} wanted for each replica")
    if now_us < watch.since_us + spec.window_s * MICROS or watch.heard_s < now_s - SILENT_S:
        return None
    peak = watch.peaks[0][1] if watch.peaks else 0.0
    into = max(shrunk(have.count, needed(spec, peak, SPARE)), limits.least)
    if into < have.count:
        return Decision(into, f"at most {peak:.1f} requests at once in the last {spec.window_s} s")
    return None


def _load(seconds: Sequence[Second], now_s: int) -> float:
    """The mean of the last two seconds that could be told of."""
    if not seconds or seconds[-1].at_s < now_s - FRESH_S:
        return 0.0
    newest_s = seconds[-1].at_s
    return sum(one.load for one in seconds if one.at_s > newest_s - OUT_S) / OUT_S
