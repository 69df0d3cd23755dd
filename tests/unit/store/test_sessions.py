"""Session tokens: what they carry, and when they are worth nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clary.kit.sigv4_claim import Key
from clary.store.seal import load_seal
from clary.store.sessions import Session, Sessions, new_key_pair

KEY = bytes(range(32))
SESSION = Session(
    "CLASTA", "s3cret", "123456789012", "arn:aws:sts::123456789012:assumed-role/r/nb", "AROAX:nb", 1_900_000_000,
    name="nb", parent="CLARYP",
)  # fmt: skip


def test_a_token_is_the_session_itself_and_shows_nothing_of_it() -> None:
    token = Sessions(KEY).seal(SESSION)
    assert Sessions(KEY).open(token) == SESSION
    assert "s3cret" not in token
    assert len(token) < 512
    assert Sessions(KEY).seal(SESSION) != token
    assert Sessions(KEY).key_of("CLASTA", token, {"CLARYP"}) == Key(
        "CLASTA", "s3cret", "123456789012", SESSION.arn, "AROAX:nb", "nb", 1_900_000_000, "CLARYP"
    )


def test_a_token_of_another_server_another_key_id_or_a_revoked_parent_is_nobodys() -> None:
    token = Sessions(KEY).seal(SESSION)
    assert Sessions(bytes(32)).key_of("CLASTA", token, {"CLARYP"}) is None
    assert Sessions(KEY).key_of("CLASTB", token, {"CLARYP"}) is None
    assert Sessions(KEY).key_of("CLASTA", token, set()) is None


def test_what_an_open_server_gave_out_is_worth_nothing_once_it_verifies() -> None:
    given_openly = Session(*(getattr(SESSION, n) for n in SESSION.__struct_fields__[:-1]), open=True)
    token = Sessions(KEY, auth=False).seal(given_openly)
    assert Sessions(KEY, auth=False).key_of("CLASTA", token, set()) is not None
    assert Sessions(KEY, auth=True).key_of("CLASTA", token, {"CLARYP"}) is None


@pytest.mark.parametrize("chars", [0, 1, 600, 1023, 4096])
def test_a_token_may_be_asked_to_be_long(chars: int) -> None:
    token = Sessions(KEY).seal(SESSION, chars)
    assert chars <= len(token) <= max(chars + 4, 512)
    assert Sessions(KEY).open(token) == SESSION


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.hex()))
def test_any_other_text_is_no_token(text: str) -> None:
    assert Sessions(KEY).open(text) is None


@pytest.mark.parametrize("at", [0, 11, 12, 40, -1])
def test_a_changed_token_is_none(at: int) -> None:
    token = Sessions(KEY).seal(SESSION)
    at %= len(token)
    changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
    opened = Sessions(KEY).open(changed)
    # The last character's low bits may be padding: then the bytes are the same.
    assert opened is None or opened == SESSION


def test_the_key_follows_from_the_kek_and_the_purpose(tmp_path: Path) -> None:
    seal = load_seal(tmp_path / "kek")
    assert seal.derive("sessions") == load_seal(tmp_path / "kek").derive("sessions")
    assert len({seal.derive("sessions"), seal.derive("other"), load_seal(tmp_path / "b").derive("sessions")}) == 3


def test_key_ids_look_like_those_of_aws_and_are_none() -> None:
    key_id, secret = new_key_pair()
    assert (key_id[:5], len(key_id), len(secret)) == ("CLAST", 20, 40)
