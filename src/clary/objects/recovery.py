"""What happens when the store is opened: the index and the files are made to agree.

- An index that is missing (or was deleted because it broke) is rebuilt from the blobs' footers.
- A bucket folder with a record that the index does not know is adopted, with its objects: a bucket whose creation or
  deletion a kill interrupted (neither was acknowledged), or one that somebody put there.
- What a bucket's own record says of it (versioning, tags, CORS) holds against the index.
- A folder without a record, a blob that nothing refers to, anything in `.incoming`: removed.
Uploads in progress live in the index only; a rebuild forgets them and their parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from clary.objects.blobs import Blobs
from clary.objects.index import Index
from clary.objects.records import Bucket, ObjectRecord, TagRecord

INDEX_FILE = ".index.db"


def recover(root: Path, blobs: Blobs) -> Index:
    """Open the index under `root` and make it agree with the files."""
    index = Index(root / INDEX_FILE)
    try:
        blobs.sweep_incoming()
        known = list(blobs.buckets())
        if index.fresh:
            index.create((bucket, _objects(blobs, bucket.name)) for _, bucket in known if bucket is not None)
        for name, bucket in known:
            if bucket is None:
                blobs.remove_bucket(name)
            else:
                _agree(index, blobs, bucket)
    except BaseException:
        index.close()
        raise
    return index


def _agree(index: Index, blobs: Blobs, bucket: Bucket) -> None:
    with index.read() as reading:
        known = reading.bucket(bucket.name)
    if known is not None and known != bucket:
        with index.write() as writing:
            writing.put_bucket(bucket)
    if known is None:
        with index.write() as writing:
            writing.put_bucket(bucket)
            for record in _objects(blobs, bucket.name):
                writing.put_object(bucket.name, record)
    with index.read() as reading:
        referred = reading.blobs(bucket.name)
    for blob in blobs.names(bucket.name):
        if blob not in referred:
            blobs.remove(bucket.name, blob)


def _objects(blobs: Blobs, bucket: str) -> Iterator[ObjectRecord]:
    """The latest record of each version by the footers; those whose segments are not all there are left out."""
    names = set(blobs.names(bucket))
    latest: dict[tuple[str, str], ObjectRecord] = {}
    tags: dict[str, TagRecord] = {}
    for blob in names:
        footer = blobs.footer(bucket, blob)
        if footer is None or footer.blob != blob:
            continue
        if isinstance(footer, TagRecord):
            known = tags.get(footer.of)
            if known is None or (known.modified_us, known.blob) < (footer.modified_us, blob):
                tags[footer.of] = footer
        if not isinstance(footer, ObjectRecord) or any(segment.blob not in names for segment in footer.segments):
            continue
        old = latest.get((footer.key, footer.version))
        if old is None or (old.modified_us, old.blob) < (footer.modified_us, footer.blob):
            latest[footer.key, footer.version] = footer
    for record in latest.values():
        changed = tags.get(record.blob)
        if changed is None:
            yield record
        else:
            yield msgspec.structs.replace(record, tags=changed.tags, tag_blob=changed.blob)
