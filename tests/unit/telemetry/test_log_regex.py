"""Regular expressions of filter patterns find what Python's own find."""

import random
import re

from hypothesis import given
from hypothesis import strategies as st

from clary.telemetry.log_regex import Regex

ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\w"])
TIMES = st.sampled_from(["", "?", "*", "+", "{2}", "{1,3}", "{2,}"])
SEQUENCES = st.tuples(
    st.sampled_from(["", "^"]),
    st.lists(st.tuples(ATOMS, TIMES).map("".join), min_size=1, max_size=6).map("".join),
    st.sampled_from(["", "$"]),
).map("".join)


@given(st.lists(SEQUENCES, min_size=1, max_size=2).map("|".join), st.text("abc ", max_size=12))
def test_it_finds_what_pythons_own_find(pattern: str, text: str) -> None:
    assert Regex(pattern).search(text) == bool(re.search(pattern, text))


def test_very_many_sets_of_states_are_no_hindrance() -> None:
    text = "".join(random.Random(1).choices("ab", k=50_000))
    pattern = "a" + ".{99}" * 3
    assert Regex(pattern + "[ab]").search(text)
    assert not Regex(pattern + "c").search(text)
