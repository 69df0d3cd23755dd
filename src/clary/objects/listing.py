"""Pages of keys in order, with what lies under a delimiter rolled up into common prefixes."""

from __future__ import annotations

from clary.objects.index import Transaction
from clary.objects.names import successor
from clary.objects.records import Entry, Listing

SKIP_ROWS = 32
"""Rows of one common prefix that are walked past before seeking beyond it: a seek costs about as much."""


def page(index: Transaction, bucket: str, *, prefix: str, delimiter: str, after: str, count_max: int) -> Listing:
    """At most `count_max` keys and common prefixes together, all above `after` (a key or a common prefix).

    Cost: proportional to what is returned, however many keys the common prefixes stand for.
    """
    wanted, divider, mark = prefix.encode(), delimiter.encode(), after.encode()
    below = successor(wanted)
    entries: list[Entry] = []
    prefixes: list[str] = []
    last = ""
    start, exclusive = (mark, True) if mark >= wanted else (wanted, False)
    if divider and common_prefix(mark, wanted, divider) == mark and mark:
        start, exclusive = successor(mark) or mark, False
    while True:
        seek: bytes | None = None
        rolled, walked = b"", 0
        for key, entry in index.entries(bucket, start, below, after=exclusive):
            if rolled and key.startswith(rolled):
                walked += 1
                if walked < SKIP_ROWS:
                    continue
                seek = successor(rolled)
                break
            if len(entries) + len(prefixes) == count_max:
                return Listing(tuple(entries), tuple(prefixes), last, truncated=True)
            common = common_prefix(key, wanted, divider)
            if common is None:
                entries.append(entry)
                last = entry.key
            else:
                rolled, walked = common, 0
                last = common.decode()
                prefixes.append(last)
        if seek is None:
            return Listing(tuple(entries), tuple(prefixes), last, truncated=False)
        start, exclusive = seek, False


def common_prefix(key: bytes, prefix: bytes, delimiter: bytes) -> bytes | None:
    """`key` up to and with the first delimiter after `prefix`; None where there is none."""
    if not delimiter or not key.startswith(prefix):
        return None
    at = key.find(delimiter, len(prefix))
    return None if at < 0 else key[: at + len(delimiter)]
