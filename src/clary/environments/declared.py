"""What an artifact says it needs, from its files: `python_env.yaml`, `conda.yaml`, `Pipfile.lock`, `requirements.txt`.

Looked for in `code/`, then in the MLflow model's folder or at the artifact's top; in one folder in this order, and the
first that is there counts. Reading runs nothing and fetches nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clary.domain.errors import ArtifactError
from clary.runtimes.mlmodel import NAME as MLMODEL
from clary.runtimes.mlmodel import parse_yaml

FILES = ("python_env.yaml", "conda.yaml", "Pipfile.lock", "requirements.txt")
BYTES_MAX = 1024 * 1024
"""Of one file: more than any list of requirements."""
LINES_MAX = 2000
PYTHON_MIN = (3, 9)
"""What a worker runs on."""

_MOUNT = "/opt/ml/model"
_NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)")
_OPTION = re.compile(r"^(--?[A-Za-z-]+)(?:[ =]\s*|\s*)(.*)$")
_VERSION = re.compile(r"(\d+)\.(\d+)")
_CONDA = re.compile(r"^([A-Za-z0-9._-]+)\s*(?:([=<>!~]+)\s*(.*))?$")
_PATH_OPTIONS = ("-f", "--find-links")
_OPTIONS = (
    *_PATH_OPTIONS,
    *("-i", "--index-url", "--extra-index-url", "--no-index", "--pre", "--prefer-binary"),
    *("--no-binary", "--only-binary", "--trusted-host", "--require-hashes"),
)
_REMEDY = "Correct the file and pack the model again."


@dataclass(frozen=True)
class Declared:
    """What one artifact needs."""

    source: str
    """The file, relative to the artifact: `code/requirements.txt`."""
    requirements: tuple[str, ...]
    """Requirements as pip writes them, local paths absolute."""
    options: tuple[str, ...] = ()
    """Lines that say where packages come from (`--extra-index-url ...`)."""
    constraints: tuple[str, ...] = ()
    python: str = ""
    """`3.10` where the file asks for one; empty where any will do."""
    digest: str = ""
    """Of the contents of local files that requirements name."""
    notes: tuple[str, ...] = ()
    """What was read otherwise than written, for the log."""

    def names(self) -> frozenset[str]:
        """The packages that it names itself, normalised."""
        found = (_NAME.match(line) for line in self.requirements)
        return frozenset(normalised(one[1]) for one in found if one is not None)


def normalised(name: str) -> str:
    """A package's name as indexes compare it: lower case, runs of `-_.` as one dash."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared_by(model_dir: Path, submit: str = "") -> Declared | None:
    """What the artifact in `model_dir` needs; None where it does not say. Raises ArtifactError for a broken file.

    `submit`: SAGEMAKER_SUBMIT_DIRECTORY, where it names a folder of the artifact.
    """
    for folder in _folders(model_dir, submit):
        for name in FILES:
            path = folder / name
            if path.is_file():
                return _Reader(model_dir, folder).read(path)
    return None


def _folders(model_dir: Path, submit: str) -> Iterator[Path]:
    if submit and "://" not in submit:
        inside = (model_dir / submit.removeprefix(_MOUNT).lstrip("/")).resolve()
        if inside.is_relative_to(model_dir.resolve()):
            yield model_dir / inside.relative_to(model_dir.resolve())
    yield model_dir / "code"
    yield model_dir
    if not (model_dir / MLMODEL).is_file():
        yield from sorted(path.parent for path in model_dir.glob(f"*/{MLMODEL}"))[:1]


class _Reader:
    """Reads one file and those that it includes; paths are relative to `folder` and stay within `model_dir`."""

    def __init__(self, model_dir: Path, folder: Path) -> None:
        self._model_dir = model_dir
        self._top = model_dir.resolve()
        self._folder = folder
        self._requirements: list[str] = []
        self._constraints: list[str] = []
        self._options: list[str] = []
        self._notes: list[str] = []
        self._python = ""
        self._contents = hashlib.sha256()
        self._including: list[Path] = []

    def read(self, path: Path) -> Declared:
        """The whole declaration. Raises ArtifactError."""
        self._name = path.relative_to(self._model_dir).as_posix()
        try:
            if path.name == "python_env.yaml":
                self._python_env(parse_yaml(self._bytes(path)))
            elif path.name == "conda.yaml":
                self._conda(parse_yaml(self._bytes(path)))
            elif path.name == "Pipfile.lock":
                self._pipfile(json.loads(self._bytes(path)))
            else:
                self._file(path, self._requirements)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._wrong(f"is not as its kind is written: {error}") from None
        if len(self._requirements) > LINES_MAX:
            raise self._wrong(f"names {len(self._requirements)} requirements; {LINES_MAX} are the most")
        return Declared(
            source=self._name,
            requirements=tuple(self._requirements),
            options=tuple(self._options),
            constraints=tuple(self._constraints),
            python=self._checked_python(),
            digest=self._contents.hexdigest(),
            notes=tuple(self._notes),
        )

    def _wrong(self, what: str) -> ArtifactError:
        return ArtifactError(f"{self._name} {what}.", _REMEDY)

    def _bytes(self, path: Path) -> bytes:
        with path.open("rb") as file:
            raw = file.read(BYTES_MAX + 1)
        if len(raw) > BYTES_MAX:
            raise self._wrong(f"has more than {BYTES_MAX} bytes")
        return raw

    # Each kind of file

    def _python_env(self, document: Any) -> None:
        self._python = str(document.get("python") or "")
        for line in document.get("dependencies") or []:
            self._lines(str(line), self._requirements)

    def _conda(self, document: Any) -> None:
        foreign: list[str] = []
        for entry in document["dependencies"]:
            if isinstance(entry, dict):
                for line in entry.get("pip") or []:
                    self._lines(str(line), self._requirements)
                foreign += [f"a list {name!r}" for name in entry if name != "pip"]
                continue
            found = _CONDA.match(entry.rpartition("::")[2])
            if found is not None and found[1] == "python":
                self._python = (found[3] or "").strip()
            elif found is None or found[1] not in ("pip", "setuptools", "wheel"):
                foreign.append(entry)
        if foreign:
            raise ArtifactError(
                f"{self._name} names packages of conda: {', '.join(foreign[:5])}.",
                "Only Python and the list under `pip:` are served: name these packages there, as PyPI has them.",
            )

    def _pipfile(self, document: Any) -> None:
        self._python = str(document.get("_meta", {}).get("requires", {}).get("python_version") or "")
        for name, told in document["default"].items():
            if "version" not in told:
                raise self._wrong(f"takes {name} from elsewhere than an index, which is not served")
            if not re.fullmatch(_NAME.pattern + "$", name):
                raise self._wrong(f"names {name!r}, which is no package")
            extras = f"[{','.join(told['extras'])}]" if told.get("extras") else ""
            markers = f" ; {told['markers']}" if told.get("markers") else ""
            self._lines(f"{name}{extras}{told['version']}{markers}", self._requirements)
        for source in document.get("_meta", {}).get("sources", []):
            # pipenv calls the public index `pypi`; where that is found is this machine's configuration, not the lock's.
            if source.get("name") != "pypi":
                self._lines(f"--extra-index-url {source['url']}", self._requirements)

    def _file(self, path: Path, into: list[str]) -> None:
        if path in self._including or len(self._including) > 8:
            raise self._wrong(f"includes {path.name} in a circle")
        self._including.append(path)
        text = self._bytes(path).decode("utf-8-sig").replace("\\\n", " ")
        self._lines(text, into)
        self._including.pop()

    # Each line

    def _lines(self, text: str, into: list[str]) -> None:
        """One line of a file, or what a document has as one: no text becomes more lines for uv than were looked at."""
        for line in text.splitlines():
            self._line(line, into)

    def _line(self, line: str, into: list[str]) -> None:
        text = re.sub(r"(^|\s)#.*$", "", line).strip()
        if not text:
            return
        if "${" in text:  # uv would put the server's own variables there, passwords of indexes among them
            raise self._wrong("takes something from the environment (${...}), which is not served")
        if text.startswith("-"):
            self._option(text, into)
        elif text.startswith((".", "/")):
            self._local(self._within(text.partition(";")[0].strip()))
            into.append(str(self._within(text.partition(";")[0].strip())))
        else:
            into.append(text)

    def _option(self, text: str, into: list[str]) -> None:
        found = _OPTION.match(text)
        option, value = (found[1], found[2].strip()) if found else (text, "")
        if option in ("-r", "--requirement"):
            self._file(self._within(value), into)
        elif option in ("-c", "--constraint"):
            self._file(self._within(value), self._constraints)
        elif option in _PATH_OPTIONS and "://" not in value:
            self._local(self._within(value))
            self._options.append(f"{option} {self._within(value)}")
        elif option in _OPTIONS:
            if option != "--require-hashes":
                self._options.append(text)
        else:
            raise self._wrong(f"holds the option {option}, which is not served")

    def _within(self, text: str) -> Path:
        """A path of the artifact. One that leads out of it is refused, and so is an address."""
        path = (self._folder / text).resolve()
        if "://" in text or not path.is_relative_to(self._top):
            raise self._wrong(f"names {text}, which lies outside the artifact")
        if not path.exists():
            raise self._wrong(f"names {text}, which is not in the artifact")
        return path

    def _local(self, path: Path) -> None:
        """Local packages count by their contents: the same name with others is another environment."""
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                with file.open("rb") as opened:
                    digest = hashlib.file_digest(opened, "sha256").hexdigest()
                self._contents.update(f"{file.relative_to(self._top)}\0{digest}\n".encode())

    def _checked_python(self) -> str:
        if not self._python:
            return ""
        found = _VERSION.search(self._python)
        if found is None:
            raise self._wrong(f"asks for Python {self._python!r}, which is no version")
        wanted = (int(found[1]), int(found[2]))
        if wanted < PYTHON_MIN:
            raise ArtifactError(
                f"{self._name} asks for Python {wanted[0]}.{wanted[1]}; workers run on 3.9 and newer.",
                "Save the model again with a newer Python.",
            )
        return f"{wanted[0]}.{wanted[1]}"
