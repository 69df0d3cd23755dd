"""Whether a process that imported these libraries may fork: found out by doing it.

Counting threads does not tell (onnxruntime, and pandas with pyarrow, start one at import and still fork well). One
forked child predicts with 1 and with 2 threads within a deadline; anything else means fresh processes.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import traceback
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Mapping  # noqa: UP035 - Python 3.9

from clary.runtimes.registry import modules_of
from clary.runtimes.tiny import TinyPredict, tiny_predict
from clary.worker import child


@dataclass(frozen=True)
class Verdict:
    """What the probe found."""

    fork: str
    """`safe` or `unsafe`."""
    detail: str
    """One sentence, for `clary doctor`."""
    libraries: Mapping[str, str] = field(default_factory=dict)
    """What was imported, with versions."""

    def to_json(self) -> dict[str, object]:
        """For the agent."""
        return {**asdict(self), "libraries": dict(self.libraries)}


def probe(runtime_name: str, deadline_s: float) -> Verdict:
    """Fork a child that predicts. Call after the runtime's modules were imported."""
    tiny = tiny_predict(runtime_name)
    libraries = _libraries(runtime_name)
    if tiny is None:
        return Verdict("unsafe", f"the runtime {runtime_name} has no probe, so a fork is not proven safe", libraries)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _predict(tiny, writer)
    os.close(writer)
    try:
        ready, _, _ = select.select([reader], [], [], deadline_s)
        said = os.read(reader, 4096) if ready else b""
    finally:
        os.close(reader)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    if said == b"ok":
        return Verdict("safe", "a forked child predicted with 1 and with 2 threads", libraries)
    if not ready:
        return Verdict("unsafe", f"a forked child did not predict within {deadline_s:g} s", libraries)
    return Verdict("unsafe", f"a forked child failed: {said.decode(errors='replace') or 'it died'}", libraries)


def _predict(tiny: TinyPredict, writer: int) -> None:
    """In the child; never returns."""
    said = b"ok"
    try:
        for threads in (1, 2):
            child.share_threads(threads)
            tiny(threads)
    except BaseException as error:
        traceback.print_exc()
        said = f"{type(error).__name__}: {error}".encode()[:4000]
    finally:
        os.write(writer, said)
        sys.stderr.flush()
        os._exit(0)


def _libraries(runtime_name: str) -> dict[str, str]:
    """Versions of what the runtime imports, as far as the modules tell."""
    found = {}
    for module in modules_of(runtime_name):
        name = module.partition(".")[0]
        version = getattr(sys.modules.get(name), "__version__", None)
        if version is None:
            with contextlib.suppress(metadata.PackageNotFoundError):
                version = metadata.version(name)
        if version is not None and name != "clary":
            found[name] = str(version)
    return found
