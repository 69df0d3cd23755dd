"""What a check of `clary doctor` finds."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Check:
    """One finding: what was looked at, how it is, and what to do where it is not well."""

    name: str
    state: State
    found: str
    remedy: str = ""
