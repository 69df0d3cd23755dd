"""What a description may hold, as JSON Schema, and the check against it.

`faults` serves what SCHEMA uses of JSON Schema and no more: type, properties, required, additionalProperties,
propertyNames, items, minItems, minimum, pattern.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[str | int, ...]
"""Names of fields and places in lists, from the top."""
Schema = Mapping[str, Any]

_NAME = r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$"


def _text(words: str, **more: object) -> dict[str, Any]:
    return {"type": "string", "description": words, **more}


def _object(words: str, properties: Schema, *required: str) -> dict[str, Any]:
    need = {"required": list(required)} if required else {}
    return {"type": "object", "description": words, "properties": properties, "additionalProperties": False, **need}


def _by_name(words: str, value: Schema, **more: object) -> dict[str, Any]:
    return {"type": "object", "description": words, "additionalProperties": value, **more}


def _texts(words: str) -> dict[str, Any]:
    return {"type": "array", "description": words, "items": {"type": "string"}, "minItems": 1}


_SCALING = _object(
    "How many replicas, by load; instead of instances. With concurrency or invocations_per_minute.",
    {
        "min": {"type": "integer", "minimum": 0, "description": "At least so many replicas."},
        "max": {"type": "integer", "minimum": 1, "description": "At most."},
        "concurrency": {
            "type": "integer",
            "minimum": 1,
            "description": "Requests at once for each replica, as `clary scale` takes it.",
        },
        "invocations_per_minute": {
            "type": "number",
            "minimum": 0.001,
            "description": "A target-tracking policy: requests a minute for each replica.",
        },
    },
    "min",
    "max",
)
_VARIANT: dict[str, Any] = {
    "model": _text("A path, relative to the description, as `clary deploy` takes it, or an s3:// address of a tar.gz."),
    "image": _text("Image to serve with. By what the files are, where not given; with an s3:// address it must be."),
    "entry_point": _text("Script with model_fn, as for `clary deploy`; of a path only."),
    "env": _by_name("Variables of the model's environment.", {"type": "string"}),
    "role": _text("Execution role of the model; its ARN. Not compared."),
    "instances": {"type": "integer", "minimum": 1, "description": "Replicas; 1 where not given."},
    "instance_type": _text("Size of each; ml.t3.medium where not given.", pattern=r"^ml\.[a-z0-9.-]+$"),
    "scaling": _SCALING,
}
_WEIGHTED = {
    **_VARIANT,
    "weight": {"type": "number", "minimum": 0, "description": "Its part of the traffic; 1 where not given."},
}
_ROLLOUT = _object(
    "How a change of the models goes, as for `clary rollout`; all at once without a bake where not given.",
    {
        "canary": _text("First this part of the traffic, then all: 10%."),
        "linear": _text("So much more each time: 25%."),
        "rolling": _text("So many replicas at a time: 25%."),
        "all_at_once": {"type": "boolean", "description": "All of the traffic, then one bake."},
        "bake": _text("After each shift: 5m."),
        "alarms": _texts("What must hold of the new fleet: 'p99 < 50ms'."),
        "termination_wait": _text("The old fleet stays so long after the last bake."),
        "timeout": _text("Go back if it takes longer: 10m to 8h."),
    },
)
_ALARM = _object(
    "An alarm on the endpoint; its name is that of the endpoint, a hyphen and its own.",
    {
        "objective": _text("What should hold: 'p99 < 50ms for 3 of 5 minutes'."),
        "variant": _text("Whose; the only one where not given."),
        "actions": _texts("What is told when it goes into ALARM: names of actions, or ARNs."),
        "ok_actions": _texts("What is told when it is OK again."),
    },
    "objective",
)
_ENDPOINT = _object(
    "An endpoint: a model, or variants.",
    {
        **_VARIANT,
        "variants": _by_name(
            "Several models beside each other, by name of the variant.", _object("One.", _WEIGHTED, "model")
        ),
        "rollout": _ROLLOUT,
        "alarms": _by_name("Alarms by name.", _ALARM, propertyNames={"pattern": r"^[a-zA-Z0-9_-]{1,128}$"}),
        "tags": _by_name("Tags of the endpoint; others that it has stay.", {"type": "string"}),
    },
)
_ACTION = _object(
    "A command or a webhook that alarms tell, as `clary actions add` makes it.",
    {
        "command": _texts("A command on the server's machine, word by word."),
        "webhook": _text("An address that gets the event by POST."),
        "timeout_s": {"type": "number", "minimum": 1, "description": "Limit of one run; 60 where not given."},
        "retries": {"type": "integer", "minimum": 0, "description": "After the first try; 2 where not given."},
        "role": _text("A role whose credentials the command gets."),
    },
)
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "What should run on a Clary server",
    **_object(
        "",
        {
            "name": _text("Marks what is made of this file, for --prune.", pattern=r"^[a-zA-Z0-9_.-]{1,128}$"),
            "endpoints": _by_name("Endpoints by name.", _ENDPOINT, propertyNames={"pattern": _NAME}),
            "actions": _by_name("Actions by name.", _ACTION, propertyNames={"pattern": r"^[a-zA-Z0-9_-]{1,64}$"}),
        },
    ),
}

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


def faults(value: object, schema: Schema = SCHEMA, at: Path = ()) -> Iterator[tuple[Path, str]]:
    """What is wrong in a document, with where it stands."""
    kind = schema["type"]
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        hint = "; put it in quotes" if kind == "string" and isinstance(value, int | float) else ""
        yield at, f"{dotted(at) or 'the description'} must be of type {kind}{hint}"
    elif isinstance(value, dict):
        yield from _object_faults(value, schema, at)
    elif isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield at, f"{dotted(at)} is empty"
        for place, item in enumerate(value):
            yield from faults(item, schema["items"], (*at, place))
    elif isinstance(value, str):
        if not re.search(schema.get("pattern", ""), value):
            yield at, f"{dotted(at)} is {value!r}, which does not match {schema['pattern']}"
    elif isinstance(value, int | float):
        least = schema.get("minimum")
        if not math.isfinite(value):
            yield at, f"{dotted(at)} is {value}; it must be finite"
        elif least is not None and value < least:
            yield at, f"{dotted(at)} is {value}; it must be at least {least}"


def _object_faults(value: dict[str, Any], schema: Schema, at: Path) -> Iterator[tuple[Path, str]]:
    known = schema.get("properties", {})
    other = schema["additionalProperties"]
    for name in schema.get("required", ()):
        if name not in value:
            yield at, f"{dotted(at)} needs the field {name!r}"
    names = schema.get("propertyNames", {}).get("pattern", "")
    for name, item in value.items():
        here = (*at, name)
        if name in known:
            yield from faults(item, known[name], here)
        elif other is False:
            near = difflib.get_close_matches(str(name), known, 1)
            meant = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
            yield here, f"unknown field {dotted(here)!r}{meant}"
        elif not isinstance(name, str) or not re.search(names, name):
            yield here, f"{name!r} can be no name in {dotted(at)}"
        else:
            yield from faults(item, other, here)


def dotted(at: Path) -> str:
    """`endpoints.fraud.alarms.slow`."""
    return ".".join(str(part) for part in at)
