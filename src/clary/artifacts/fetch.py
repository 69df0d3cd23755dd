"""ModelDataUrl -> a pinned artifact. Blocking: called on threads."""

from __future__ import annotations

import contextlib
import io
import re
import tarfile
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import BinaryIO

from clary.artifacts.base import Limits, Pinned, Source
from clary.artifacts.local import PinnedStore
from clary.artifacts.shared import FileRoots, is_file_url
from clary.domain.errors import ArtifactError, DomainError, NotFound
from clary.domain.model import SUBMIT_DIRECTORY

_URL = re.compile(r"s3://(?P<bucket>[^/]+)/(?P<key>.+)", re.DOTALL)
_LISTED_KEYS_MAX = 5


class _Flight:
    """One fetch and how many wait for it."""

    def __init__(self) -> None:
        self.result: Future[Pinned] = Future()
        self.callers = 0


class Artifacts:
    """Fetches and pins. Several threads that want one URL at once share one fetch."""

    def __init__(
        self, root: Path, source: Source, limits: Limits | None = None, files: FileRoots | None = None
    ) -> None:
        """`files`: from where `file://` is taken; None: from nowhere."""
        self._pins = PinnedStore(root, limits or Limits())
        self._source = source
        self._files = files or FileRoots()
        self._lock = threading.Lock()
        self._flying: dict[str, _Flight] = {}

    def fetch(self, artifact: str) -> Pinned:
        """Stream the archive, unpack and pin it. Raises ArtifactError with cause and remedy.

        `artifact`: the URL of model data; after a line feed, that of the scripts to put into its `code/`
        (domain.model.Container.artifact).

        The URL is read anew by each call that finds no other under way: its object may have changed. Whoever needs the
        same bytes again keeps the digest and asks `path_of`.
        """
        with self._lock:
            flight = self._flying.get(artifact)
            mine = flight is None
            if flight is None:
                flight = self._flying[artifact] = _Flight()
            flight.callers += 1
        if mine:
            self._fly(artifact, flight)
        return flight.result.result()

    def waiting(self, model_data_url: str) -> int:
        """Threads that a fetch under way will answer; 0 where none is."""
        with self._lock:
            flight = self._flying.get(model_data_url)
            return flight.callers if flight is not None else 0

    def path_of(self, digest: str) -> Path | None:
        """The folder of a pinned artifact, or None."""
        return self._pins.path_of(digest)

    def intact(self, digest: str) -> bool:
        """Whether a pinned artifact's bytes still match its digest."""
        return self._pins.intact(digest)

    def sweep(self, keep: set[str]) -> set[str]:
        """Forget every pinned artifact not in `keep`; returns what was removed. Nothing is fetching meanwhile."""
        return self._pins.sweep(keep)

    def _fly(self, url: str, flight: _Flight) -> None:
        """Fetch, and leave the outcome, good or bad, for all who wait."""
        try:
            pinned = self._fetch(url)
        except BaseException as error:
            self._land(url)
            flight.result.set_exception(error)
        else:
            self._land(url)
            flight.result.set_result(pinned)

    def _land(self, url: str) -> None:
        with self._lock:
            del self._flying[url]

    def _fetch(self, artifact: str) -> Pinned:
        url, _, scripts_url = artifact.partition("\n")
        with self._open(url) as stream:
            if not scripts_url:
                return self._pins.pin(stream, url)
            with self._scripts(scripts_url) as scripts:
                return self._pins.pin(stream, url, scripts)

    def _open(self, url: str) -> BinaryIO:
        if is_file_url(url):
            return self._files.open(url)
        if not url:
            return io.BytesIO(_nothing())
        bucket, key = parse_url(url)
        try:
            return self._source.open(bucket, key)
        except NotFound as error:
            raise self._missing(url, bucket, key, error) from None

    def _scripts(self, url: str) -> BinaryIO:
        try:
            return self._open(url)
        except ArtifactError as error:
            cause = f"{SUBMIT_DIRECTORY}: {error.cause.replace('model data', 'scripts')}"
            remedy = error.remedy.replace("ModelDataUrl", SUBMIT_DIRECTORY).replace("model.tar.gz", "sourcedir.tar.gz")
            raise ArtifactError(cause, remedy) from None

    def _missing(self, url: str, bucket: str, key: str, error: NotFound) -> ArtifactError:
        """Which of bucket and key is not there, with the nearest keys that are."""
        if error.kind == "bucket":
            return ArtifactError(
                f"Could not find model data at {url}: there is no bucket {bucket!r}.",
                "Create the bucket and upload the artifact, or correct ModelDataUrl.",
            )
        folder = key.rpartition("/")[0]
        near: list[str] = []
        # A hint, no more: whoever may read an object need not be allowed to list its bucket.
        with contextlib.suppress(DomainError):
            for found in self._source.list(bucket, folder + "/" if folder else ""):
                near.append(f"s3://{bucket}/{found.key}")
                if len(near) == _LISTED_KEYS_MAX:
                    break
        hint = f" There are: {', '.join(near)}." if near else ""
        return ArtifactError(
            f"Could not find model data at {url}.", f"Upload the artifact there, or correct ModelDataUrl.{hint}"
        )


def _nothing() -> bytes:
    """An archive that holds one empty file: the artifact of a model that brings none (a server of the user's own)."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("no-model-data"))
    return packed.getvalue()


def parse_url(url: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`; ArtifactError for anything else, a prefix among them."""
    found = _URL.fullmatch(url)
    if found is None:
        raise ArtifactError(
            f"{url!r} is not a model data URL.", "Use s3://BUCKET/KEY or file:///FOLDER/... of a model.tar.gz."
        )
    if found["key"].endswith("/"):
        raise ArtifactError(
            f"{url!r} is a prefix, not an object.", "Name one model.tar.gz: uncompressed model data is not served."
        )
    return found["bucket"], found["key"]
