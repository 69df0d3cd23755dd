"""The difference between what is wanted and what runs, field by field. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Value = str | int | float | None
Facts = Mapping[str, Value]
"""Dotted names of fields and their values; None is as good as absent."""


class Kind(enum.StrEnum):
    """What there can be, in the order in which it is changed."""

    ACTION = "action"
    ENDPOINT = "endpoint"
    SCALING = "scaling"
    ALARM = "alarm"


class Deed(enum.StrEnum):
    """What becomes of it."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True)
class Field:
    """One field that differs."""

    name: str
    old: Value
    new: Value


@dataclass(frozen=True)
class Change:
    """What is to be done about one thing."""

    deed: Deed
    kind: Kind
    name: str
    fields: tuple[Field, ...] = ()


Things = Mapping[tuple[Kind, str], Facts]


def differences(want: Things, have: Things, surplus: Sequence[tuple[Kind, str]] = ()) -> list[Change]:
    """What turns `have` into `want`, in the order to do it; `surplus` goes. Of equal things nothing."""
    changes = []
    for kind in Kind:
        for (each, name), facts in want.items():
            if each is not kind:
                continue
            old = have.get((kind, name))
            fields = _fields(facts, old or {})
            if old is None or fields:
                changes.append(Change(Deed.CREATE if old is None else Deed.UPDATE, kind, name, fields))
    gone = [Change(Deed.DELETE, kind, name) for kind, name in surplus]
    return [*changes, *sorted(gone, key=lambda change: (list(Kind).index(change.kind), change.name), reverse=True)]


def _fields(new: Facts, old: Facts) -> tuple[Field, ...]:
    names = dict.fromkeys([*new, *old])
    return tuple(Field(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name))
