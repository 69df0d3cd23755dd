"""`python -m tests.fuzz.one TARGET LIBFUZZER-ARGUMENTS`: one target under atheris, in this process."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["clary"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    target = TARGETS[sys.argv[1]]
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target)
    atheris.Fuzz()
