"""What an agent leaves for the next one: HOME/run/agent.json, the processes that it runs.

It is of use only until the machine restarts, so it is renamed into place but not fsynced.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from clary.agent.table import ProcessSpec

FORMAT = 1


@dataclass(frozen=True)
class Remembered:
    """One process."""

    uid: str
    kind: str
    pid: int
    start: int
    """See processes.Process."""
    nonce: str
    digest: str
    """`digest_of` what it was started from."""
    restarts: int


@dataclass(frozen=True)
class Handover:
    """All of them."""

    pid: int
    """The agent's."""
    port: int
    """The public port, which the next agent takes over from a router."""
    processes: tuple[Remembered, ...]
    stopped: bool = False
    """Whether that agent stopped in good order: then nothing of it is left, whatever holds the port."""


def digest_of(spec: ProcessSpec) -> str:
    """Changes with anything that would make a running process another one."""
    return hashlib.sha256(json.dumps(asdict(spec), sort_keys=True).encode()).hexdigest()[:16]


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def write_handover(path: Path, handover: Handover) -> None:
    """Replace the file."""
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps({"format": FORMAT, "boot": _boot_id(), **asdict(handover)}))
    temporary.replace(path)


def read_handover(path: Path) -> Handover:
    """What the former agent left; nothing where there was none, the machine restarted, or the file is of no use."""
    empty = Handover(0, 0, ())
    try:
        document = json.loads(path.read_text())
        if document["format"] != FORMAT or document["boot"] != _boot_id():
            return empty
        rows = tuple(Remembered(**row) for row in document["processes"])
        return Handover(document["pid"], document["port"], rows, document["stopped"])
    except (OSError, ValueError, KeyError, TypeError):
        return empty
