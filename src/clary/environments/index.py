"""Where packages come from: uv's own configuration where there is one, else pip's, handed to uv. Nothing is built in.

uv reads no pip.conf. A machine that is set up for pip alone must do all the same, so its index, extra indexes,
find-links, certificates and timeouts become uv's variables. Values may hold passwords: they go into uv's process only.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "NETRC", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
_KEPT_STARTS = ("UV_", "XDG_")
_KEPT_ENDS = ("_PROXY",)
_UV_INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX")
_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}
_LISTS = {"UV_FIND_LINKS": ","}
_TRUE = ("1", "true", "yes", "on")
_CREDENTIALS = re.compile(r"://[^/@\s]+@")


def uv_environ(environ: Mapping[str, str], etc: Path = Path("/etc")) -> dict[str, str]:
    """The environment of a uv process, from the server's `environ`; `etc` is where the machine's files lie."""
    kept = {name: value for name, value in environ.items() if _is_kept(name)}
    kept["UV_NO_PROGRESS"] = "1"
    kept["NO_COLOR"] = "1"
    if any(environ.get(name) for name in _UV_INDEXES) or any(path.is_file() for path in _uv_files(environ, etc)):
        return kept
    for name, value in pip_settings(environ, etc).items():
        variable = _PIP.get(name)
        if variable is None or not value.strip() or kept.get(variable):
            continue
        words = value.split()
        if variable == "UV_NO_INDEX":
            if value.lower() in _TRUE:
                kept[variable] = "1"
            continue
        kept[variable] = _LISTS.get(variable, " ").join(words)
    if kept.get("UV_INDEX"):
        kept.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")  # as pip chooses: the best version of all indexes
    return kept


def pip_settings(environ: Mapping[str, str], etc: Path) -> dict[str, str]:
    """pip's options by long name: machine, user, PIP_CONFIG_FILE, then PIP_ variables; later ones win."""
    found: dict[str, str] = {}
    for path in _pip_files(environ, etc):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue
        for section in ("global", "install"):
            if parser.has_section(section):
                found.update({name.replace("_", "-"): value for name, value in parser.items(section)})
    for name, value in environ.items():
        if name.startswith("PIP_") and name != "PIP_CONFIG_FILE":
            found[name[len("PIP_") :].lower().replace("_", "-")] = value
    return found


def redacted(text: str) -> str:
    """`text` without the user and password of addresses."""
    return _CREDENTIALS.sub("://***@", text)


def _is_kept(name: str) -> bool:
    return name in _KEPT or name.startswith(_KEPT_STARTS) or name.upper().endswith(_KEPT_ENDS)


def _pip_files(environ: Mapping[str, str], etc: Path) -> Iterable[Path]:
    given = environ.get("PIP_CONFIG_FILE")
    home, config = _home(environ)
    files = [etc / "xdg/pip/pip.conf", etc / "pip.conf", home / ".pip/pip.conf", config / "pip/pip.conf"]
    return [] if given == "/dev/null" else [*files, *([Path(given)] if given else [])]


def _uv_files(environ: Mapping[str, str], etc: Path) -> Iterable[Path]:
    return [_home(environ)[1] / "uv/uv.toml", etc / "uv/uv.toml", etc / "xdg/uv/uv.toml"]


def _home(environ: Mapping[str, str]) -> tuple[Path, Path]:
    home = Path(environ.get("HOME") or "/nonexistent")
    return home, Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
