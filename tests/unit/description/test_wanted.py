"""What a description means, and what its schema cannot tell."""

from __future__ import annotations

import pytest

from clary.description.source import DescriptionError, read
from clary.description.wanted import Action, Scaling, wanted


def test_a_model_alone_is_one_variant() -> None:
    found = wanted(read("a.toml", "[endpoints.fraud]\nmodel = 'm'\ninstances = 2\nenv = {A = 'b'}\n"))
    (endpoint,) = found.endpoints
    (variant,) = endpoint.variants
    assert (variant.name, variant.model, variant.instances, variant.env) == ("AllTraffic", "m", 2, {"A": "b"})
    assert (found.name, endpoint.rollout, endpoint.alarms, endpoint.tags) == ("", None, (), {})


def test_variants_alarms_scaling_and_actions() -> None:
    found = wanted(
        read(
            "a.yaml",
            """
actions:
  page: {webhook: "https://x", retries: 0}
endpoints:
  pair:
    variants:
      A: {model: a, weight: 3, scaling: {min: 2, max: 4, concurrency: 1}}
      B: {model: "s3://b/m.tar.gz", image: i}
    alarms:
      slow: {objective: "p99 < 50ms", variant: B, actions: [page]}
""",
        )
    )
    (endpoint,) = found.endpoints
    assert [(v.name, v.weight, v.instances, v.remote) for v in endpoint.variants] == [
        ("A", 3, 2, False),
        ("B", 1.0, 1, True),
    ]
    assert endpoint.variants[0].scaling == Scaling(2, 4, concurrency=1)
    (alarm,) = endpoint.alarms
    assert (alarm.name, alarm.variant, alarm.objective.text, alarm.actions) == (
        "pair-slow",
        "B",
        "p99 < 50ms",
        ("page",),
    )
    assert found.actions == (Action("page", url="https://x", retries=0),)


@pytest.mark.parametrize(
    ("text", "wanted_text"),
    [
        ("endpoints:\n  a:\n    tags: {}\n", "a.yaml:2: endpoints.a needs a model, or variants"),
        ("endpoints:\n  a:\n    variants: {}\n", "a.yaml:2: endpoints.a needs a model, or variants"),
        (
            "endpoints:\n  a:\n    variants: {A: {model: m}}\n    env: {}\n",
            "a.yaml:4: endpoints.a has variants, so 'env' belongs to each of them",
        ),
        (
            "endpoints:\n  a:\n    model: m\n    instances: 1\n    scaling: {min: 1, max: 1, concurrency: 1}\n",
            "a.yaml:4: 'instances' cannot be given beside 'scaling', which sets them",
        ),
        (
            "endpoints:\n  a:\n    model: s3://b/k\n",
            "a.yaml:3: the model s3://b/k is an object, so 'image' must be given",
        ),
        (
            "endpoints:\n  a:\n    model: s3://b/k\n    image: i\n    entry_point: x.py\n",
            "a.yaml:5: 'entry_point' is for a model that is a path",
        ),
        (
            "endpoints:\n  a:\n    model: m\n    scaling: {min: 1, max: 1}\n",
            "a.yaml:4: scaling needs either 'concurrency' or 'invocations_per_minute'",
        ),
        (
            "endpoints:\n  a:\n    model: m\n    scaling: {min: 2, max: 1, concurrency: 1}\n",
            "a.yaml:4: 'min' is 2, above 'max', which is 1",
        ),
        (
            "endpoints:\n  a:\n    variants: {A: {model: m}, B: {model: m}}\n"
            "    alarms:\n      s: {objective: p99 < 1s}\n",
            "a.yaml:5: the alarm 's' needs a 'variant' of the endpoint: A, B",
        ),
        (
            "endpoints:\n  a:\n    model: m\n    alarms:\n      s: {objective: p99 is good}\n",
            "a.yaml:5: The objective 'p99 is good' cannot be read",
        ),
        ("actions:\n  a: {retries: 1}\n", "a.yaml:2: the action 'a' needs either 'command' or 'webhook'"),
        ("actions:\n  a: {command: [c], webhook: u}\n", "a.yaml:2: the action 'a' needs either 'command' or 'webhook'"),
    ],
)
def test_what_does_not_go_together_is_refused_with_its_line(text: str, wanted_text: str) -> None:
    with pytest.raises(DescriptionError) as error:
        wanted(read("a.yaml", text))
    assert error.value.found[0].startswith(wanted_text)
