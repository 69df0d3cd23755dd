"""What a description means: endpoints with their variants, scaling, rollout, alarms and tags; actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clary.description.schema import Path
from clary.description.source import Source
from clary.domain.errors import Invalid
from clary.domain.objectives import Objective, parse_objective

VARIANT = "AllTraffic"
"""Of an endpoint that is described by a model alone."""
INSTANCE_TYPE = "ml.t3.medium"
_OF_A_VARIANT = ("model", "image", "entry_point", "env", "role", "instances", "instance_type", "scaling")


@dataclass(frozen=True)
class Scaling:
    """By load: either of the two is given."""

    least: int
    most: int
    concurrency: int | None = None
    invocations_per_minute: float | None = None


@dataclass(frozen=True)
class Variant:
    """One model of an endpoint."""

    name: str
    at: Path
    model: str
    image: str | None = None
    entry_point: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    role: str | None = None
    weight: float = 1.0
    instances: int = 1
    """Where it is scaled: at its creation."""
    instance_type: str = INSTANCE_TYPE
    scaling: Scaling | None = None

    @property
    def remote(self) -> bool:
        """The model is an object already."""
        return self.model.startswith("s3://")


@dataclass(frozen=True)
class Alarm:
    """An alarm on an endpoint."""

    name: str
    variant: str
    objective: Objective
    actions: tuple[str, ...] = ()
    ok_actions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Endpoint:
    """An endpoint."""

    name: str
    at: Path
    variants: tuple[Variant, ...]
    rollout: Mapping[str, Any] | None = None
    """Words of a policy, as they are given."""
    alarms: tuple[Alarm, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Action:
    """A command, or a webhook."""

    name: str
    command: tuple[str, ...] = ()
    url: str = ""
    timeout_s: float = 60.0
    retries: int = 2
    role: str = ""


@dataclass(frozen=True)
class Wanted:
    """All that a description says."""

    name: str = ""
    """Empty: it cannot prune."""
    endpoints: tuple[Endpoint, ...] = ()
    actions: tuple[Action, ...] = ()


def wanted(source: Source) -> Wanted:
    """What a description means. DescriptionError for what its schema cannot tell."""
    document = source.document
    return Wanted(
        name=document.get("name", ""),
        endpoints=tuple(_endpoint(source, name, one) for name, one in document.get("endpoints", {}).items()),
        actions=tuple(_action(source, name, one) for name, one in document.get("actions", {}).items()),
    )


def _endpoint(source: Source, name: str, document: Mapping[str, Any]) -> Endpoint:
    at: Path = ("endpoints", name)
    own = [field for field in _OF_A_VARIANT if field in document]
    if "variants" in document and own:
        raise source.fault((*at, own[0]), f"endpoints.{name} has variants, so {own[0]!r} belongs to each of them")
    if "variants" in document:
        members = document["variants"]
        variants = tuple(_variant(source, each, one, (*at, "variants", each)) for each, one in members.items())
    elif "model" in document:
        variants = (_variant(source, VARIANT, {key: document[key] for key in own}, at),)
    else:
        variants = ()
    if not variants:
        raise source.fault(at, f"endpoints.{name} needs a model, or variants")
    alarms = tuple(
        _alarm(source, name, variants, key, one, (*at, "alarms", key))
        for key, one in document.get("alarms", {}).items()
    )
    return Endpoint(name, at, variants, document.get("rollout"), alarms, document.get("tags", {}))


def _variant(source: Source, name: str, document: Mapping[str, Any], at: Path) -> Variant:
    found = Variant(
        name=name,
        at=at,
        **{key: value for key, value in document.items() if key not in ("scaling", "instances")},
        scaling=_scaling(source, document["scaling"], (*at, "scaling")) if "scaling" in document else None,
        instances=document.get("instances", max(1, document.get("scaling", {}).get("min", 1))),
    )
    if found.scaling is not None and "instances" in document:
        raise source.fault((*at, "instances"), "'instances' cannot be given beside 'scaling', which sets them")
    if found.remote and found.image is None:
        raise source.fault((*at, "model"), f"the model {found.model} is an object, so 'image' must be given")
    if found.remote and found.entry_point is not None:
        raise source.fault((*at, "entry_point"), "'entry_point' is for a model that is a path")
    return found


def _scaling(source: Source, document: Mapping[str, Any], at: Path) -> Scaling:
    found = Scaling(
        document["min"], document["max"], document.get("concurrency"), document.get("invocations_per_minute")
    )
    if (found.concurrency is None) == (found.invocations_per_minute is None):
        raise source.fault(at, "scaling needs either 'concurrency' or 'invocations_per_minute'")
    if found.least > found.most:
        raise source.fault((*at, "min"), f"'min' is {found.least}, above 'max', which is {found.most}")
    return found


def _alarm(
    source: Source, endpoint: str, variants: tuple[Variant, ...], key: str, document: Mapping[str, Any], at: Path
) -> Alarm:
    names = [variant.name for variant in variants]
    variant = document.get("variant", names[0] if len(names) == 1 else None)
    if variant not in names:
        raise source.fault(at, f"the alarm {key!r} needs a 'variant' of the endpoint: {', '.join(names)}")
    try:
        objective = parse_objective(document["objective"])
    except Invalid as error:
        raise source.fault((*at, "objective"), error.message) from None
    told = (tuple(document.get("actions", ())), tuple(document.get("ok_actions", ())))
    return Alarm(f"{endpoint}-{key}", variant, objective, *told)


def _action(source: Source, name: str, document: Mapping[str, Any]) -> Action:
    if ("command" in document) == ("webhook" in document):
        raise source.fault(("actions", name), f"the action {name!r} needs either 'command' or 'webhook'")
    more = {key: document[key] for key in ("timeout_s", "retries", "role") if key in document}
    return Action(name, tuple(document.get("command", ())), document.get("webhook", ""), **more)
