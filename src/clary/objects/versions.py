"""Versions of an object: deleting with markers, listing, tags. Every function blocks; call it on a thread.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/versioning-workflows.html
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from clary.domain.errors import NotFound
from clary.objects.index import Transaction
from clary.objects.listing import SKIP_ROWS, common_prefix
from clary.objects.names import successor
from clary.objects.records import (
    ENABLED,
    NO_CONDITION,
    Bucket,
    Condition,
    ObjectRecord,
    TagRecord,
    VersionEntry,
)
from clary.objects.store import ObjectStore, bucket_arn, check_condition, check_key, find


@dataclass(frozen=True)
class Target:
    """What is to be deleted."""

    key: str
    version: str | None = None
    """None: the object; else one version of it for good, empty for the null version."""


@dataclass(frozen=True)
class Deleted:
    """What a delete did."""

    version: str | None
    """The version that was removed, or the marker that was made; None in a bucket without versions."""
    marker: bool
    """Whether a delete marker was made, or removed."""


@dataclass(frozen=True)
class VersionListing:
    """One page of versions, by key, the newest of each key first."""

    versions: tuple[VersionEntry, ...]
    prefixes: tuple[str, ...]
    next_key: str
    """Where the next page goes on: a key, with `next_version` of it, or a common prefix."""
    next_version: str | None
    truncated: bool


def delete(
    store: ObjectStore, bucket: str, targets: Sequence[Target], condition: Condition = NO_CONDITION
) -> list[Deleted]:
    """Delete in one transaction; the condition holds for each target. One that is absent is deleted already.

    In a bucket with versions a delete without a version makes a delete marker (suspended: the null version becomes
    one). What a version's id names is removed for good. A disk that is full does not keep from it.
    """
    return store.reserve.deleting(lambda: _delete(store, bucket, targets, condition))


def _delete(store: ObjectStore, bucket: str, targets: Sequence[Target], condition: Condition) -> list[Deleted]:
    state = store.bucket(bucket)
    done: list[Deleted] = []
    gone: list[ObjectRecord | None] = []
    with _markers(store, state, targets) as (markers, write), write() as index:
        for target, marker in zip(targets, markers, strict=True):
            if condition != NO_CONDITION:
                check_condition(index, bucket, target.key, condition, target.version)
            if marker is not None:
                gone.append(index.put_object(bucket, marker))
                done.append(Deleted(marker.version, marker=True))
            else:
                old = index.remove_version(bucket, target.key, target.version or "")
                gone.append(old)
                done.append(Deleted(target.version, marker=old is not None and old.marker))
    for record in gone:
        store.drop(bucket, record)
    return done


@contextlib.contextmanager
def _markers(
    store: ObjectStore, state: Bucket, targets: Sequence[Target]
) -> Iterator[tuple[list[ObjectRecord | None], Callable[[], contextlib.AbstractContextManager[Transaction]]]]:
    """Delete markers for the targets that need one, on disk, and how to write; removed again if that fails."""
    made: list[ObjectRecord | None] = []
    try:
        for target in targets:
            marker = None
            if state.versioning and target.version is None:
                check_key(target.key)
                _, modified_us = store.stamp(state.name, target.key)
                blob = store.ids.ulid(modified_us)
                marker = ObjectRecord(
                    key=target.key,
                    size=0,
                    etag="",
                    modified_us=modified_us,
                    blob=blob,
                    headers={},
                    user={},
                    version=blob if state.versioning == ENABLED else "",
                    marker=True,
                )
                store.publish_empty(state.name, marker)
            made.append(marker)
        blobs = [marker.blob for marker in made if marker is not None]
        yield made, lambda: store.writing(state.name, blobs)
    except BaseException:
        for one in made:
            if one is not None:
                store.blobs.remove(state.name, one.blob)
        raise


def set_tags(
    store: ObjectStore, bucket: str, key: str, tags: Mapping[str, str], version: str | None = None
) -> ObjectRecord:
    """Replace the tags of an object, or of one version of it; errors as `ObjectStore.head`."""
    current = store.head(bucket, key, version)
    now_us = store.clock.now_us()
    made = TagRecord(of=current.blob, tags=tags, modified_us=now_us, blob=store.ids.ulid(now_us))
    store.publish_empty(bucket, made)
    try:
        with store.writing(bucket, [made.blob]) as index:
            old = find(index, bucket, key, version)
            tagged = msgspec.structs.replace(old, tags=tags, tag_blob=made.blob)
            # Written anew meanwhile: these tags came before that, and went with what they were put on.
            overtaken = old.blob != current.blob
            if not overtaken:
                index.put_object(bucket, tagged)
    except BaseException:
        store.blobs.remove(bucket, made.blob)
        raise
    unused = made.blob if overtaken else old.tag_blob
    if unused:
        store.blobs.remove(bucket, unused)
    return current if overtaken else tagged


def page(
    store: ObjectStore,
    bucket: str,
    *,
    prefix: str = "",
    delimiter: str = "",
    after_key: str = "",
    after_version: str | None = None,
    count_max: int = 1000,
) -> VersionListing:
    """At most `count_max` versions and common prefixes, those after a key, or after one version of it.

    NotFound of kind `version` where `after_version` is not one of the key's.
    """
    store.bucket(bucket)
    wanted, divider, mark = prefix.encode(), delimiter.encode(), after_key.encode()
    with store.index.read() as index:
        first, age = (wanted, None) if mark < wanted or not mark else (mark, None)
        if mark >= wanted and mark:
            if after_version is not None:
                last = index.version(bucket, after_key, after_version)
                if last is None:
                    raise NotFound("version", after_key, f"{bucket_arn(bucket)}/{after_key}")
                age = (last.modified_us, last.blob)
            else:
                rolled = common_prefix(mark, wanted, divider) == mark
                first = (successor(mark) if rolled else mark + b"\0") or mark + b"\0"
        found = _skipping(
            index, bucket, (first, successor(wanted), age), lambda key: common_prefix(key, wanted, divider)
        )
        return _collect(found, count_max)


def _skipping(
    index: Transaction,
    bucket: str,
    where: tuple[bytes, bytes | None, tuple[int, str] | None],
    rolled_up: Callable[[bytes], bytes | None],
) -> Iterator[tuple[bytes | None, VersionEntry]]:
    """Versions with the common prefix each rolls up into; of one prefix the first only, the others soon sought past."""
    start: bytes | None = where[0]
    below, age = where[1:]
    rolled: bytes | None = None
    while start is not None:
        rows, start, walked = index.versions(bucket, start, below, age), None, 0
        for key, entry in rows:
            if rolled is not None and key.startswith(rolled):
                walked += 1
                if walked == SKIP_ROWS:
                    start, age = successor(rolled), None
                    break
                continue
            rolled, walked = rolled_up(key), 0
            yield rolled, entry


def _collect(found: Iterable[tuple[bytes | None, VersionEntry]], count_max: int) -> VersionListing:
    versions: list[VersionEntry] = []
    prefixes: list[str] = []
    next_key, next_version = "", None
    for rolled, entry in found:
        if len(versions) + len(prefixes) == count_max:
            return VersionListing(tuple(versions), tuple(prefixes), next_key, next_version, truncated=True)
        if rolled is None:
            versions.append(entry)
            next_key, next_version = entry.entry.key, entry.version
        else:
            prefixes.append(rolled.decode())
            next_key, next_version = prefixes[-1], None
    return VersionListing(tuple(versions), tuple(prefixes), "", None, truncated=False)
