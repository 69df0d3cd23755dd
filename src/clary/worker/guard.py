"""Watches what is unpickled while a model loads, and stops it where the server trusts no model.

Python tells every unpickler's look-up by an audit event before it happens, whoever unpickles: pickle itself, joblib,
numpy within it. An audit hook cannot be taken back, so there is one a process, which acts while a guard is on.
"""

from __future__ import annotations

import importlib
import sys
from typing import Optional

from clary.runtimes.base import LoadError
from clary.runtimes.trust import known

_EVENT = "pickle.find_class"
_active: Optional[Guard] = None  # noqa: UP045 - Python 3.9
_hooked = False


class UntrustedError(Exception):
    """An unpickler asked for what is not on the list."""


class Guard:
    """What was unpickled while it was on: `with Guard(...) as guard`."""

    def __init__(self, *, refuse: bool) -> None:
        """`refuse`: stop at the first unknown name."""
        self._refuse = refuse
        self.unknown: list[str] = []
        """Names that fitted models of served libraries do not hold, in order."""
        self.packages: list[str] = []
        """Top packages of all names."""

    def __enter__(self) -> Guard:
        global _active, _hooked  # noqa: PLW0603 - an audit hook is a process's, for good
        if not _hooked:
            sys.addaudithook(_hook)
            _hooked = True
        _active = self
        return self

    def __exit__(self, *exc: object) -> None:
        global _active  # noqa: PLW0603
        _active = None

    def see(self, module: str, name: str) -> None:
        """One look-up. Raises UntrustedError."""
        package = module.partition(".")[0]
        if package not in self.packages:
            self.packages.append(package)
        full = f"{module}.{name}"
        if "." not in name and known(full) and (not self._refuse or _is_its_own(module, name)):
            return
        if full not in self.unknown:
            self.unknown.append(full)
        if self._refuse:
            raise UntrustedError(full)

    def verdict(self) -> None:
        """Raise LoadError where something was refused, whatever the runtime made of it."""
        if self._refuse and self.unknown:
            raise LoadError(
                f"Its pickle asks for {self.unknown[0]}, which no fitted model of a served library holds; "
                "this server trusts no model (--untrusted).",
                "Save it in a format that runs nothing (ONNX, XGBoost's json, LightGBM's text), or have it reviewed "
                "and served by a server that trusts it.",
            )


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event == _EVENT and _active is not None:
        _active.see(str(arguments[0]), str(arguments[1]))


def _is_its_own(module: str, name: str) -> bool:
    """Whether a class is of the package that it is asked from: modules also hold what they import themselves."""
    global _active  # noqa: PLW0603
    watching, _active = _active, None  # importing may unpickle by itself
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception:
        return True  # the unpickler will say what is missing
    finally:
        _active = watching
    if not isinstance(found, type):
        return found is None or not name.lstrip("_")[:1].isupper()
    return module in ("builtins", "__builtin__") or found.__module__.partition(".")[0] == module.partition(".")[0]
