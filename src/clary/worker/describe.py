"""What a loaded model says of itself: its runtime's word, what the artifact adds, and an example it has answered."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Optional

from clary.domain.signature import (
    EXAMPLE_CHARS_MAX,
    SIGNATURE_FILE,
    Column,
    Example,
    ModelSignature,
    signature_of,
)
from clary.runtimes.base import LoadError, Model, Signature

_FILE_BYTES_MAX = 4 * 1024 * 1024


def of_artifact(model_dir: Path) -> Optional[ModelSignature]:  # noqa: UP045 - Python 3.9
    """The signature that the artifact carries, None where it carries none. LoadError for one that cannot be read."""
    path = model_dir / SIGNATURE_FILE
    if not path.is_file():
        return None
    try:
        with path.open("rb") as source:
            return signature_of(json.loads(source.read(_FILE_BYTES_MAX)))
    except (OSError, ValueError) as error:
        raise LoadError(
            f"{SIGNATURE_FILE} of the artifact cannot be read: {error}.", "Deploy the model again, with its --sample."
        ) from None


def of_runtime(said: Signature) -> ModelSignature:
    """The runtime's own word."""
    width = said.width or len(said.names)
    names = said.names if len(said.names) == width else ("",) * width
    kinds = said.kinds if len(said.kinds) == width else ("number",) * width
    optional = frozenset(said.optional)
    return ModelSignature(
        columns=tuple(Column(name, kind, name not in optional) for name, kind in zip(names, kinds)),
        outputs=said.outputs,
        accepts=said.accepts,
        answers=said.answers,
        json_body=said.json_body,
    )


def merged(runtime: ModelSignature, artifact: Optional[ModelSignature]) -> ModelSignature:  # noqa: UP045
    """The runtime's word, with names and kinds of the artifact's where the two do not contradict each other.

    A sample with another number of columns than the model has is the sample's fault: LoadError.
    """
    if artifact is None:
        return runtime
    if runtime.columns and artifact.columns and len(runtime.columns) != len(artifact.columns):
        raise LoadError(
            f"The sample has {len(artifact.columns)} columns, the model takes {len(runtime.columns)}.",
            "Give a sample of what the model takes: no label, no index, one header line at most.",
        )
    if not runtime.columns:
        return replace(runtime, columns=artifact.columns)
    pairs = zip(runtime.columns, artifact.columns)
    return replace(runtime, columns=tuple(_joined(own, given) for own, given in pairs) or runtime.columns)


def _joined(own: Column, given: Column) -> Column:
    """The model's own word, and where it has none the sample's."""
    if own.kind == "any":
        own = replace(own, kind=given.kind, required=given.required)
    return own if own.name else replace(own, name=given.name)


def answered(model: Model, body: bytes, content_type: str) -> Optional[Example]:  # noqa: UP045
    """One request through the same steps as any, as an example where both bodies are short texts. ModelError."""
    data = model.decode(memoryview(body), content_type)
    accept = model.check_accept("")
    (result,) = model.predict([data])
    answer, answer_type = model.encode(result, accept)
    try:
        example = Example(body.decode("utf-8"), content_type, bytes(answer).decode("utf-8"), answer_type)
    except UnicodeDecodeError:
        return None
    return example if max(len(example.body), len(example.answer)) <= EXAMPLE_CHARS_MAX else None
