"""The snapshot's file, watched: a broken one is reported once, and the last good one stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from clary.dataplane.routes import FORMAT, Snapshot, read_snapshot
from clary.replica.frames import parse_address

EMPTY = Snapshot(format=FORMAT, revision=0, account="", region="", auth=False, hosts=())
"""Before any snapshot was read: routes to nothing."""


class SnapshotFile:
    """Tells whether the file holds something new."""

    def __init__(self, path: Path, complain: Callable[[str], None]) -> None:
        """`complain(cause)` is called once for each broken version of the file."""
        self._path = path
        self._complain = complain
        self._seen: tuple[int, int, int] | None = None

    def poll(self) -> Snapshot | None:
        """The new snapshot; None where nothing changed, or what is there cannot be used. One stat where unchanged."""
        try:
            stat = self._path.stat()
            seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if seen == self._seen:
                return None
            self._seen = seen
            return _checked(read_snapshot(self._path))
        except FileNotFoundError:
            return None  # a fresh HOME, or a file being restored: what is in memory stays
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            self._complain(str(error))
            return None


def _checked(snapshot: Snapshot) -> Snapshot:
    """The snapshot, if every address in it can be connected to; ValueError."""
    for endpoint in snapshot.endpoints:
        for variant in endpoint.variants:
            for replica in variant.replicas:
                parse_address(replica.address)
    return snapshot
