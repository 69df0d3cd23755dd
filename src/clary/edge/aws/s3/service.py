"""What every S3 operation has at hand, and the checks that come before each."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from clary.edge.aws.operation import Call, Members
from clary.edge.aws.s3.errors import S3Error
from clary.kit.threads import Threads
from clary.objects.names import KEY_BYTES_MAX
from clary.objects.records import Bucket
from clary.objects.store import ObjectStore

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

GIB = 1024**3


@dataclass(frozen=True)
class S3Options:
    """Limits and names of the object store's door."""

    hosts: tuple[str, ...] = ()
    """Names the server is known by besides `localhost`, lower case, without port: a bucket may stand before them."""
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """Buckets (or `*`, all of them) that lie in other object stores, and where: requests for them are refused."""
    object_bytes_max: int = 5 * GIB
    """Longest body of one PutObject or UploadPart, and longest source of one copy (S3's own limit)."""
    document_bytes_max: int = 4 * 1024 * 1024
    """Longest XML document: 10,000 parts with checksums are some 2 MiB."""
    patience_s: float = 10.0
    """Seconds after which a copy that still runs is answered with blanks, one more after each such time."""
    page_entries_max: int = 1000
    """Most entries of one page of a listing (S3's own limit)."""


@dataclass(frozen=True)
class Service:
    """The store, the threads its calls run on, and the options."""

    store: ObjectStore
    threads: Threads
    options: S3Options

    async def run(
        self, work: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
    ) -> Result:
        """Run blocking work on a thread."""
        return await self.threads.run(functools.partial(work, *args, **kwargs))

    def enter(self, call: Call, members: Members) -> Bucket:
        """The bucket of a request, if the caller may use it; blocking. NotFound, or S3Error."""
        key = members.get("Key")
        if key is not None and len(key.encode()) > KEY_BYTES_MAX:
            raise S3Error("KeyTooLongError", Size=str(len(key.encode())), MaxSizeAllowed=str(KEY_BYTES_MAX))
        return self.bucket(call, members["Bucket"], members.get("ExpectedBucketOwner"))

    def bucket(self, call: Call, name: str, expected_owner: str | None) -> Bucket:
        """A bucket of the caller's account, owned by the account that the caller expects; blocking."""
        bucket = self.store.bucket(name)
        if bucket.account != call.principal.account:
            raise S3Error("AccessDenied")
        if expected_owner is not None and expected_owner != bucket.account:
            raise S3Error("AccessDenied")
        return bucket

    def page_size(self, asked: int | None, name: str) -> int:
        """How many entries a page holds; S3Error for a negative wish."""
        if asked is None:
            return self.options.page_entries_max
        if asked < 0:
            raise S3Error(
                "InvalidArgument",
                f"Argument {name} must be an integer between 0 and 2147483647",
                ArgumentName=name,
                ArgumentValue=str(asked),
            )
        return min(asked, self.options.page_entries_max)


def owner(account: str) -> dict[str, str]:
    """`Owner` of buckets and objects: S3 names accounts by a canonical id of 64 hex digits; ours is derived."""
    return {"ID": hashlib.sha256(f"canonical:{account}".encode()).hexdigest()}
