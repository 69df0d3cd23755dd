"""Shared by the scripts of this folder, which run in a framework's own interpreter: a model through Clary's runtime."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from clary.runtimes.base import LoadOptions
from clary.runtimes.handler import Invocation, whole
from clary.runtimes.registry import runtime_named


def loaded(folder: Path, runtime: str, tag: str, **env: str) -> Any:
    """The model of a folder as a worker has it."""
    return runtime_named(runtime).load(LoadOptions(folder, tag, env))


def ask(model: Any, body: bytes | str, content_type: str, accept: str = "") -> bytes:
    """The whole answer to one request."""
    raw = body.encode() if isinstance(body, str) else body
    return bytes(whole(model.handle(Invocation(raw, content_type, accept)).body))


def npy(array: Any) -> bytes:
    """The bytes of a .npy file."""
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()
