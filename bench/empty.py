"""A model that costs nothing: what is measured around it is Clary's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from clary.runtimes.base import Input, Joins, Signature


class EmptyModel:
    """Takes anything, answers the same: the least that a runtime can do; see runtimes/base.py."""

    signature = Signature()
    libraries: Mapping[str, str] = MappingProxyType({})
    notes: tuple[str, ...] = ()
    joins = Joins.EXACT

    def decode(self, body: memoryview, content_type: str) -> Input:
        return Input(body, 1, content_type)

    def check_accept(self, accept: str) -> str:
        return accept

    def predict(self, inputs: Sequence[Input]) -> Sequence[bytes]:
        return [b"42.0"] * len(inputs)

    def encode(self, result: bytes, accept: str) -> tuple[bytes, str]:  # noqa: ARG002
        return result, "text/csv; charset=utf-8"

    def probe(self) -> None:
        return None
