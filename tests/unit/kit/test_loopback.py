"""Which names are this machine's; the whole rule is played in tests/wire/test_hostile_page.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clary.kit.loopback import host_allowed, host_of, refusal


@pytest.mark.parametrize(
    ("authority", "host"),
    [("LocalHost:80", "localhost"), ("[::1]:1", "::1"), ("a.b.", "a.b"), ("h:x", ""), ("[::1", ""), ("[::1]x", "")],
)  # fmt: skip
def test_the_host_of_an_authority(authority: str, host: str) -> None:
    assert host_of(authority) == host


@given(st.text(max_size=40))
def test_any_header_is_read(text: str) -> None:
    host_allowed(text, ("a.example",))
    refusal(text, text, text, ())


@pytest.mark.parametrize(
    "host", ["localhost", "x.localhost", "127.0.0.1:1", "127.8.8.8", "[::1]", "a.example", "b.a.example"]
)
def test_names_of_this_machine_and_configured_ones(host: str) -> None:
    assert host_allowed(host, ("a.example",))


def test_a_refusal_names_the_remedy() -> None:
    assert "--hosts" in (refusal("x.example", None, None, ()) or "")
    assert "--auth" in (refusal("localhost", "https://x.example", None, ()) or "")
    assert refusal(None, None, None, ()) is not None
