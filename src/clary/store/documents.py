"""Specifications as versioned JSON documents: `{"version": 1, "spec": {...}}`."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from clary.store.base import StoreFormatError

Spec = TypeVar("Spec")
VERSION = 1


class _Envelope(msgspec.Struct):
    version: int
    spec: msgspec.Raw


def pack(spec: object) -> str:
    """A frozen dataclass of the domain as a document."""
    return msgspec.json.encode({"version": VERSION, "spec": spec}).decode()


def unpack(document: str, kind: type[Spec]) -> Spec:
    """The dataclass again. Raises StoreFormatError for a version that this Clary does not know."""
    envelope = msgspec.json.decode(document, type=_Envelope)
    if envelope.version != VERSION:
        raise StoreFormatError(f"a stored {kind.__name__} has version {envelope.version}; this Clary reads {VERSION}")
    return msgspec.json.decode(envelope.spec, type=kind)
