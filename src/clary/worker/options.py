"""What a worker is told: one JSON document in `CLARY_WORKER`, read once. Nothing else of its environment is ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Optional

VARIABLE = "CLARY_WORKER"


@dataclass(frozen=True)
class ServerOptions:
    """A command that serves by itself; see domain.model.ServerSpec."""

    command: tuple[str, ...]
    folder: str = ""
    """Working folder; empty: the model's."""
    route: str = "/invocations"
    ping: str = "/ping"
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkerOptions:
    """Options of one replica."""

    uid: str
    socket: str
    """Path of the Unix socket it answers on."""
    runtime: str
    """Name in runtimes/registry.py."""
    model_dir: str
    """The unpacked artifact; also the working folder."""
    image_tag: str = ""
    endpoint: str = ""
    """For logs and the process title, as is the next."""
    variant: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    """ContainerDefinition.Environment, as the runtime sees it."""
    threads: int = 1
    """Threads that one predict may use."""
    untrusted: bool = False
    """Run no code of the model's: pickles are held to a list of names, scripts are refused."""
    load_timeout_s: float = 480.0
    """A load that takes longer is reported as failed."""
    credits: int = 256
    """Requests a link may have outstanding: bounds what one batch can hold. A runtime that never joins gets 1."""
    batch_bytes_max: int = 64 * 1024 * 1024
    """Bodies of one batch, in bytes; one larger request goes alone."""
    rows_max: int = 1 << 18
    """Rows that are joined into one predict; one larger request goes alone."""
    predict_overrun_s: float = 30.0
    """A predict that is so far past its last deadline hangs: stacks go to the log, the process exits with 70."""
    predict_s: float = 60.0
    """Deadline of a request that names none; InvokeEndpoint allows 60 s."""
    drain_quiet_s: float = 0.3
    """When asked to stop: no request for so long, after every link was told, means that none is on its way."""
    server: Optional[ServerOptions] = None  # noqa: UP045 - Python 3.9
    """The command that serves in the model's place; None where the worker itself does."""

    def to_json(self) -> str:
        """The value of `CLARY_WORKER`."""
        server = None if self.server is None else {**asdict(self.server), "env": dict(self.server.env)}
        return json.dumps({**asdict(self), "env": dict(self.env), "server": server})


def read_options(environ: Mapping[str, str]) -> WorkerOptions:
    """The options in the environment. Raises KeyError or ValueError: the worker was not started by placement."""
    told = json.loads(environ[VARIABLE])
    server = told.get("server")
    if server is not None:
        told["server"] = ServerOptions(**{**server, "command": tuple(server["command"])})
    return WorkerOptions(**told)
