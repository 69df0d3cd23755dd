"""XGBoost's first binary format -> UBJSON, because libraries from 3.1 on no longer read it.

The image wrote this format up to 1.7, so most artifacts in accounts today hold it. The layout is that of
`LearnerIO::Load` and `RegTree::Load` in dmlc/xgboost release_1.7.0: little-endian structs of fixed size, strings and
vectors led by a u64 length. Numbers keep their bits: a converted model predicts as the original did from 1.3 on, and
within the last bits before, where libraries summed trees in another order.
"""

from __future__ import annotations

import json
import math
import struct
from typing import TYPE_CHECKING, Any, Mapping  # noqa: UP035 - Python 3.9

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = b"binf"
"""Leads the format since 1.0; older files begin with the struct."""

_LEARNER = struct.Struct("<f I i i i I I I 104x")
_NAMES_AT = 136
_TREES = struct.Struct("<i i 152x")
_TREE = struct.Struct("<i i i i i i 124x")
_NODE = np.dtype([("parent", "<i4"), ("left", "<i4"), ("right", "<i4"), ("split", "<u4"), ("value", "<f4")])
_STAT = np.dtype([("gain", "<f4"), ("hessian", "<f4"), ("weight", "<f4"), ("leaves", "<i4")])
_LINEAR_BYTES = 136
_RENAMED: Mapping[str, str] = {"reg:linear": "reg:squarederror"}
_OBJECTIVE_ATTRIBUTE = "objective"
_SAVED_PREFIX = "SAVED_PARAM_"
_VERSION_WRITTEN = (1, 7, 6)
"""What the result calls itself: the last version whose json has just these fields."""

_REG = ("reg_loss_param", {"scale_pos_weight": "1"})
_RANK = ("lambda_rank_param", {"fix_list_weight": "0", "num_pairsample": "1"})
_PARAMETERS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "reg:squarederror": _REG,
    "reg:squaredlogerror": _REG,
    "reg:logistic": _REG,
    "binary:logistic": _REG,
    "binary:logitraw": _REG,
    "reg:pseudohubererror": ("pseudo_huber_param", {"huber_slope": "1"}),
    "count:poisson": ("poisson_regression_param", {"max_delta_step": "0.699999988"}),
    "survival:aft": ("aft_loss_param", {"aft_loss_distribution": "normal", "aft_loss_distribution_scale": "1"}),
    "rank:pairwise": _RANK,
    "rank:ndcg": _RANK,
    "rank:map": _RANK,
    "reg:tweedie": ("tweedie_regression_param", {"tweedie_variance_power": "1.5"}),
}
"""What a json model must hold beside an objective's name. It steers training only; the format had none before 1.0."""
_WITHOUT_PARAMETERS = frozenset({"binary:hinge", "reg:absoluteerror", "reg:gamma", "survival:cox"})


class LegacyError(ValueError):
    """Not this format, or cut off."""


def is_legacy(raw: bytes) -> bool:
    """Whether an objective's name stands where this format has it."""
    start = len(MAGIC) if raw.startswith(MAGIC) else 0
    length = int.from_bytes(raw[start + _NAMES_AT : start + _NAMES_AT + 8], "little")
    name = raw[start + _NAMES_AT + 8 : start + _NAMES_AT + 8 + length] if length < 64 else b""
    return b":" in name and name.replace(b":", b"").replace(b"_", b"").isalnum()


def version_of(raw: bytes) -> tuple[int, int] | None:
    """Major and minor version of the writer; None before 1.0, which did not say."""
    start = len(MAGIC) if raw.startswith(MAGIC) else 0
    major, minor = struct.unpack_from("<II", raw, start + 20)
    return (major, minor) if major else None


def to_ubj(raw: bytes) -> bytes:
    """The same model as UBJSON. Raises LegacyError for bytes that are cut off or of another kind."""
    try:
        return b"".join(_ubj(_document(_Reader(raw))))
    except LegacyError:
        raise
    except (struct.error, ValueError, ArithmeticError) as error:
        raise LegacyError(f"the binary model is damaged: {error}") from None


def _document(reader: _Reader) -> dict[str, Any]:
    if reader.raw.startswith(MAGIC):
        reader.at = len(MAGIC)
    base_score, features, classes, has_attributes, _, major, minor, targets = reader.unpack(_LEARNER)
    name = reader.text()
    objective = _RENAMED.get(name, name).replace("gpu:", "")
    booster = _booster(reader, reader.text())
    attributes = {reader.text(): reader.text() for _ in range(reader.count())} if has_attributes else {}
    base_score = _base_score(objective, base_score, (major, minor))
    settings = _objective(objective, classes, attributes.pop(_OBJECTIVE_ATTRIBUTE, ""))
    learner = {
        "attributes": {k: v for k, v in attributes.items() if not k.startswith(_SAVED_PREFIX)},
        "feature_names": [],
        "feature_types": [],
        "gradient_booster": booster,
        "learner_model_param": {
            "base_score": str(np.float32(base_score)),  # few digits: 2.x does not parse more than it prints
            "boost_from_average": "1",
            "num_class": str(classes),
            "num_feature": str(features),
            "num_target": str(max(targets, 1)),
        },
        "objective": settings,
    }
    return {"learner": learner, "version": list(_VERSION_WRITTEN)}


def _objective(name: str, classes: int, stored: str) -> dict[str, Any]:
    """An objective's settings: those that 1.0 to 1.7 stored among the attributes, else the defaults."""
    if stored:
        settings = json.loads(stored)
        return {**settings, "name": name} if isinstance(settings, dict) else {"name": name}
    if name.startswith("multi:"):
        return {"name": name, "softmax_multiclass_param": {"num_class": str(classes)}}
    if name in _WITHOUT_PARAMETERS:
        return {"name": name}
    if name not in _PARAMETERS:
        raise LegacyError(f"unknown objective {name!r}")
    key, values = _PARAMETERS[name]
    return {"name": name, key: dict(values)}


def _base_score(objective: str, stored: float, version: tuple[int, int]) -> float:
    """base_score as today's json means it: before 1.0 its margin was stored; before 1.3 logitraw made one of it."""
    if objective == "binary:logitraw":
        return math.log(stored / (1.0 - stored)) if (1, 0) <= version < (1, 3) else stored
    if version >= (1, 0):
        return stored
    if objective in ("binary:logistic", "reg:logistic"):
        return 1.0 / (1.0 + math.exp(-stored))
    if objective in ("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox"):
        return math.exp(stored)
    return stored


def _booster(reader: _Reader, name: str) -> dict[str, Any]:
    if name == "gbtree":
        return {"model": _trees(reader), "name": name}
    if name == "dart":
        trees = _trees(reader)
        drops = reader.array(np.dtype("<f4"), reader.count()).tolist() if trees["trees"] else []
        return {"gbtree": {"model": trees, "name": "gbtree"}, "name": name, "weight_drop": drops}
    if name == "gblinear":
        reader.skip(_LINEAR_BYTES)
        return {"model": {"boosted_rounds": 0, "weights": reader.array(np.dtype("<f4"), reader.count())}, "name": name}
    raise LegacyError(f"unknown booster {name!r}")


def _trees(reader: _Reader) -> dict[str, Any]:
    count, parallel = reader.unpack(_TREES)
    trees = [_tree(reader, index) for index in range(reader.checked(count))]
    info = reader.array(np.dtype("<i4"), count).tolist()
    params = {"num_parallel_tree": str(max(parallel, 1)), "num_trees": str(count), "size_leaf_vector": "0"}
    return {"gbtree_model_param": params, "tree_info": info, "trees": trees}


def _tree(reader: _Reader, index: int) -> dict[str, Any]:
    _, count, deleted, _, features, _ = reader.unpack(_TREE)
    nodes = reader.array(_NODE, reader.checked(count))
    stats = reader.array(_STAT, count)
    none = np.zeros(0, np.int32)
    return {
        "base_weights": stats["weight"],
        "categories": none,
        "categories_nodes": none,
        "categories_segments": np.zeros(0, np.int64),
        "categories_sizes": np.zeros(0, np.int64),
        "default_left": (nodes["split"] >> 31).astype(np.uint8),
        "id": index,
        "left_children": nodes["left"],
        "loss_changes": stats["gain"],
        "parents": nodes["parent"] & 0x7FFFFFFF,
        "right_children": nodes["right"],
        "split_conditions": nodes["value"],
        "split_indices": (nodes["split"] & 0x7FFFFFFF).astype(np.int32),
        "split_type": np.zeros(count, np.uint8),
        "sum_hessian": stats["hessian"],
        "tree_param": {
            "num_deleted": str(deleted),
            "num_feature": str(features),
            "num_nodes": str(count),
            "size_leaf_vector": "0",
        },
    }


class _Reader:
    """A cursor over the bytes; every length is checked against what is left."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.at = 0

    def unpack(self, layout: struct.Struct) -> tuple[Any, ...]:
        found = layout.unpack_from(self.raw, self.at)
        self.at += layout.size
        return found

    def checked(self, count: int) -> int:
        """A count of things of at least a byte each that still fit."""
        if not 0 <= count <= len(self.raw) - self.at:
            raise LegacyError(f"the binary model is damaged: a count of {count} at byte {self.at}")
        return count

    def count(self) -> int:
        return self.checked(int(self.unpack(_U64)[0]))

    def skip(self, size: int) -> None:
        self.at += self.checked(size)

    def text(self) -> str:
        size = self.count()
        self.at += size
        return self.raw[self.at - size : self.at].decode("utf-8")

    def array(self, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
        size = self.checked(count * dtype.itemsize)
        self.at += size
        return np.frombuffer(self.raw, dtype, count, self.at - size)


_U64 = struct.Struct("<Q")
_F32_BIG = struct.Struct(">f")
_I64_BIG = struct.Struct(">q")
_ARRAYS: Mapping[str, tuple[bytes, str]] = {
    "float32": (b"d", ">f4"),
    "int32": (b"l", ">i4"),
    "int64": (b"L", ">i8"),
    "uint8": (b"U", ">u1"),
}


def _ubj(value: Any) -> list[bytes]:
    """UBJSON as XGBoost writes it: lengths as int64, arrays of one kind typed."""
    if isinstance(value, dict):
        parts = [b"{"]
        for key, one in value.items():
            parts += [_sized(key), *_ubj(one)]
        return [*parts, b"}"]
    if isinstance(value, list):
        return [b"[#L" + _I64_BIG.pack(len(value)), *(part for one in value for part in _ubj(one))]
    if isinstance(value, str):
        return [b"S", _sized(value)]
    if isinstance(value, float):
        return [b"d" + _F32_BIG.pack(value)]
    if isinstance(value, int):
        return [b"L" + _I64_BIG.pack(value)]
    kind, dtype = _ARRAYS[value.dtype.name]
    return [b"[$" + kind + b"#L" + _I64_BIG.pack(len(value)), value.astype(dtype).tobytes()]


def _sized(text: str) -> bytes:
    raw = text.encode()
    return b"L" + _I64_BIG.pack(len(raw)) + raw
