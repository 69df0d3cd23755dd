"""What is this file? The runtime that serves it, found by reading bytes.

Nothing is unpickled, and no model library is imported.
"""

from __future__ import annotations

import bz2
import io
import lzma
import re
import tarfile
import zipfile
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Mapping  # noqa: UP035 - Python 3.9

from clary.runtimes import mlmodel
from clary.runtimes.base import LoadError, Signature
from clary.runtimes.onnx_file import read_onnx
from clary.runtimes.picklescan import Scan, imports, scan

_HEAD_BYTES = 4096
_TAIL_BYTES = 4096
_MEMBER_BYTES_MAX = 256 * 1024 * 1024
"""How much of one file is read: enough to find a pickle's classes."""
_LEGACY_NAMES_AT = 136
"""Where XGBoost's binary format has its objective's name: after one fixed struct."""

_JSON_FEATURES = re.compile(rb'"num_feature"\s*:\s*"(\d+)"')
_UBJ_FEATURES = re.compile(rb"num_featureS[LlIUi].{1,8}?(\d+)", re.DOTALL)
_LIGHTGBM_LAST = re.compile(rb"\nmax_feature_idx=(\d+)\n")
_SKOPS_ROOT = re.compile(rb'"__class__": "(\w+)"')
_JSON_VERSION = re.compile(rb'"version"\s*:\s*\[\s*(\d+)\s*,\s*(\d+)')
_UBJ_VERSION = re.compile(rb"version\[#L.{8}i(.)i(.)", re.DOTALL)

_REMEDY = (
    "Served are XGBoost models (json, ubj, binary, pickle), scikit-learn estimators (joblib, pickle, skops), LightGBM "
    "models (text, pickle), ONNX graphs, TorchScript files, SavedModels and MLflow model folders, as a file, a folder "
    "or a model.tar.gz."
)
_LATER: Mapping[str, str] = {
    "catboost": "CatBoost",
    "torch": "PyTorch",
    "tensorflow": "TensorFlow",
    "keras": "Keras",
    "statsmodels": "statsmodels",
}


@dataclass(frozen=True)
class Detected:
    """What was found, and why it is thought to be so."""

    runtime: str
    """Name in `runtimes.registry`."""
    why: str
    """A noun phrase: `an XGBoost model (json, written by XGBoost 3.2, 24 features)`."""
    files: tuple[str, ...]
    """Model files, relative to what was given."""
    signature: Signature = field(default_factory=Signature)
    libraries: Mapping[str, str] = field(default_factory=dict)
    """Versions that the files name: `{"scikit-learn": "1.5.0"}`."""
    imports: tuple[str, ...] = ()
    """What loading its pickles would look up (`module.name`); empty where it has none. See runtimes/trust.py."""


def detect(path: Path) -> Detected:
    """The runtime for a file, a folder or a tar.gz. Raises LoadError, naming what was found, where none fits."""
    if path.is_dir():
        files = [p for p in sorted(path.rglob("*")) if p.is_file() and not _passed_over(p.relative_to(path).as_posix())]
        found = [(p.relative_to(path).as_posix(), _read(p)) for p in files[:_FILES_MAX]]
    elif path.is_file():
        found = _members(path) or [(path.name, _read(path))]
    else:
        raise LoadError(f"There is no file or folder {path}.", _REMEDY)
    decided = _decide(path, found)
    looked_up = (name for _, raw in found if (pickled := _pickled(raw)) is not None for name in imports(pickled))
    return replace(decided, imports=tuple(dict.fromkeys(looked_up)))


def _pickled(raw: bytes) -> bytes | None:
    """The pickle in a file, unpacked; None where there is none."""
    if raw.startswith(_PICKLE_HEADS):
        return raw
    inner = _decompressed(raw)
    return inner if inner is not None and inner.startswith(_PICKLE_HEADS) else None


_PICKLE_HEADS = (b"\x80", b"ccopy_reg\n")
_FILES_MAX = 100


def _decide(path: Path, found: list[tuple[str, bytes]]) -> Detected:
    if not found:
        raise LoadError(f"{path.name} holds no file.", _REMEDY)
    mlflow = [(name, raw) for name, raw in found if name.rpartition("/")[2] == mlmodel.NAME and name.count("/") <= 1]
    if mlflow:
        return _mlflow(*mlflow[0])
    known: list[Detected] = []
    refused: list[LoadError] = []
    for name, raw in found:
        try:
            known.append(_one(name, raw))
        except LoadError as error:
            refused.append(error)
    if not known:
        raise refused[0]
    runtimes = {one.runtime for one in known}
    if len(runtimes) > 1:
        listed = ", ".join(f"{one.files[0]} ({one.runtime})" for one in known)
        raise LoadError(f"{path.name} holds models of several kinds: {listed}.", "Deploy one model at a time.")
    first = known[0]
    named = next((one for one in known if one.files[0] == "xgboost-model"), None)
    if named is not None or len(known) == 1:
        return named or first
    why = f"{len(known)} models, the first {first.why}"
    return Detected(first.runtime, why, tuple(one.files[0] for one in known), first.signature, first.libraries)


def _one(name: str, raw: bytes) -> Detected:
    """One file's kind; LoadError naming what it seems to be instead."""
    head = raw[:_HEAD_BYTES]
    if not raw:
        raise LoadError(f"{name} is empty.", _REMEDY)
    if head.startswith(_PICKLE_HEADS):
        return _pickle(name, raw)
    if head.lstrip()[:1] == b"{" and b'"learner"' in head:
        return _xgboost_found(name, "json", _writer(raw), _first_number(_JSON_FEATURES, raw))
    if head.startswith(b"{") and b"learner{" in head:
        return _xgboost_found(name, "ubj", _writer(raw), _first_number(_UBJ_FEATURES, raw))
    legacy = _legacy(name, raw)
    if legacy is not None:
        return legacy
    if head.startswith(b"tree\n") and b"num_class=" in head:
        width = _first_number(_LIGHTGBM_LAST, raw)
        return _lightgbm_found(name, "text", None if width is None else width + 1)
    if head.startswith(b"PK\x03\x04"):
        return _zip(name, raw)
    if name.rpartition("/")[2] == "saved_model.pb":
        return Detected("tensorflow", "a TensorFlow SavedModel", (name,))
    graph = read_onnx(raw) if head.startswith(b"\x08") else None
    if graph is not None:
        by = f", made by {graph.producer}" if graph.producer else ""
        return Detected("onnx", f"an ONNX graph ({_features(graph.width)}{by})", (name,), Signature(width=graph.width))
    inner = _decompressed(raw)
    if inner is not None and inner.startswith(b"\x80"):
        return _pickle(name, inner)
    raise LoadError(f"{name} is of no kind that Clary knows.", _REMEDY)


def _zip(name: str, raw: bytes) -> Detected:
    """Which library's archive it is: each has members of its own."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            members = {member.partition("/")[2] or member for member in archive.namelist()}
            members |= set(archive.namelist())
            if "schema.json" in members:
                return _skops(name, archive.read("schema.json"))
    except (zipfile.BadZipFile, KeyError, NotImplementedError, zlib.error, EOFError) as error:
        raise LoadError(f"{name} is a zip archive that cannot be read: {error}.", _REMEDY) from None
    if "constants.pkl" in members:
        return Detected("pytorch", "a TorchScript model", (name,))
    if "data.pkl" in members:
        raise LoadError(
            f"{name} holds weights or a module pickled by PyTorch, without the code that they need.",
            "Save it by torch.jit.script(model).save(...), or add an inference.py with a model_fn.",
        )
    if "model.weights.h5" in members:
        raise LoadError(f"{name} is a Keras archive.", "Save it as a SavedModel: model.export('1').")
    raise LoadError(f"{name} is a zip archive of no kind that Clary knows.", _REMEDY)


def _skops(name: str, schema: bytes) -> Detected:
    root = _SKOPS_ROOT.search(schema[:_HEAD_BYTES])
    kind = root[1].decode("ascii", "replace") if root else "unknown"
    return Detected("sklearn", f"a scikit-learn model ({kind}; saved by skops)", (name,))


def _decompressed(raw: bytes) -> bytes | None:
    """The beginning of what joblib compressed, with whichever of the standard library's methods; None for others."""
    for method in (zlib.decompressobj(47), bz2.BZ2Decompressor(), lzma.LZMADecompressor()):
        try:
            return method.decompress(raw, _MEMBER_BYTES_MAX)
        except (zlib.error, OSError, lzma.LZMAError, EOFError):
            continue
    return None


def _first_number(pattern: re.Pattern[bytes], raw: bytes) -> int | None:
    found = pattern.search(raw)
    return int(found[1]) if found else None


def _writer(raw: bytes) -> dict[str, str]:
    """The XGBoost version that a json or ubj document ends with, also where a pickle wraps it."""
    tail = raw[-_TAIL_BYTES:]
    text = _JSON_VERSION.search(tail)
    if text is not None:
        return {"xgboost": f"{int(text[1])}.{int(text[2])}"}
    binary = _UBJ_VERSION.search(tail)
    return {"xgboost": f"{binary[1][0]}.{binary[2][0]}"} if binary else {}


def _xgboost_found(name: str, kind: str, libraries: Mapping[str, str], width: int | None) -> Detected:
    facts = [kind]
    if "xgboost" in libraries:
        facts.append(f"written by XGBoost {libraries['xgboost']}")
    if width:
        facts.append(f"{width} features")
    return Detected("xgboost", f"an XGBoost model ({', '.join(facts)})", (name,), Signature(width=width), libraries)


def _mlflow(name: str, raw: bytes) -> Detected:
    told = mlmodel.mlmodel_of(raw)
    flavours = [flavour for flavour in told.flavors if flavour != "python_function"] or ["python_function"]
    by = f", saved by MLflow {told.mlflow}" if told.mlflow else ""
    why = f"an MLflow model ({', '.join(flavours)}; {_features(told.width)}{by})"
    return Detected("pyfunc", why, (name,), Signature(width=told.width, names=told.names), {"mlflow": told.mlflow})


def _lightgbm_found(name: str, kind: str, width: int | None) -> Detected:
    return Detected("lightgbm", f"a LightGBM model ({kind}; {_features(width)})", (name,), Signature(width=width))


def _features(width: int | None) -> str:
    return "features unknown" if width is None else f"{width} features"


def _legacy(name: str, raw: bytes) -> Detected | None:
    """XGBoost's binary format, known by its objective's name after a struct of fixed size."""
    start = 4 if raw.startswith(b"binf") else 0
    length = int.from_bytes(raw[start + _LEGACY_NAMES_AT : start + _LEGACY_NAMES_AT + 8], "little")
    if not 0 < length < 64:
        return None
    objective = raw[start + _LEGACY_NAMES_AT + 8 : start + _LEGACY_NAMES_AT + 8 + length]
    if not re.fullmatch(rb"[a-z]+:[a-z_]+", objective):
        return None
    width = int.from_bytes(raw[start + 4 : start + 8], "little")
    major, minor = (int.from_bytes(raw[start + at : start + at + 4], "little") for at in (20, 24))
    libraries = {"xgboost": f"{major}.{minor}"} if major else {}
    return _xgboost_found(name, "legacy binary", libraries, width)


def _pickle(name: str, raw: bytes) -> Detected:
    scanned: Scan = scan(raw)
    if scanned.root is None:
        raise LoadError(f"{name} is a pickle of no class.", _REMEDY)
    package = scanned.root.partition(".")[0]
    if package == "lightgbm":
        width = _first_number(_LIGHTGBM_LAST, raw)
        return _lightgbm_found(
            name, "pickle of " + scanned.root.rpartition(".")[2], None if width is None else width + 1
        )
    if package == "xgboost":
        kind = "pickle of " + scanned.root.rpartition(".")[2]
        return _xgboost_found(name, kind, _writer(raw), None)
    if package in ("sklearn", "imblearn"):
        version = scanned.libraries.get("scikit-learn")
        by = f", written by scikit-learn {version}" if version else ""
        kind = scanned.root.rpartition(".")[2]
        return Detected(
            "sklearn", f"a scikit-learn model ({kind}{by})", (name,), Signature(width=scanned.width), scanned.libraries
        )
    what = _LATER.get(package)
    if what is not None:
        raise LoadError(f"{name} is a pickled {what} model, which this release does not serve.", _REMEDY)
    raise LoadError(f"{name} is a pickle of {scanned.root}, which is no kind of model that Clary knows.", _REMEDY)


def _passed_over(name: str) -> bool:
    parts = name.split("/")
    return any(part.startswith(".") for part in parts) or parts[0] in ("code", "__MACOSX")


def _read(path: Path) -> bytes:
    with path.open("rb") as source:
        return source.read(_MEMBER_BYTES_MAX)


def _members(path: Path) -> list[tuple[str, bytes]]:
    """Files within a tar or tar.gz; empty where it is neither."""
    found: list[tuple[str, bytes]] = []
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                name = member.name[2:] if member.name.startswith("./") else member.name
                if not member.isreg() or _passed_over(name):
                    continue
                content = archive.extractfile(member)
                if content is not None:
                    found.append((name, content.read(_MEMBER_BYTES_MAX)))
                if len(found) == _FILES_MAX:
                    break
    except (tarfile.TarError, OSError, EOFError):
        return []
    return found
