"""How long points are kept once the metric store has reached its size: the finest go first, the coarse ones stay."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

LEAST_S = {1: 300, 10: 1_800, 60: 86_400, 300: 7 * 86_400, 3600: 90 * 86_400}
"""What is kept of each roll-up whatever its size, by resolution in seconds: alarms and scaling look back minutes."""
EASE = 0.5
"""Below this part of the limit windows grow again."""


class Room:
    """The windows in force. `settle` is called once everything outside of them was deleted."""

    def __init__(self, retention_s: Mapping[int, int], bytes_max: int) -> None:
        self._retention_s = dict(retention_s)
        self._bytes_max = bytes_max
        self.kept_s = dict(retention_s)
        """Seconds for which each roll-up is kept, by its resolution; the finest first."""

    @property
    def squeezed(self) -> bool:
        """Whether any is kept for less than it should be."""
        return self.kept_s != self._retention_s

    def settle(self, used_bytes: int) -> bool:
        """Halve the finest window that can be where too much is used, or double the coarsest again where there is room.

        Whether anything changed.
        """
        if used_bytes > self._bytes_max:
            for resolution_s, kept_s in self.kept_s.items():
                least_s = min(LEAST_S.get(resolution_s, kept_s), kept_s)
                if kept_s > least_s:
                    self.kept_s[resolution_s] = max(kept_s // 2, least_s)
                    return True
        elif used_bytes < EASE * self._bytes_max:
            for resolution_s in reversed(self.kept_s):
                whole_s = self._retention_s[resolution_s]
                if self.kept_s[resolution_s] < whole_s:
                    self.kept_s[resolution_s] = min(2 * self.kept_s[resolution_s], whole_s)
                    return True
        return False


def used_bytes(db: sqlite3.Connection) -> int:
    """Bytes of a file's pages that hold something; those that do not are used again before it grows."""
    names = ("page_count", "freelist_count", "page_size")
    pages, free, size = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
    return int((pages - free) * size)
