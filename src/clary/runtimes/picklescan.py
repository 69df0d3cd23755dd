"""Which classes a pickle names, without unpickling it.

Only opcodes are read (pickletools), so nothing runs. joblib writes arrays as raw bytes between opcodes; reading stops
at the first of them, by when the class of the outermost object is known: it is the first that a pickle names.
"""

from __future__ import annotations

import pickletools
import re
from dataclasses import dataclass, field
from typing import Iterator, Mapping  # noqa: UP035 - Python 3.9

_VERSION_KEY = b"_sklearn_version"
_WIDTH_KEY = b"n_features_in_"
_STRINGS = frozenset(
    {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING"}
)
_OPCODES_MAX = 2_000_000


@dataclass(frozen=True)
class Scan:
    """What a pickle tells without being run."""

    root: str | None
    """Dotted name of the outermost object's class; None for plain values."""
    names: tuple[str, ...] = ()
    """Every global found, in order."""
    libraries: Mapping[str, str] = field(default_factory=dict)
    width: int | None = None
    """`n_features_in_` of the first estimator that says it."""


def scan(raw: bytes) -> Scan:
    """What `raw` names; whatever it holds, this neither runs it nor raises."""
    names: list[str] = []
    try:
        for name in _globals(raw):
            if name not in names:
                names.append(name)
    except (ValueError, IndexError, KeyError, OverflowError, UnicodeError):
        pass  # raw array bytes, or damage: what was read so far stands
    version = _after(raw, _VERSION_KEY)
    width = _after(raw, _WIDTH_KEY)
    root = next((name for name in names if not name.startswith(_PLUMBING)), None)
    return Scan(
        root=root,
        names=tuple(names),
        libraries={"scikit-learn": version} if isinstance(version, str) else {},
        width=width if isinstance(width, int) else None,
    )


def imports(raw: bytes) -> tuple[str, ...]:
    """Every `module.name` that loading `raw` would look up, as far as bytes tell, each once.

    Where opcodes cannot be followed (joblib writes arrays between them) the look-ups behind are found by their form.
    """
    found = list(scan(raw).names)
    old = raw[:1] != b"\x80" or raw[1:2] < b"\x04"
    for pattern in (_PLAIN_LOOKUP,) if old else (_STACK_LOOKUP,):
        for one in pattern.finditer(raw):
            name = f"{one[1].decode('ascii')}.{one[2].decode('ascii')}"
            if name not in found:
                found.append(name)
    return tuple(found)


_WORD = rb"[A-Za-z_][A-Za-z0-9_.]{0,254}"
_STACK_LOOKUP = re.compile(rb"\x8c.(" + _WORD + rb")\x94?\x8c.(" + _WORD + rb")\x94?\x93", re.DOTALL)
"""SHORT_BINUNICODE, MEMOIZE, twice, STACK_GLOBAL."""
_PLAIN_LOOKUP = re.compile(rb"c([A-Za-z_][A-Za-z0-9_.]*)\n([A-Za-z_][A-Za-z0-9_.]*)\n")
"""GLOBAL, of protocols before 4."""


def _after(raw: bytes, key: bytes) -> object:
    """The value that follows the first string `key`: only strings and small integers are of interest."""
    at = raw.find(key)
    if at < 0:
        return None
    try:
        for opcode, argument, _ in pickletools.genops(raw[at + len(key) : at + len(key) + _VALUE_BYTES_MAX]):
            if opcode.name not in ("MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"):
                return argument
    except (ValueError, IndexError, UnicodeError):
        return None
    return None


_VALUE_BYTES_MAX = 64
_PLUMBING = ("copyreg.", "copy_reg.", "builtins.", "__builtin__.", "collections.", "numpy", "joblib.")


def _globals(raw: bytes) -> Iterator[str]:
    """`module.name` for each GLOBAL and STACK_GLOBAL, following strings through the memo."""
    memo: dict[int, str] = {}
    strings: list[str] = []
    last = ""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(raw)):
        if count > _OPCODES_MAX:
            return
        if opcode.name in _STRINGS:
            last = str(argument)
            strings.append(last)
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = last
        elif opcode.name in ("BINPUT", "LONG_BINPUT", "PUT") and isinstance(argument, int):
            memo[argument] = last
        elif opcode.name in ("BINGET", "LONG_BINGET", "GET") and isinstance(argument, int):
            strings.append(memo.get(argument, ""))
        elif opcode.name == "GLOBAL":
            yield str(argument).replace(" ", ".", 1)
        elif opcode.name == "STACK_GLOBAL":
            yield f"{strings[-2]}.{strings[-1]}"
        del strings[:-2]
