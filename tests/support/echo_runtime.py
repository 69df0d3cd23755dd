"""A runtime of the tests' own: takes the place of runtimes/registry.py in a copied package.

What it does is chosen by the container environment and by the body of a request: processes are what is tested.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

from clary.runtimes.base import Input, Joins, LoadError, ModelError, Signature


class UnknownRuntimeError(LookupError):
    pass


class EchoModel:
    signature = Signature(width=3, outputs=1)
    notes = ("This model only echoes.",)

    def __init__(self, options: Any) -> None:
        self.libraries = {"echo": "1.0"}
        self.joins = Joins(options.env.get("JOINS", "exact"))
        self.batches: list[int] = []
        self.held = b""

    def decode(self, body: memoryview, content_type: str) -> Input:
        if content_type == "bad/type":
            raise ModelError(415, "no such type")
        return Input(bytes(body), max(1, bytes(body).count(b"\n")), content_type)

    def check_accept(self, accept: str) -> str:
        if accept == "bad/accept":
            raise ModelError(406, "no such accept")
        return accept or "text/plain"

    def predict(self, inputs: Any) -> Any:
        return [_answer(item.data, len(inputs)) for item in inputs]

    def encode(self, result: Any, accept: str) -> tuple[bytes, str]:
        return result, accept

    def probe(self) -> tuple[bytes, str]:
        return b"probe", "text/plain"


def _answer(body: bytes, together: int) -> bytes:
    words = {
        b"pid": lambda: str(os.getpid()),
        b"parent": lambda: str(os.getppid()),
        b"session": lambda: str(os.getsid(0)),
        b"random": lambda: str(random.random()),
        b"environ": lambda: repr(sorted(os.environ)),
        b"fds": lambda: repr(sorted(_open_files())),
        b"together": lambda: str(together),
        b"die": lambda: os.kill(os.getpid(), signal.SIGKILL),
        b"hang": lambda: time.sleep(3600),
        b"child": lambda: str(os.posix_spawn("/bin/sleep", ["sleep", "3600"], {})),
    }
    if body == b"raise":
        raise ValueError("the model was told to raise")
    if body == b"refuse" or (body == b"alone" and together > 1):
        raise ModelError(400, "refused")
    if body.startswith(b"eat "):
        kept.append(bytearray(os.urandom(1024)) * (int(body[4:]) * 1024))
        return b"eaten"
    if body.startswith(b"wait "):
        time.sleep(float(body[5:]))
    return str(words[body]()).encode() if body in words else body


def _open_files() -> list[str]:
    """What the descriptors above stderr lead to."""
    found = []
    for entry in list(Path("/proc/self/fd").iterdir()):
        if int(entry.name) > 2 and (entry.is_symlink() or entry.exists()):
            with contextlib.suppress(FileNotFoundError):
                found.append(str(entry.readlink()))
    return found


kept: list[bytearray] = []


class EchoRuntime:
    name = "echo"
    joins = Joins.EXACT
    pure = True
    modules = ()

    def load(self, options: Any) -> EchoModel:
        env = options.env
        if "CAUSE" in env:
            raise LoadError(env["CAUSE"], "Do better.")
        if "CRASH" in env:
            ctypes.string_at(0)
        if "SLEEP" in env:
            time.sleep(float(env["SLEEP"]))
        if "MISSING" in env:
            raise ModuleNotFoundError("No module named 'nowhere'", name="nowhere")
        if "EAT" in env:
            kept.append(bytearray(os.urandom(1024)) * (int(env["EAT"]) * 1024))
            time.sleep(60)
        return EchoModel(options)


def runtime_named(name: str) -> EchoRuntime:
    if name not in ("echo", "spawned"):
        raise UnknownRuntimeError(f"no runtime is named {name!r}")
    return EchoRuntime()


def modules_of(name: str) -> tuple[str, ...]:
    return ("json",)


TinyPredict = Any


def tiny_predict(runtime: str) -> Any:
    """Of runtimes/tiny.py, which this file replaces too."""
    return (lambda threads: None) if runtime == "echo" else None
