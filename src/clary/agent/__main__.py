"""`python -m clary.agent CONFIG.json`: the supervisor of one server."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from clary.agent.loop import Agent
from clary.agent.options import NOT_USABLE, AgentError, read_options


def main(argv: Sequence[str]) -> int:
    """Exit status: 0 after a clean stop, 1 where control or a router cannot start, 2 where HOME or the port is no use.

    The file of options is read once and removed.
    """
    if len(argv) != 1:
        print("usage: python -m clary.agent CONFIG.json", file=sys.stderr)
        return NOT_USABLE
    try:
        options = read_options(Path(argv[0]))
        Path(argv[0]).unlink(missing_ok=True)
        return Agent(options).run()
    except AgentError as error:
        print(f"clary: {error}", file=sys.stderr, flush=True)
        return NOT_USABLE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
