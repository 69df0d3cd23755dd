"""What a runtime is: the one interface between a worker and a kind of model.

A runtime module imports its library inside functions or at its own top; nothing else imports that library.
Python 3.9 syntax: these files run in a model's own environment.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Hashable, Mapping, Protocol, Sequence  # noqa: UP035 - Python 3.9


class Joins(enum.Enum):
    """Whether rows of several requests may be predicted together."""

    EXACT = "exact"
    """The same bits either way (trees, nearest neighbours): requests are joined into one predict."""
    ROUNDING = "rounding"
    """The last bits depend on the batch size (BLAS): one predict a request."""
    NEVER = "never"
    """Unknown code: at most one request at a time in a replica."""


@dataclass(frozen=True)
class Signature:
    """What a model takes, as far as the artifact tells."""

    width: int | None = None
    """Features of a row; None where the artifact does not say."""
    names: tuple[str, ...] = ()
    """Feature names in order; empty where unknown."""
    outputs: int | None = None
    """Values of one answered row; None where unknown."""
    kinds: tuple[str, ...] = ()
    """What each column holds, as JSON Schema names it: number, integer, string, boolean, or any. Empty: numbers, as
    far as is known."""
    optional: tuple[str, ...] = ()
    """Names of columns that a row may leave out."""
    accepts: tuple[str, ...] = ()
    """Content types taken, the usual one first; empty where the runtime does not say."""
    answers: tuple[str, ...] = ()
    """Types answered."""
    json_body: str = ""
    """Form of a JSON body for docs and refusals: `rows` (lists of values), `records` (objects by column), `mlflow`
    (its scoring protocol), or empty for whatever the model makes of it."""


@dataclass(frozen=True)
class LoadOptions:
    """What a model is loaded with."""

    model_dir: Path
    """The unpacked artifact, read-only."""
    image_tag: str
    """Version tag of the container image (`1.7-1`): selects documented behaviour, not the library."""
    env: Mapping[str, str] = field(default_factory=dict)
    """ContainerDefinition.Environment."""
    threads: int = 1
    """Threads one predict may use."""


class ModelError(Exception):
    """The model refuses or fails a request: answered with `status` and `message` as the real container does."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class LoadError(Exception):
    """The artifact cannot serve. `cause` and `remedy` end in the endpoint's FailureReason."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"{cause} {remedy}")
        self.cause = cause
        self.remedy = remedy


@dataclass(frozen=True)
class Input:
    """One decoded request. Inputs with equal `key` may be joined where the runtime joins."""

    data: Any
    """The runtime's own array or value; for joining runtimes its first axis is rows."""
    rows: int
    key: Hashable
    """Dtype, width, names: whatever must be equal for one predict to serve both."""


class Model(Protocol):
    """A loaded model. Called from one thread only."""

    signature: Signature
    libraries: Mapping[str, str]
    """Library name to version, as loaded; reported by the worker."""
    joins: Joins
    """What holds for this loaded model: a runtime whose `joins` is EXACT may load a model that is not (a linear
    booster). The worker joins by this, never by the runtime's own; see `joins_of`."""
    notes: Sequence[str]
    """Sentences worth a line in the replica's log: an older library wrote the artifact, a file was passed over."""

    def decode(self, body: memoryview, content_type: str) -> Input:
        """Bytes to an Input. Raises ModelError 204 (empty body), 415 (type or content) or 400."""
        ...

    def check_accept(self, accept: str) -> str:
        """The type that will be answered. Raises ModelError 406 before any predict is spent."""
        ...

    def predict(self, inputs: Sequence[Input]) -> Sequence[Any]:
        """One result for each input, from one predict over all their rows. Raises ModelError for bad data."""
        ...

    def encode(self, result: Any, accept: str) -> tuple[bytes, str]:
        """A result as (body, content type); `accept` came from `check_accept`."""
        ...

    def probe(self) -> tuple[bytes, str] | None:
        """A harmless request (body, content type) for the contract check, or None where the width is unknown."""
        ...


class Runtime(Protocol):
    """A kind of model."""

    name: str
    """`xgboost`, `sklearn`, ...: what `--runtime` and the logs say."""
    joins: Joins
    pure: bool
    """True where a request may be predicted twice without harm: no user code runs."""
    modules: tuple[str, ...]
    """Imported by the zygote before any fork."""

    def load(self, options: LoadOptions) -> Model:
        """Load from disk, ready to predict. Raises LoadError with cause and remedy."""
        ...


_FREEDOM = {Joins.NEVER: 0, Joins.ROUNDING: 1, Joins.EXACT: 2}


def joins_of(runtime: Runtime, model: Model) -> Joins:
    """How requests to `model` may be joined: its own word, never freer than its runtime's."""
    return min(runtime.joins, model.joins, key=_FREEDOM.__getitem__)
