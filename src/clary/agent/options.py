"""What the agent is told: one JSON file, read once."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path

NOT_USABLE = 2
"""Exit status where HOME or the port cannot be used: USAGE of cli.exit_codes, which the agent may not import."""


class AgentError(Exception):
    """The agent cannot start. The message is for the user and names the remedy."""


@dataclass(frozen=True)
class AgentOptions:
    """Options of `python -m clary.agent CONFIG.json`."""

    home: str
    """HOME of this server: made, 0700, where it does not exist."""
    runtime_dir: str
    """Folder of the sockets, short: a Unix address holds 107 bytes. Made, 0700."""
    host: str
    """Address to listen on, such as `127.0.0.1` or `::1`."""
    port: int
    """0 takes a free port; `{port}` in the banner is replaced by it."""
    control: tuple[str, ...]
    """argv of control. `{uid}`, `{nonce}`, `{agent_socket}` and `{port}` are replaced, here and in `routers`."""
    routers: tuple[tuple[str, ...], ...]
    """One argv a router; `{listen_fd}` is replaced by the number of the inherited listener."""
    banner: str = ""
    """Printed once the public port answers."""
    version: str = ""
    """Clary's version: control and routers of another version are replaced, not adopted."""
    env: dict[str, str] = field(default_factory=dict)
    """Added to the agent's own environment for control and routers."""
    backlog: int = 4096
    """Connections that wait while no router accepts: clients wait, none is refused. The kernel may cap it."""
    stop_grace_s: float = 40.0
    """Seconds between SIGTERM and SIGKILL for control and routers: a bit above a worker's 30."""
    adopt_s: float = 5.0
    """Seconds that processes of a former agent have to announce themselves; they knock every 50 ms."""
    ready_s: float = 60.0
    """Seconds until a server whose port does not answer says so; it goes on trying."""
    memory_check_s: float = 1.0
    """Seconds between two looks at the memory of processes with a limit."""
    steady_s: float = 30.0
    """A process that ran so long is restarted at once when it dies: its earlier failures are forgotten."""
    log_check_s: float = 10.0
    """Seconds between two looks at the size of the logs."""
    log_bytes_max: int = 32 * 1024 * 1024
    """A longer log is copied to `.1` and cut to nothing."""


def read_options(path: Path) -> AgentOptions:
    """The options in a JSON file; an unknown key raises AgentError naming it."""
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise AgentError(f"cannot read the agent's options from {path}: {error}") from error
    unknown = set(document) - {f.name for f in fields(AgentOptions)}
    if unknown:
        raise AgentError(f"{path} names options that the agent does not have: {', '.join(sorted(unknown))}")
    document["control"] = tuple(document["control"])
    document["routers"] = tuple(tuple(argv) for argv in document["routers"])
    return AgentOptions(**document)
