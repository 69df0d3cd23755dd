"""A description's text: what is wrong in it is told with its line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.description.schema import SCHEMA, faults
from clary.description.source import DescriptionError, read

TOML = """name = "shop"

[endpoints.fraud]
model = "a.json"
instances = "2"

[endpoints."churn"]
model = "b.json"
variant = 1

[endpoints.churn.alarms]
slow = { objectiv = "p99 < 1s" }
"""
YAML = """name: shop
endpoints:
  fraud:
    model: a.json
    instances: "2"
  churn:
    model: b.json
    variant: 1
    env: {LEVEL: 1}
    alarms:
      slow: {objectiv: p99 < 1s}
actions:
  page:
    command:
      - cat
      - 5
"""


def found(name: str, text: str) -> list[str]:
    with pytest.raises(DescriptionError) as error:
        read(name, text)
    return error.value.found


def test_each_fault_stands_beside_its_line_in_toml() -> None:
    assert found("shop.toml", TOML) == [
        "shop.toml:5: endpoints.fraud.instances must be of type integer",
        "shop.toml:9: unknown field 'endpoints.churn.variant'; did you mean 'variants'?",
        "shop.toml:12: endpoints.churn.alarms.slow needs the field 'objective'",
        "shop.toml:12: unknown field 'endpoints.churn.alarms.slow.objectiv'; did you mean 'objective'?",
    ]


def test_each_fault_stands_beside_its_line_in_yaml() -> None:
    assert found("shop.yaml", YAML) == [
        "shop.yaml:5: endpoints.fraud.instances must be of type integer",
        "shop.yaml:8: unknown field 'endpoints.churn.variant'; did you mean 'variants'?",
        "shop.yaml:9: endpoints.churn.env.LEVEL must be of type string; put it in quotes",
        "shop.yaml:11: endpoints.churn.alarms.slow needs the field 'objective'",
        "shop.yaml:11: unknown field 'endpoints.churn.alarms.slow.objectiv'; did you mean 'objective'?",
        "shop.yaml:16: actions.page.command.1 must be of type string; put it in quotes",
    ]


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("a.toml", "x = ", "a.toml is no TOML: "),
        ("a.yaml", "x: [", "a.yaml is no YAML: "),
        ("a.yaml", "name: a\nname: b\n", "a.yaml:2: 'name' is given a second time"),
        ("a.yaml", "- a\n", "a.yaml: the description must be of type object"),
        ("a.toml", "zebra = 1", "a.toml:1: unknown field 'zebra'; known are name, endpoints, actions"),
        ("a.toml", "[endpoints.a_b]\nmodel = 'm'", "a.toml:1: 'a_b' can be no name in endpoints"),
        ("a.toml", "[endpoints.a]\nmodel = 'm'\ninstances = 0", "a.toml:3: endpoints.a.instances is 0; it must be at"),
        ("a.toml", "[endpoints.a]\nmodel = 'm'\ninstances = true", "a.toml:3: endpoints.a.instances must be of type"),
        ("a.toml", "[endpoints.a]\nmodel = 'm'\ninstance_type = 'big'", "a.toml:3: endpoints.a.instance_type is 'big'"),
        ("a.toml", "[actions.a]\ncommand = ['c']\ntimeout_s = nan", "a.toml:3: actions.a.timeout_s is nan; it must be"),
        ("a.toml", "[actions.a]\ncommand = []", "a.toml:2: actions.a.command is empty"),
    ],
)
def test_what_cannot_be_read_is_refused(name: str, text: str, wanted: str) -> None:
    assert found(name, text)[0].startswith(wanted)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 10)}]\n" for old, new in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("a.yaml", BOMB, "a.yaml has more than 100000 fields"),
        ("a.yaml", "x: " + "[" * 5000, "a.yaml is nested too deeply"),
        ("a.toml", "x = " + "[" * 5000, "a.toml is nested too deeply"),
        ("a.toml", "#" * 1_000_001, "a.toml has 1000001 characters"),
        ("a.yaml", "&a [*a]", "a.yaml is nested too deeply"),
    ],
    ids=["bomb", "deep", "deep-toml", "long", "own"],
)
def test_everything_has_a_limit(name: str, text: str, wanted: str) -> None:
    assert found(name, text)[0].startswith(wanted)


def test_an_empty_description_is_one() -> None:
    assert read("a.yaml", "").document == {}
    assert read("a.toml", "# nothing\n").document == {}


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    for name in ("a.toml", "a.yaml"):
        try:
            assert not list(faults(read(name, text).document))
        except DescriptionError:
            continue


def test_the_schema_uses_only_what_is_checked() -> None:
    known = {"$schema", "title", "type", "description", "properties", "required", "additionalProperties", "items",
             "minItems", "minimum", "pattern", "propertyNames"}  # fmt: skip

    def walk(schema: dict[str, object]) -> None:
        assert set(schema) <= known
        properties = schema.get("properties", {})
        assert isinstance(properties, dict)
        for one in [*properties.values(), schema.get("additionalProperties"), schema.get("items")]:
            if isinstance(one, dict):
                walk(one)

    walk(SCHEMA)
