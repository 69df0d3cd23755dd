"""Whether a library may read what another version of it wrote."""

from __future__ import annotations

from typing import Mapping  # noqa: UP035 - Python 3.9

from clary.runtimes.base import LoadError

VARIABLE = "CLARY_ALLOW_VERSION_MISMATCH"
"""Environment variable of a model: libraries, parted by commas, whose pickles are read whatever version wrote them."""


def check_version(what: str, library: str, saved: str, here: str, env: Mapping[str, str]) -> str:
    """A note where only the patch differs, or where `env` allows more; LoadError with the remedy otherwise.

    `what`: the sentence's beginning (`model.pkl was saved by`).
    """
    fact = f"{what} {library} {saved}; this environment has {here}."
    if saved.split(".")[:2] == here.split(".")[:2]:
        return fact
    if library in allowed(env):
        return f"{fact} {VARIABLE} allows it; its predictions may differ."
    raise LoadError(
        fact,
        f"Put {library}=={saved} into the model's code/requirements.txt, save it again with {here}, or set the "
        f"Environment variable {VARIABLE}={library} to load it all the same.",
    )


def allowed(env: Mapping[str, str]) -> frozenset[str]:
    """The libraries that `CLARY_ALLOW_VERSION_MISMATCH` names."""
    return frozenset(name.strip() for name in env.get(VARIABLE, "").split(",") if name.strip())
