"""Lengths of time as people write them on a command line or in a description. Pure."""

from __future__ import annotations

import re

from clary.domain.errors import Invalid

DURATION = r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)"
"""A number and its unit, as two groups."""
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def seconds_of(text: str) -> float:
    """`90s`, `10m`, `1.5h`, `250ms`, `2d` in seconds. Raises Invalid."""
    found = re.fullmatch(DURATION, text.strip())
    if found is None:
        raise Invalid(f"{text!r} is no length of time; write it as 250ms, 90s, 10m, 1h or 1d.")
    return in_seconds(found[1], found[2])


def in_seconds(number: str, unit: str) -> float:
    """The two groups of DURATION in seconds."""
    return float(number) * _UNITS_S[unit]
