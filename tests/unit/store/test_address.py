"""Addresses of stores: the password comes off, and nothing that fails shows it."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from clary.settings import SettingError, resolve
from clary.store.address import Address, parse_address, remember, served_address, session_name


@pytest.mark.parametrize(
    ("given", "url", "password"),
    [
        ("postgresql://u@h/db", "postgresql://u@h/db", ""),
        ("postgres://u:p%40%2F+@h:1/db?sslmode=require", "postgresql://u@h:1/db?sslmode=require", "p@/+"),
        ("postgresql:///db?host=/run/pg&password=s%26t", "postgresql:///db?host=/run/pg", "s&t"),
        ("postgresql://u:hush@[::1]:1,h2:2/db", "postgresql://u@[::1]:1,h2:2/db", "hush"),
        ("postgresql://:hush@h", "postgresql://@h", "hush"),
    ],
)
def test_the_password_is_kept_apart(given: str, url: str, password: str) -> None:
    address = parse_address(given)
    assert (address.url, address.password, str(address)) == (url, password, url)
    assert not password or password not in repr(address)


@pytest.mark.parametrize(
    "given", ["sqlite:///x", "u:hush@h/db", "postgresql://", "postgresql://u:hu/sh@h/db", "postgresql://u:hush#@h/db",
              "postgresql://u:hush?x@h/db"]
)  # fmt: skip
def test_a_bad_address_is_refused_unshown(given: str) -> None:
    with pytest.raises(
        SettingError, match=r"^store \(from CLARY_STORE\) (is not of the form|has a character)"
    ) as error:
        resolve({}, {"CLARY_STORE": given})
    assert "hu" not in str(error.value)


def test_settings_show_no_password() -> None:
    settings, origins = resolve({"store": "postgresql://u:hush@h/db"}, {})
    assert [one.value for one in origins if one.option == "store"] == ["postgresql://u@h/db"]
    assert settings.store == Address("postgresql://u@h/db", "hush")
    assert "hush" not in repr(settings)
    assert resolve({}, {})[0].store is None


def test_home_remembers_which_store_it_was_served_with(tmp_path: Path) -> None:
    address = Address("postgresql://u@h/db", "hush")
    assert served_address(tmp_path, None) is None
    remember(tmp_path, address)
    file = tmp_path / "secrets" / "store.json"
    assert file.stat().st_mode & 0o077 == 0
    assert served_address(tmp_path, None) == address
    assert served_address(tmp_path, Address("postgresql://u@h/db")) == address
    assert served_address(tmp_path, Address("postgresql://u@h/db", "new")) == Address("postgresql://u@h/db", "new")
    assert served_address(tmp_path, Address("postgresql://u@h/other")) == Address("postgresql://u@h/other")
    with (tmp_path / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        remember(tmp_path, None)
    assert served_address(tmp_path, None) == address
    remember(tmp_path, None)
    assert not file.exists()
    file.write_text("{")
    assert served_address(tmp_path, None) is None


def test_a_session_has_a_name_of_its_own_that_fits() -> None:
    one, other = session_name("clary control"), session_name("clary control")
    assert one != other
    assert max(len(one.encode()), len(other.encode())) <= 63
