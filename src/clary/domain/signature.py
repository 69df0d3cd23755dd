"""What a model takes and gives, as its replicas tell it: for pages, for schemas, and for refusals that name a column.

Written by a worker into its report, and by `clary deploy --sample` into the artifact; read by both sides of the wire.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Mapping, Optional  # noqa: UP035 - Python 3.9

SIGNATURE_FILE = ".clary/signature.json"
"""Where an artifact carries a signature of its own, with a sample request."""
KINDS = ("number", "integer", "string", "boolean", "any")
"""What a column may hold, as JSON Schema names it; `any` where nobody knows."""
COLUMNS_MAX = 10_000
EXAMPLE_CHARS_MAX = 8_192
"""Of each of an example's two bodies; a longer one is no example."""


@dataclass(frozen=True)
class Column:
    """One value of a row."""

    name: str
    """Empty where columns go by place only."""
    kind: str = "number"
    required: bool = True
    """False: a row may leave it out or blank."""


@dataclass(frozen=True)
class Example:
    """A request that the model answered while it was loaded, and that answer. Both are text."""

    body: str
    content_type: str
    answer: str = ""
    answer_type: str = ""


@dataclass(frozen=True)
class ModelSignature:
    """All that is known; nothing of it need be."""

    columns: tuple[Column, ...] = ()
    outputs: Optional[int] = None  # noqa: UP045 - Python 3.9
    """Values of one answered row."""
    accepts: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    json_body: str = ""
    """See runtimes.base.Signature."""
    example: Optional[Example] = None  # noqa: UP045

    @property
    def named(self) -> bool:
        """Whether columns go by name."""
        return any(column.name for column in self.columns)

    def to_json(self) -> dict[str, object]:
        """The form that `signature_of` reads."""
        return asdict(self)


def signature_of(document: object) -> ModelSignature:
    """What a JSON document says; parts of it that are no signature's are passed over, those that cannot be left out."""
    if not isinstance(document, Mapping):
        return ModelSignature()
    raw_columns = document.get("columns")
    columns = tuple(_column(one) for one in raw_columns[:COLUMNS_MAX]) if isinstance(raw_columns, (list, tuple)) else ()
    outputs = document.get("outputs")
    return ModelSignature(
        columns=columns,
        outputs=outputs if isinstance(outputs, int) else None,
        accepts=_texts(document.get("accepts")),
        answers=_texts(document.get("answers")),
        json_body=_text(document.get("json_body")),
        example=_example(document.get("example")),
    )


def _column(document: object) -> Column:
    if not isinstance(document, Mapping):
        return Column("", "any")
    kind = _text(document.get("kind")) or "number"
    return Column(
        _text(document.get("name")), kind if kind in KINDS else "any", document.get("required", True) is not False
    )


def _example(document: object) -> Optional[Example]:  # noqa: UP045
    if not isinstance(document, Mapping):
        return None
    return Example(
        _text(document.get("body")),
        _text(document.get("content_type")),
        _text(document.get("answer")),
        _text(document.get("answer_type")),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, (list, tuple)) else ()
