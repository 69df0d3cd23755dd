"""Trails: which events they want. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

MANAGEMENT, DATA = "Management", "Data"
ENDPOINT = "AWS::SageMaker::Endpoint"
FIELDS = ("eventCategory", "eventName", "eventSource", "readOnly", "resources.type", "resources.ARN")
"""Of an event, that a selector may look at."""


@dataclass(frozen=True)
class FieldSelector:
    """One condition: of each list that is given, some value must hold; of the `not_` ones, none may."""

    field: str
    equals: tuple[str, ...] = ()
    starts_with: tuple[str, ...] = ()
    ends_with: tuple[str, ...] = ()
    not_equals: tuple[str, ...] = ()
    not_starts_with: tuple[str, ...] = ()
    not_ends_with: tuple[str, ...] = ()

    def holds(self, value: str) -> bool:
        """Whether the field's value is wanted."""
        wanted: tuple[tuple[tuple[str, ...], Callable[[str], bool]], ...] = (
            (self.equals, lambda one: value == one),
            (self.starts_with, value.startswith),
            (self.ends_with, value.endswith),
        )
        refused: tuple[tuple[tuple[str, ...], Callable[[str], bool]], ...] = (
            (self.not_equals, lambda one: value == one),
            (self.not_starts_with, value.startswith),
            (self.not_ends_with, value.endswith),
        )
        given = [any(test(one) for one in values) for values, test in wanted if values]
        if given and not any(given):
            return False
        return not any(test(one) for values, test in refused for one in values)


@dataclass(frozen=True)
class Selector:
    """Events for which all conditions hold."""

    name: str
    fields: tuple[FieldSelector, ...]

    def wants(self, event: Mapping[str, str]) -> bool:
        """`event`: its fields by name (FIELDS)."""
        return all(field.holds(event.get(field.field, "")) for field in self.fields)


ALL_MANAGEMENT = Selector("Management events", (FieldSelector("eventCategory", (MANAGEMENT,)),))
"""What a trail wants that says nothing."""


@dataclass(frozen=True)
class TrailSpec:
    """What a user says of a trail."""

    bucket: str
    prefix: str = ""
    selectors: tuple[Selector, ...] = (ALL_MANAGEMENT,)

    def wants(self, event: Mapping[str, str]) -> bool:
        """Whether the trail is told of an event."""
        return any(selector.wants(event) for selector in self.selectors)

    @property
    def wants_data(self) -> bool:
        """Whether it may want invocations."""
        data = {"eventCategory": DATA}
        return any(
            all(f.field != "eventCategory" or f.holds(data["eventCategory"]) for f in one.fields)
            for one in self.selectors
        )
