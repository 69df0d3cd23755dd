"""The operations that are served, and how each input field of theirs is treated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from clary.edge.aws.operation import Field, Operation
from clary.edge.aws.spec import Spec
from clary.edge.aws.validate import lower_first


class Registry:
    """Operations by service and name. ValueError for two of one name or one that its service lacks."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._operations: dict[tuple[str, str], Operation] = {}
        for operation in operations:
            key = (operation.service, operation.name)
            if key in self._operations:
                raise ValueError(f"{operation.name} of {operation.service} is given twice")
            self._operations[key] = operation

    def find(self, service: str, name: str) -> Operation | None:
        """The operation, None where it is not served."""
        return self._operations.get((service, name))

    def __iter__(self) -> Iterator[Operation]:
        return iter(self._operations.values())


def ancestors(path: str) -> Iterator[str]:
    """A field path and all above it, the nearest first: `A[].B`, `A[]`, `A`."""
    while path:
        yield path
        path = path[:-2] if path.endswith(("[]", "{}")) else path.rpartition(".")[0]


def entry_of(operation: Operation, path: str) -> str | None:
    """The listed path that speaks for a field: itself or the nearest above it."""
    return next((found for found in ancestors(path) if found in operation.fields), None)


def treatment(operation: Operation, path: str) -> Field | None:
    """How a field is treated; None for one that nobody listed."""
    entry = entry_of(operation, path)
    return operation.fields[entry] if entry is not None else None


def paths(shape: Shape | None) -> Iterator[str]:
    """Every field path of an input shape, parents before children; a structure within itself is not entered again."""
    if isinstance(shape, StructureShape):
        yield from _structure_paths(shape, "", (shape.name,))


def _structure_paths(shape: StructureShape, prefix: str, within: tuple[str, ...]) -> Iterator[str]:
    for name, member in shape.members.items():
        yield prefix + name
        path, inner = prefix + name, member
        while isinstance(inner, (ListShape, MapShape)):
            path += "[]" if isinstance(inner, ListShape) else "{}"
            inner = inner.member if isinstance(inner, ListShape) else inner.value
        if isinstance(inner, StructureShape) and inner.name not in within:
            yield from _structure_paths(inner, path + ".", (*within, inner.name))


def problems(operation: Operation, spec: Spec) -> list[str]:
    """What is wrong with an operation's table of fields: unlisted, unknown, or refused without a reason."""
    model = spec.operation(operation.service, operation.name)
    where = f"{operation.service} {operation.name}"
    if model is None:
        return [f"{where}: the service has no such operation"]
    known = list(paths(model.input_shape))
    listed = set(operation.fields)
    found = [f"{where}: {path} is not listed" for path in known if entry_of(operation, path) is None]
    possible = {ancestor for path in known for ancestor in (path, f"{path}[]", f"{path}{{}}")}
    found += [f"{where}: {path} is not a field of the operation" for path in listed | set(operation.notes)
              if path not in possible]  # fmt: skip
    found += [
        f"{where}: {path} is {how.value} without a reason in notes"
        for path, how in operation.fields.items()
        if how is not Field.SERVED and not operation.notes.get(path)
    ]
    return found


def refused(operation: Operation, members: Mapping[str, Any], shape: Shape | None) -> tuple[str, str] | None:
    """The first given field that is refused, as the services spell paths, and the note; None where there is none.

    Empty lists, maps and texts, and False, say nothing and are not refused: SDKs send them for what was left out.
    """
    if Field.REFUSED not in operation.fields.values() or not isinstance(shape, StructureShape):
        return None
    return next(_refused_in(operation, members, shape, "", ""), None)


def _refused_in(
    operation: Operation, members: Mapping[str, Any], shape: StructureShape, prefix: str, shown: str
) -> Iterator[tuple[str, str]]:
    for name, value in members.items():
        member = shape.members[name]
        yield from _refused_value(operation, value, member, prefix + name, shown + lower_first(name))


def _refused_value(operation: Operation, value: Any, shape: Shape, path: str, shown: str) -> Iterator[tuple[str, str]]:
    if value is None or value is False or value in ("", [], {}):
        return
    entry = entry_of(operation, path)
    if entry is not None and operation.fields[entry] is Field.REFUSED:
        # A served child of a refused parent is allowed to be given alone.
        if not any(child.startswith((path + ".", path + "[", path + "{")) for child in operation.fields):
            yield shown, operation.notes.get(entry, "")
            return
        if not isinstance(shape, (StructureShape, ListShape, MapShape)):
            yield shown, operation.notes.get(entry, "")
            return
    if isinstance(shape, StructureShape) and not shape.is_document_type:
        yield from _refused_in(operation, value, shape, path + ".", shown + ".")
    elif isinstance(shape, ListShape):
        for number, item in enumerate(value, 1):
            yield from _refused_value(operation, item, shape.member, path + "[]", f"{shown}.{number}.member")
    elif isinstance(shape, MapShape):
        for key, item in value.items():
            yield from _refused_value(operation, item, shape.value, path + "{}", f"{shown}.{key}.member")
