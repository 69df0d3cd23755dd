"""What was made before a step was refused is taken back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from clary.cli.exit_codes import CliError

Undo = Callable[[], object]


@contextmanager
def taking_back() -> Iterator[list[Undo]]:
    """A list to note undoing steps in; where the block ends by an exception they run, the latest first."""
    steps: list[Undo] = []
    try:
        yield steps
    except BaseException:
        for step in reversed(steps):
            with contextlib.suppress(CliError):  # the first refusal is the one to tell
                step()
        raise
