"""How long to wait before trying again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Exponential waits: `first_s`, then `factor` times longer each time, never above `max_s`."""

    first_s: float = 0.1
    """Wait before the second attempt, in seconds."""
    factor: float = 2.0
    """Growth from one wait to the next."""
    max_s: float = 10.0
    """The longest wait, in seconds."""

    def wait_s(self, failures: int) -> float:
        """Seconds to wait after `failures` failures in a row; none before the first."""
        if failures <= 0:
            return 0.0
        return min(self.max_s, self.first_s * self.factor ** min(failures - 1, 60))
