"""The page of metrics says what is stored: names, units, retention."""

import os
import re

import msgspec

from clary.telemetry.delta import Delta, Latency, VariantDelta
from clary.telemetry.points import samples_of
from clary.telemetry.store import RETENTION_S
from clary.telemetry.utilization import ENDPOINTS, Meter, Subject
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "reference" / "metrics.md").read_text()


def test_every_metric_is_documented_with_its_unit() -> None:
    latency = Latency(1, 1, 1, 1, {0: 1})
    whole = VariantDelta("1", "r", "e", "u", "v", 1, 1.0, 0, 0, 0, latency, latency, 1, 0, 0, 1)
    busy = msgspec.structs.replace(
        whole, first_chunk=latency, first_chunk_model=latency, first_chunk_overhead=latency, streams=1
    )
    stored = {(sample.key.metric, sample.key.unit) for sample in samples_of(Delta("router-0", "b", 1, 0, (busy,)))}
    documented = set(re.findall(r"^\| `(\w+)` \| (\w+) \|", PAGE, re.MULTILINE))
    subject = Subject(os.getpid(), "01R", "1", "r", ENDPOINTS, ((),), "u")
    meter = Meter(ROOT)
    looks = [usage for at_s in (0, 10) for usage in meter.measure([subject], at_s, at_s)]
    stored |= {(sample.key.metric, sample.key.unit) for usage in looks for sample in usage.samples()}
    assert documented == stored


def test_retention_is_documented() -> None:
    units = {"hours": 3600, "days": 86400}
    rows = re.findall(r"^\| (below 60|\d+) s \| (\d+) (hours|days) \|$", PAGE, re.MULTILINE)
    assert {period: int(count) * units[unit] for period, count, unit in rows} == {
        "below 60": RETENTION_S[1],
        **{str(period): kept for period, kept in RETENTION_S.items() if period >= 60},
    }
    assert RETENTION_S[1] == RETENTION_S[10]
