"""What a worker says of itself in HELLO (Tag.REPORT), and the lines it writes into its log."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Optional

_BYTES_MAX = 60_000
"""A TLV's value holds 65,535 bytes, and the whole header no more."""


@dataclass(frozen=True)
class Report:
    """JSON in Tag.REPORT; readers skip keys they do not know."""

    state: str
    """`ready` or `failed`."""
    runtime: str
    pid: int
    cause: str = ""
    """Why it failed, one sentence; ends in FailureReason, as does `remedy`."""
    remedy: str = ""
    joins: str = "never"
    """See runtimes.base.Joins."""
    pure: bool = False
    """Whether a request may be predicted twice without harm."""
    libraries: Mapping[str, str] = field(default_factory=dict)
    """Name to version, as loaded."""
    width: Optional[int] = None  # noqa: UP045 - Python 3.9
    """Features of a row, where the artifact tells."""
    outputs: Optional[int] = None  # noqa: UP045
    """Values of an answered row, where known."""
    load_ms: int = 0
    signature: Mapping[str, object] = field(default_factory=dict)
    """What the model takes and gives; see domain.signature."""

    def to_json(self) -> bytes:
        """The value of Tag.REPORT; causes, and then the signature's parts, go where a header value would overflow."""
        facts = asdict(self)
        facts["cause"], facts["remedy"] = self.cause[:4000], self.remedy[:2000]
        signature = facts["signature"] = dict(self.signature)
        for part in ("example", "columns"):
            packed = json.dumps(facts).encode()
            if len(packed) <= _BYTES_MAX:
                return packed
            signature.pop(part, None)
        return json.dumps(facts).encode()


class WorkerLog:
    """JSON lines on stderr, which is the replica's log file, with the keys that every Clary log has."""

    def __init__(self, endpoint: str, variant: str, replica: str) -> None:
        self._who = {"endpoint": endpoint, "variant": variant, "replica": replica}

    def write(self, event: str, level: str = "info", request_id: str = "", **facts: object) -> None:
        """One event, one line."""
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        line = {"ts": now.replace("+00:00", "Z"), "level": level, "event": event, "request_id": request_id}
        sys.stderr.write(json.dumps({**line, **self._who, **facts}, default=str) + "\n")
        sys.stderr.flush()
