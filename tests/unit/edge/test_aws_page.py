"""Tokens go on where they left off, whatever was made in between, and only for the request they came from."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.domain.errors import Invalid
from clary.edge.aws import page

positions = st.tuples(st.one_of(st.text(max_size=63), st.integers(-(2**53), 2**53)), st.text(min_size=26, max_size=26))
parameters = st.dictionaries(
    st.sampled_from(["NameContains", "SortBy", "region"]), st.one_of(st.none(), st.text(max_size=5))
)


@given(positions, parameters)
def test_a_token_gives_its_position_back(position: page.Position, given_parameters: dict[str, object]) -> None:
    token = page.encode(position, given_parameters)
    assert page.decode(token, given_parameters) == position
    assert page.decode(token, {**given_parameters, "absent": None}) == position


@given(positions, parameters)
def test_a_token_of_another_request_is_refused(position: page.Position, given_parameters: dict[str, object]) -> None:
    token = page.encode(position, given_parameters)
    with pytest.raises(Invalid, match="NextToken is not valid"):
        page.decode(token, {**given_parameters, "other": "x"})


@given(st.text(max_size=60))
def test_no_text_is_taken_for_a_token(text: str) -> None:
    with pytest.raises(Invalid):
        page.decode(text, {})


@given(positions, st.integers(0, 200), st.characters(min_codepoint=33, max_codepoint=126))
def test_a_changed_token_is_refused(position: page.Position, at: int, character: str) -> None:
    token = page.encode(position, {})
    at %= len(token)
    changed = token[:at] + character + token[at + 1 :]
    with contextlib.suppress(Invalid):
        # The last character of base64 may hold bits that mean nothing.
        assert page.decode(changed, {}) == position


def test_pages_survive_inserts() -> None:
    rows = [(f"n{i:02}", f"u{i:02}") for i in range(0, 20, 2)]
    seen: list[tuple[str, str]] = []
    token = None
    while True:
        after = page.decode(token, {"op": "List"}) if token else ("", "")
        batch = [row for row in sorted(rows) if row > after][:3]
        seen += batch
        if len(batch) < 3:
            break
        token = page.encode(batch[-1], {"op": "List"})
        # Behind us and ahead of us.
        rows += [("n00a", f"v{len(seen)}"), ("n99", f"v{len(seen)}")]
    assert len(seen) == len(set(seen))
    assert set(seen) >= {(f"n{i:02}", f"u{i:02}") for i in range(0, 20, 2)}
