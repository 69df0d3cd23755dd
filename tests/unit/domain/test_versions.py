"""Versions: what became of each, where to roll back to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.domain.versions import Lineage, Outcome, VersionState, Wish, lineage_of, rollback_target, states_of

SERVED, FAILED = Outcome.SERVED, Outcome.FAILED
LIVE, STARTING, RETIRED, NEVER = VersionState.LIVE, VersionState.STARTING, VersionState.RETIRED, VersionState.FAILED


def wishes(*rows: tuple[int, Outcome | None]) -> list[Wish]:
    """Generations from 1 on, each with its version and outcome."""
    return [Wish(generation, *row) for generation, row in enumerate(rows, 1)]


CASES = {
    "creating": (wishes((1, None)), None, {1: STARTING}, None),
    "created": (wishes((1, SERVED)), 1, {1: LIVE}, None),
    "never created": (wishes((1, FAILED)), None, {1: NEVER}, None),
    "updating": (wishes((1, SERVED), (2, None)), 1, {1: LIVE, 2: STARTING}, None),
    "updated": (wishes((1, SERVED), (2, SERVED)), 2, {1: RETIRED, 2: LIVE}, 1),
    "a failed update": (wishes((1, SERVED), (2, FAILED)), 1, {1: LIVE, 2: NEVER}, None),
    "rescaling": (wishes((1, SERVED), (1, None)), 1, {1: LIVE}, None),
    "rescaling failed": (wishes((1, SERVED), (1, FAILED)), 1, {1: LIVE}, None),
    "rolling back": (wishes((1, SERVED), (2, SERVED), (1, None)), 2, {1: STARTING, 2: LIVE}, 1),
    "rolled back": (wishes((1, SERVED), (2, SERVED), (1, SERVED)), 3, {1: LIVE, 2: RETIRED}, 2),
    "rolling back failed": (wishes((1, SERVED), (2, SERVED), (1, FAILED)), 2, {1: RETIRED, 2: LIVE}, 1),
    "past a failed one": (wishes((1, SERVED), (2, FAILED), (3, SERVED)), 3, {1: RETIRED, 2: NEVER, 3: LIVE}, 1),
}


@pytest.mark.parametrize("case", CASES)
def test_states(case: str) -> None:
    listed, served, states, back = CASES[case]
    assert states_of(listed, served) == states
    if served is not None:
        assert rollback_target(listed, served) == back


def test_routers_are_told_in_three_numbers() -> None:
    assert lineage_of({1: RETIRED, 2: NEVER, 3: LIVE, 4: STARTING, 5: NEVER}) == Lineage(5, 4, (2, 5))
    assert lineage_of({}) == Lineage()


@given(st.lists(st.tuples(st.integers(1, 5), st.sampled_from([SERVED, FAILED])), min_size=1, max_size=20))
def test_exactly_one_is_live_while_one_serves(rows: list[tuple[int, Outcome]]) -> None:
    listed = wishes(*rows)
    served = max((wish.generation for wish in listed if wish.outcome is SERVED), default=None)
    states = states_of(listed, served)
    assert set(states) == {wish.version for wish in listed}
    assert list(states.values()).count(LIVE) == (served is not None)
    if served is not None:
        back = rollback_target(listed, served)
        assert back is None or states[back] is RETIRED
