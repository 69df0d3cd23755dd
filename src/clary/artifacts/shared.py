"""Model archives on file systems that this machine has mounted (`file:///...`), below folders the owner allowed."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from clary.domain.errors import ArtifactError

_ALLOW = "Start the server with --model-roots naming a folder above it, or upload the archive with the S3 API."


class FileRoots:
    """Folders whose files may be models. What a link points to counts, not where the link is."""

    def __init__(self, roots: Sequence[Path] = ()) -> None:
        """Absolute folders; none: every `file://` address is refused. One that is not mounted yet may come later."""
        self._roots = roots

    def open(self, url: str) -> BinaryIO:
        """The file's bytes; ArtifactError with cause and remedy."""
        path = path_of(url)
        if not self._roots:
            raise ArtifactError(f"{url!r} is a file, and this server takes models from no folder.", _ALLOW)
        try:
            fd = os.open(self._allowed(path.resolve(strict=True), url), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise ArtifactError(
                f"Could not find model data at {url}.", "Put the archive there (is the file system mounted?)."
            ) from None
        except (OSError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "its links go round in a circle"
            raise ArtifactError(f"Could not read {url}: {reason}.", "Let the server's user read it.") from None
        try:
            # What was opened, not what the name meant a moment ago.
            self._allowed(Path(f"/proc/self/fd/{fd}").readlink(), url)
            _check_regular(fd, url)
        except BaseException:
            os.close(fd)
            raise
        return os.fdopen(fd, "rb")

    def _allowed(self, path: Path, url: str) -> Path:
        """The path, if it lies below a root; ArtifactError."""
        if any(path.is_relative_to(root.resolve()) for root in self._roots):
            return path
        allowed = ", ".join(str(root) for root in self._roots)
        raise ArtifactError(f"{url!r} leads out of the folders that models are taken from ({allowed}).", _ALLOW)


def _check_regular(fd: int, url: str) -> None:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise ArtifactError(f"{url!r} is not a file.", "Name one model.tar.gz: uncompressed model data is not served.")


def is_file_url(url: str) -> bool:
    return url.startswith("file:")


def path_of(url: str) -> Path:
    """The path of `file:///path` or `file://localhost/path`, percent-decoded; ArtifactError."""
    parts = urlsplit(url)
    path = unquote(parts.path)
    if (
        parts.netloc not in ("", "localhost")
        or not path.startswith("/")
        or parts.query
        or parts.fragment
        or "\0" in path
    ):
        raise ArtifactError(f"{url!r} is not the address of a file.", "Use file:///FOLDER/model.tar.gz.")
    return Path(path)
