"""Finding and loading what an XGBoost artifact holds: json, ubj, legacy binary, pickled boosters and wrappers."""

from __future__ import annotations

import io
import json
import pickle
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Sequence  # noqa: UP035 - Python 3.9

import xgboost

from clary.runtimes import xgboost_legacy
from clary.runtimes.base import LoadError
from clary.runtimes.files import passed_over

MODEL_FILE = "xgboost-model"
_TAIL_BYTES = 4096
_OLD_PICKLE = b"ccopy_reg\n"
"""How a pickle of an object begins in protocols 0 and 1."""
_CONFIG_HEADER = b"CONFIG-offset:"
_JSON_VERSION = re.compile(rb'"version"\s*:\s*\[\s*(\d+)\s*,\s*(\d+)')
_UBJ_VERSION = re.compile(rb"version\[#L.{8}i(.)i(.)", re.DOTALL)
_RESAVE = (
    "Load the model with the XGBoost version that wrote it, call `booster.save_model('xgboost-model.json')`, "
    "and put that file into the model.tar.gz."
)

Version = tuple[int, int]


@dataclass(frozen=True)
class Loaded:
    """One booster, ready to predict."""

    booster: Any
    path: Path
    pickled: bool
    version: Version | None
    """Of the library that wrote it, where the file says."""
    notes: Sequence[str] = ()


def model_files(model_dir: Path) -> list[Path]:
    """The files that hold boosters: `xgboost-model` alone, else every plain file at the top, in the order of names.

    Hidden files and folders (script mode's `code/`) are passed over. Raises LoadError where nothing is left.
    """
    named = model_dir / MODEL_FILE
    if named.is_file():
        return [named]
    files = sorted(p for p in model_dir.iterdir() if p.is_file() and not p.name.startswith("."))
    if files:
        return files
    below = sorted(p for p in model_dir.rglob("*") if p.is_file() and not passed_over(p.relative_to(model_dir)))
    if below:
        raise LoadError(
            f"The artifact has no file at its top; the model seems to be {below[0].relative_to(model_dir)}.",
            "Pack the file itself, not its folder: `tar czf model.tar.gz -C FOLDER xgboost-model`.",
        )
    raise LoadError("The artifact holds no file.", f"Pack the model as {MODEL_FILE} at the top of the model.tar.gz.")


def load_file(path: Path) -> Loaded:
    """The booster in one file, whatever its format. Raises LoadError with cause and remedy."""
    raw = path.read_bytes()
    if not raw:
        raise LoadError(f"{path.name} is empty.", "Save the model again and upload the whole file.")
    if xgboost_legacy.is_legacy(raw):
        return _load_legacy(path, raw)
    _check_library(path.name, version_in(raw))
    if raw[:1] == b"\x80" or raw.startswith(_OLD_PICKLE):
        return _load_pickle(path, raw)
    return _load_native(path, raw)


def version_in(raw: bytes) -> Version | None:
    """Major and minor version of the library that wrote a json or ubj model or a pickle of one, if it says so."""
    found = _JSON_VERSION.search(raw, max(0, len(raw) - _TAIL_BYTES))
    if found is not None:
        return int(found[1]), int(found[2])
    found = _UBJ_VERSION.search(raw, max(0, len(raw) - _TAIL_BYTES))
    if found is not None:
        return found[1][0], found[2][0]
    return None


def library_version() -> Version:
    """Major and minor version of the XGBoost that is installed."""
    major, minor = xgboost.__version__.split(".")[:2]
    return int(major), int(minor)


def _check_library(name: str, version: Version | None) -> None:
    if version is not None and version[0] > library_version()[0]:
        raise LoadError(
            f"{name} was written by XGBoost {version[0]}.{version[1]}; this environment has {xgboost.__version__}.",
            f"Install xgboost {version[0]} in the model's environment, or re-save the model with an older version.",
        )


def _load_native(path: Path, raw: bytes) -> Loaded:
    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(raw))
    except xgboost.core.XGBoostError as error:
        raise LoadError(
            f"{path.name} is no model that XGBoost {xgboost.__version__} reads: {first_line(error)}.", _RESAVE
        ) from None
    return Loaded(booster, path, pickled=False, version=version_in(raw))


def _load_legacy(path: Path, raw: bytes) -> Loaded:
    version = xgboost_legacy.version_of(raw)
    try:
        booster = xgboost.Booster()
        booster.load_model(bytearray(xgboost_legacy.to_ubj(raw)))
    except (xgboost_legacy.LegacyError, xgboost.core.XGBoostError) as error:
        raise LoadError(
            f"{path.name} is in XGBoost's binary format and was not read: {first_line(error)}.", _RESAVE
        ) from None
    return Loaded(booster, path, pickled=False, version=version, notes=(_legacy_note(path.name, version),))


def _legacy_note(name: str, version: Version | None) -> str:
    by = f"XGBoost {version[0]}.{version[1]}" if version else "an XGBoost before 1.0"
    return f"{name} is in XGBoost's binary format, written by {by}: it was converted while loading."


class _Booster(xgboost.Booster):
    """What a pickled Booster becomes: the library's own, which also takes the states of its older versions."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        handle = bytes(state.get("handle") or b"")
        model = _model_within(handle)
        if model is None:
            super().__setstate__(state)
        else:
            xgboost.Booster.__init__(self)
            self.load_model(bytearray(model))
        best = state.get("best_iteration")
        if isinstance(best, int) and self.attr("best_iteration") is None:
            self.set_attr(best_iteration=str(best))


def _model_within(handle: bytes) -> bytes | None:
    """The model in a pickle's state where the library would not take that state; None where it does.

    Before 1.0 the state was the binary format; up to 1.2 that and a configuration behind a header; up to 1.6 json.
    """
    if handle.startswith(_CONFIG_HEADER):
        start = len(_CONFIG_HEADER) + 8
        offset = int.from_bytes(handle[start - 8 : start], "little")
        return xgboost_legacy.to_ubj(handle[start : start + offset])
    if xgboost_legacy.is_legacy(handle):
        return xgboost_legacy.to_ubj(handle)
    if handle.startswith(b'{"'):
        return json.dumps(json.loads(handle)["Model"]).encode()
    return None


class _Unpickler(pickle.Unpickler):
    """Runs the artifact's own pickle: a model is trusted code, and it runs in a worker only."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "Booster" and module.startswith("xgboost."):
            return _Booster
        return super().find_class(module, name)


def _unpickled(raw: bytes) -> Any:
    """A pickle's value; where arrays as joblib writes them are in the way, what joblib makes of it."""
    try:
        return _Unpickler(io.BytesIO(raw)).load()
    except Exception:
        if b"joblib" not in raw:
            raise
    import joblib

    return joblib.load(io.BytesIO(raw))


def _load_pickle(path: Path, raw: bytes) -> Loaded:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value = _unpickled(raw)
        except Exception as error:
            raise LoadError(
                f"{path.name} cannot be unpickled: {type(error).__name__}: {first_line(error)}.", _RESAVE
            ) from None
    booster = value.get_booster() if isinstance(value, xgboost.XGBModel) else value
    if not isinstance(booster, xgboost.Booster):
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise LoadError(
            f"{path.name} holds a pickled {kind}, not an XGBoost booster.",
            "Create the model with the scikit-learn image, or save its booster by `save_model`.",
        )
    version = version_in(raw)
    notes = [f"{path.name}: {str(w.message).strip().splitlines()[0]}" for w in caught]
    if version is not None and version != library_version():
        notes.append(
            f"{path.name} was pickled by XGBoost {version[0]}.{version[1]} and read by {xgboost.__version__}; "
            "`save_model` writes files meant to be read by later versions."
        )
    return Loaded(booster, path, pickled=True, version=version, notes=tuple(notes))


def first_line(error: BaseException) -> str:
    """What XGBoost says before its stack trace, without the time and the place in its source."""
    text = str(error).split("\nStack trace")[0].strip().split("\n")[0]
    return re.sub(r"^\[\d\d:\d\d:\d\d\] \S+:\d+: ", "", text).rstrip(".")
