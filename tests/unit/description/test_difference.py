"""Differences: none of equals, and what they say done to what runs leaves none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clary.description.difference import Change, Deed, Facts, Field, Kind, differences

NAMES = st.sampled_from(["a", "b", "c"])
FACTS = st.dictionaries(NAMES, st.none() | st.integers(0, 2) | st.sampled_from(["x", "y"]))
THINGS = st.dictionaries(st.tuples(st.sampled_from(Kind), NAMES), FACTS)


def test_each_deed() -> None:
    want: dict[tuple[Kind, str], Facts] = {
        (Kind.ALARM, "slow"): {"Threshold": 2.0},
        (Kind.ENDPOINT, "new"): {"model": "m", "env.A": None},
        (Kind.ENDPOINT, "same"): {"model": "m", "tags.x": None},
        (Kind.ENDPOINT, "other"): {"model": "n"},
    }
    have: dict[tuple[Kind, str], Facts] = {
        (Kind.ALARM, "slow"): {"Threshold": 1.0},
        (Kind.ENDPOINT, "same"): {"model": "m"},
        (Kind.ENDPOINT, "other"): {"model": "m", "env.A": "b"},
    }
    assert differences(want, have, [(Kind.ENDPOINT, "old"), (Kind.ALARM, "old")]) == [
        Change(Deed.CREATE, Kind.ENDPOINT, "new", (Field("model", None, "m"),)),
        Change(Deed.UPDATE, Kind.ENDPOINT, "other", (Field("model", "m", "n"), Field("env.A", "b", None))),
        Change(Deed.UPDATE, Kind.ALARM, "slow", (Field("Threshold", 1.0, 2.0),)),
        Change(Deed.DELETE, Kind.ALARM, "old"),
        Change(Deed.DELETE, Kind.ENDPOINT, "old"),
    ]


@given(want=THINGS, have=THINGS)
def test_doing_them_leaves_none(want: dict[tuple[Kind, str], Facts], have: dict[tuple[Kind, str], Facts]) -> None:
    now = {key: dict(facts) for key, facts in have.items()}
    for change in differences(want, have):
        facts = now.setdefault((change.kind, change.name), {})
        for field in change.fields:
            assert facts.get(field.name) == field.old
            facts[field.name] = field.new
    assert differences(want, now) == []
