"""Archives as users and attackers make them."""

import gzip
import io
import tarfile
from collections.abc import Iterable

from clary.domain.errors import NotFound


def member(name: str, content: bytes = b"", mode: int = 0o644, kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple:
    """A tar header and its content."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = mode
    info.type = kind
    info.linkname = link
    return info, content


def tar(members: Iterable[tuple], form: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def packed(*members: tuple, form: int = tarfile.GNU_FORMAT) -> bytes:
    """A tar.gz."""
    return gzip.compress(tar(members, form), mtime=0)


class Key:
    """One object of a listing."""

    def __init__(self, key: str) -> None:
        self.key = key


class Objects:
    """A source in memory: the objects of some buckets."""

    def __init__(self, objects: dict[tuple[str, str], bytes]) -> None:
        self.objects = objects
        self.opened = 0

    def open(self, bucket: str, key: str) -> io.BytesIO:
        self.opened += 1
        if all(bucket != known for known, _ in self.objects):
            raise NotFound("bucket", bucket, "")
        try:
            return io.BytesIO(self.objects[bucket, key])
        except KeyError:
            raise NotFound("object", key, "") from None

    def list(self, bucket: str, prefix: str) -> list[Key]:
        return [Key(key) for known, key in sorted(self.objects) if known == bucket and key.startswith(prefix)]
