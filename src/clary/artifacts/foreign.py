"""Buckets of another object store (S3, MinIO, Ceph, ...) as source of artifacts and target of outputs. Blocking.

obstore speaks to it; credentials come from the AWS credential chain (botocore), never from the URL. Every call ends
within bounded time, and a store that does not answer is an ArtifactError: what is pinned already is served on.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn
from urllib.parse import parse_qsl, urlsplit

from clary.domain.errors import ArtifactError, NotFound

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from obstore.store import S3Credential

EVERY_BUCKET = "*"
_PARAMETERS = ("endpoint", "region", "profile")
_BUCKET = re.compile(r"\*|[a-z0-9][a-z0-9._-]{1,253}")
_CHUNK_BYTES = 1024 * 1024
_PART_BYTES = 16 * 1024 * 1024
"""Of an upload: 10,000 parts of it are 160 GB."""
_CONNECT_S = 5
_READ_S = 30
"""Between two bytes: an object of any length may come, a silent store not."""
_RETRY_S = 20
_RETRIES = 8
_CREDENTIALS_S = 15 * 60


@dataclass(frozen=True)
class Mount:
    """One `--object-store` address: which bucket lies elsewhere, and where."""

    bucket: str
    """A bucket's name, or EVERY_BUCKET."""
    endpoint: str
    """`http(s)://host[:port]`; empty: AWS itself."""
    region: str = "us-east-1"
    profile: str = ""
    """Of ~/.aws; empty: the credential chain's default."""

    def __str__(self) -> str:
        """As it is written on the command line."""
        given = {"endpoint": self.endpoint, "region": self.region, "profile": self.profile}
        return f"s3://{self.bucket}?" + "&".join(f"{name}={value}" for name, value in given.items() if value)

    @property
    def place(self) -> str:
        """For people."""
        return self.endpoint or f"https://s3.{self.region}.amazonaws.com"


def parse_mount(text: str) -> Mount:
    """`s3://BUCKET[?endpoint=URL&region=REGION&profile=NAME]`; ValueError saying what is wrong."""
    parts = urlsplit(text)
    if parts.scheme != "s3" or not _BUCKET.fullmatch(parts.netloc) or parts.path not in ("", "/") or parts.fragment:
        raise ValueError(f"holds {text!r}, which is not of the form s3://BUCKET?endpoint=http://HOST:PORT")
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in given:
        if name not in _PARAMETERS:
            raise ValueError(f"holds {name!r}, which no object store takes; there are: {', '.join(_PARAMETERS)}")
    endpoint = given.get("endpoint", "").rstrip("/")
    where = urlsplit(endpoint)
    if endpoint and (where.scheme not in ("http", "https") or not where.hostname or where.query or where.username):
        raise ValueError(f"holds the endpoint {endpoint!r}; give http://HOST:PORT or https://HOST, without credentials")
    return Mount(parts.netloc, endpoint, given.get("region") or "us-east-1", given.get("profile", ""))


class ForeignStore:
    """The buckets of one mount. Thread-safe."""

    def __init__(self, mount: Mount, credentials: Callable[[], S3Credential] | None = None) -> None:
        """`credentials`: a provider as obstore takes it; None: the AWS credential chain.

        Raises ArtifactError where obstore is not installed.
        """
        try:
            import obstore
        except ImportError:
            raise ArtifactError(
                "--object-store needs the package obstore.", "Install it: pip install 'clary[s3]'."
            ) from None
        self._obstore = obstore
        self.mount = mount
        self._credentials = credentials or _Chain(mount)

    def holds(self, bucket: str) -> bool:
        """Whether a bucket lies here."""
        return self.mount.bucket in (EVERY_BUCKET, bucket)

    def open(self, bucket: str, key: str) -> BinaryIO:
        """The object's bytes from its start. Raises NotFound for a missing bucket or key, ArtifactError."""
        try:
            found = self._obstore.get(self._store(bucket), key)
            chunks = found.stream(min_chunk_size=_CHUNK_BYTES)
        except (self._obstore.exceptions.BaseError, ValueError, OSError) as error:
            self._refuse(error, bucket, key)
        return io.BufferedReader(_Stream(iter(chunks), lambda error: self._refuse(error, bucket, key)), _CHUNK_BYTES)

    def list(self, bucket: str, prefix: str) -> Iterator[Found]:
        """Objects whose keys start with `prefix`, in order. Raises NotFound for a missing bucket, ArtifactError."""
        # obstore's prefixes are folders; what S3 means is the beginning of a key.
        store, folder = self._store(bucket), prefix.rpartition("/")[0]
        try:
            for page in self._obstore.list(store, folder or None):
                for one in page:
                    path = one["path"]
                    if path.startswith(prefix) and (one["size"] > 0 or self._is_object(store, path)):
                        yield Found(path)
        except (self._obstore.exceptions.BaseError, ValueError, OSError) as error:
            self._refuse(error, bucket, prefix)

    def put(self, bucket: str, key: str, source: Iterable[bytes]) -> object:
        """Write an object, whole or not at all. Raises NotFound for a missing bucket, ArtifactError."""
        try:
            return self._obstore.put(
                self._store(bucket), key, iter(source), use_multipart=True, chunk_size=_PART_BYTES, max_concurrency=2
            )
        except (self._obstore.exceptions.BaseError, ValueError, FileNotFoundError) as error:
            self._refuse(error, bucket, key)

    def _is_object(self, store: Any, path: str) -> bool:
        """Whether an empty entry is an object: a marker of a folder (`a/`), which consoles make, is listed as `a`."""
        try:
            self._obstore.head(store, path)
        except FileNotFoundError:
            return False
        return True

    def _store(self, bucket: str) -> Any:
        from obstore.store import S3Store

        return S3Store(
            bucket,
            endpoint=self.mount.place,
            region=self.mount.region,
            virtual_hosted_style_request=False,
            credential_provider=self._credentials,
            client_options={
                "allow_http": self.mount.endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=_CONNECT_S),
                "read_timeout": timedelta(seconds=_READ_S),
                "timeout": timedelta(days=1),
            },
            retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_RETRY_S)},
        )

    def _refuse(self, error: Exception, bucket: str, key: str) -> NoReturn:
        """The domain's error for one of obstore's."""
        known, text = self._obstore.exceptions, str(error)
        if isinstance(error, FileNotFoundError) or "NoSuchBucket" in text:
            kind = "bucket" if "NoSuchBucket" in text else "object"
            name = bucket if kind == "bucket" else key
            raise NotFound(kind, name, f"arn:aws:s3:::{bucket}" + ("" if kind == "bucket" else f"/{key}")) from None
        where = f"s3://{bucket}/{key} at {self.mount.place}"
        if isinstance(error, (known.PermissionDeniedError, known.UnauthenticatedError)):
            raise ArtifactError(
                f"The object store refused {where}: {_first_line(text)}",
                "Give the server's AWS credentials (environment or profile) the right to read and write there.",
            ) from None
        if isinstance(error, (known.InvalidPathError, ValueError)):
            raise ArtifactError(
                f"The key of {where} cannot be used: {_first_line(text)}", "Use keys without empty segments."
            ) from None
        raise ArtifactError(
            f"The object store did not deliver {where}: {_first_line(text)}",
            "Try again once it answers; what is loaded already is served meanwhile.",
        ) from None


@dataclass(frozen=True)
class Found:
    """One object of a listing."""

    key: str


class _Stream(io.RawIOBase):
    """Chunks as they come, as a file."""

    def __init__(self, chunks: Iterator[Any], refuse: Callable[[Exception], NoReturn]) -> None:
        self._chunks = chunks
        self._refuse = refuse
        self._held = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        while not self._held:
            try:
                chunk = next(self._chunks, None)
            except Exception as error:
                self._refuse(error)
            if chunk is None:
                return 0
            self._held = memoryview(chunk)
        view = memoryview(buffer).cast("B")
        count = min(len(view), len(self._held))
        view[:count] = self._held[:count]
        self._held = self._held[count:]
        return count


class _Chain:
    """AWS credentials of this process: environment, profile, role of the machine; renewed by botocore."""

    def __init__(self, mount: Mount) -> None:
        self._mount = mount
        self._found: Any = None

    def __call__(self) -> S3Credential:
        if self._found is None:
            import botocore.session

            session = botocore.session.Session(profile=self._mount.profile or None)
            self._found = session.get_credentials()
        if self._found is None:
            raise OSError("no AWS credentials were found in the server's environment")
        frozen = self._found.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + timedelta(seconds=_CREDENTIALS_S),
        }


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:300] if text.strip() else "no reason given"
