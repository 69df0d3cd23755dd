"""Whether an environment may fork: verdicts of the zygotes' probes, kept in HOME/run/forks.json.

An environment is its interpreter and the versions of everything installed in it: whatever changes one of them asks for
a new probe. `clary doctor` shows the file.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

FORMAT = 1
_ASK = "import sys,sysconfig; print(sys.version.split()[0], sysconfig.get_paths()['purelib'], sep='\\n')"


@dataclass(frozen=True)
class ForkVerdict:
    """What a probe found for one (environment, runtime)."""

    runtime: str
    python: str
    """Path of the interpreter."""
    fork: str
    """`safe` or `unsafe`."""
    detail: str
    """One sentence: what the probe saw."""
    libraries: Mapping[str, str] = field(default_factory=dict)


def environment_of(python: str) -> str:
    """A digest of an interpreter and of what is installed beside it. Blocking: asks a foreign interpreter once.

    Raises OSError or subprocess.SubprocessError where the interpreter cannot be run.
    """
    if python == sys.executable:
        version, purelib = sys.version.split()[0], sysconfig.get_paths()["purelib"]
    else:
        asked = subprocess.run([python, "-I", "-c", _ASK], capture_output=True, text=True, timeout=30, check=True)
        version, purelib = asked.stdout.splitlines()[:2]
    installed = sorted(path.name for path in Path(purelib).glob("*.dist-info"))
    return hashlib.sha256("\n".join([python, version, *installed]).encode()).hexdigest()[:16]


def read_verdicts(path: Path) -> dict[str, ForkVerdict]:
    """Verdicts by `key_of`; nothing where the file is missing, broken or of another format: a probe finds out anew."""
    try:
        document = json.loads(path.read_text())
        if document["format"] != FORMAT:
            return {}
        return {key: ForkVerdict(**row) for key, row in document["verdicts"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def write_verdicts(path: Path, verdicts: Mapping[str, ForkVerdict]) -> None:
    """Replace the file."""
    temporary = path.with_suffix(".new")
    rows = {key: {**asdict(verdict), "libraries": dict(verdict.libraries)} for key, verdict in verdicts.items()}
    temporary.write_text(json.dumps({"format": FORMAT, "verdicts": rows}, indent=1))
    temporary.replace(path)


def key_of(environment: str, runtime: str) -> str:
    """The verdict's key."""
    return f"{environment}:{runtime}"
