"""The table of processes that should run: written by placement, read by the agent, a JSON file between them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from clary.kit.durable import replace_file

FORMAT = 1


@dataclass(frozen=True)
class ProcessSpec:
    """One process that should run until it leaves the table."""

    uid: str
    """Immutable; a replica's own uid for a worker."""
    kind: str
    """`zygote`, `worker` or `runner`. Control and routers are the agent's own and never stand in the file."""
    argv: tuple[str, ...]
    """Executed as it is. A worker with a zygote is forked instead, and argv[0] names its interpreter for a spawn."""
    env: dict[str, str] = field(default_factory=dict)
    """The whole environment: nothing is inherited."""
    zygote: str = ""
    """uid of the zygote to fork from; empty for a fresh process."""
    log: str = ""
    """File that gets stdout and stderr, appended."""
    memory_bytes_max: int = 0
    """Address-space-independent resident limit; 0 means none."""
    stop_grace_s: float = 30.0
    """Seconds between SIGTERM and SIGKILL."""


def write_table(path: Path, processes: Iterable[ProcessSpec]) -> None:
    """Replace the table durably: temporary file, fsync, rename."""
    text = json.dumps({"format": FORMAT, "processes": [asdict(p) for p in processes]}, indent=1)
    replace_file(path, text.encode())


def read_table(path: Path) -> list[ProcessSpec]:
    """The table, or an empty one where no file exists. A format newer than ours raises ValueError."""
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        return []
    if document["format"] > FORMAT:
        raise ValueError(f"{path} has format {document['format']}; this Clary reads up to {FORMAT}")
    return [ProcessSpec(**{**row, "argv": tuple(row["argv"])}) for row in document["processes"]]
