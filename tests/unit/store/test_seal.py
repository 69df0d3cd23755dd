"""Secrets at rest."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from clary.store.seal import SealError, load_seal


def test_a_secret_opens_with_its_key_and_label_only(tmp_path: Path) -> None:
    seal = load_seal(tmp_path / "secrets" / "kek")
    sealed = seal.close("wonderful", "CLARY1")
    assert b"wonderful" not in sealed
    assert load_seal(tmp_path / "secrets" / "kek").open(sealed, "CLARY1") == "wonderful"
    assert seal.close("wonderful", "CLARY1") != sealed
    for other, label in ((seal, "CLARY2"), (load_seal(tmp_path / "other" / "kek"), "CLARY1")):
        with pytest.raises(SealError, match="does not open with HOME/secrets/kek"):
            other.open(sealed, label)


def test_the_kek_is_private_and_never_guessed_at(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "kek"
    load_seal(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.write_bytes(b"short")
    with pytest.raises(SealError, match="has 5 bytes and should have 32"):
        load_seal(path)
