"""pip's configuration handed to uv, and nothing else of the server's environment."""

from pathlib import Path

import pytest

from clary.environments.index import redacted, uv_environ

SECRETS = {"AWS_SECRET_ACCESS_KEY": "s", "CLARY_WORKER": "w", "PYTHONPATH": "/x", "PIP_REQUIRE_VIRTUALENV": "1"}


def environ(home: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(home), "PATH": "/bin", **SECRETS, **more}


def test_only_what_uv_needs_is_handed_on(tmp_path: Path) -> None:
    given = environ(tmp_path, UV_CACHE_DIR="/c", https_proxy="http://p", NO_PROXY="x", SSL_CERT_FILE="/cert")
    assert uv_environ(given, tmp_path) == {
        "HOME": str(tmp_path),
        "PATH": "/bin",
        "UV_CACHE_DIR": "/c",
        "https_proxy": "http://p",
        "NO_PROXY": "x",
        "SSL_CERT_FILE": "/cert",
        "UV_NO_PROGRESS": "1",
        "NO_COLOR": "1",
    }


def test_pips_files_and_variables_become_uvs(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://user:secret@one/simple\nfind-links =\n  /a\n  /b\ncert = /machine.pem\n"
    )
    user = tmp_path / "home/.config/pip/pip.conf"
    user.parent.mkdir(parents=True)
    user.write_text("[global]\nextra_index_url = https://two/simple\n[install]\ntrusted-host = two\n")
    found = uv_environ(environ(tmp_path / "home", PIP_CERT="/mine.pem", PIP_DEFAULT_TIMEOUT="9"), tmp_path)
    assert found["UV_DEFAULT_INDEX"] == "https://user:secret@one/simple"
    assert found["UV_INDEX"] == "https://two/simple"
    assert found["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert found["UV_FIND_LINKS"] == "/a,/b"
    assert found["UV_INSECURE_HOST"] == "two"
    assert found["SSL_CERT_FILE"] == "/mine.pem"
    assert found["UV_HTTP_TIMEOUT"] == "9"


def test_a_file_named_by_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://machine\n")
    (tmp_path / "own.conf").write_text("[global]\nindex-url = https://own\nno-index = true\n")
    found = uv_environ(environ(tmp_path, PIP_CONFIG_FILE=str(tmp_path / "own.conf")), tmp_path)
    assert (found["UV_DEFAULT_INDEX"], found["UV_NO_INDEX"]) == ("https://own", "1")
    assert "UV_DEFAULT_INDEX" not in uv_environ(environ(tmp_path, PIP_CONFIG_FILE="/dev/null"), tmp_path)


@pytest.mark.parametrize("variable", ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_FIND_LINKS"])
def test_uvs_own_configuration_comes_first(variable: str, tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nextra-index-url = https://pip\n")
    assert "UV_INDEX" not in uv_environ(environ(tmp_path, **{variable: "https://uv"}), tmp_path)


def test_uvs_file_comes_first(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://pip\n")
    (tmp_path / "uv").mkdir()
    (tmp_path / "uv/uv.toml").write_text("")
    assert "UV_DEFAULT_INDEX" not in uv_environ(environ(tmp_path), tmp_path)


def test_a_broken_file_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("no section")
    assert "UV_DEFAULT_INDEX" not in uv_environ(environ(tmp_path), tmp_path)


def test_passwords_of_addresses_are_not_shown() -> None:
    assert (
        redacted("error: https://me:pw@host/simple and http://h/x@y")
        == "error: https://***@host/simple and http://h/x@y"
    )
