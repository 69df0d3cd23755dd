"""The size table: which `ml.<family>.<size>` there are, and what each one has.

Sizes are those of EC2 (vCPUs grow with the size, memory with the vCPUs, by family); the families and sizes offered are
ProductionVariant.InstanceType's of the API reference, and t3, which public write-ups use and the reference lacks.
Clary runs every type on the machine it has: the table bounds a replica's share, it buys no hardware.
"""

from __future__ import annotations

from dataclasses import dataclass

from clary.domain.errors import Invalid


@dataclass(frozen=True)
class InstanceType:
    """One row of the size table."""

    name: str
    vcpus: int
    memory_gib: float
    gpus: int = 0


_TO_16 = "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge"
_TO_32 = _TO_16 + " 24xlarge 32xlarge"
_TO_48 = _TO_16 + " 24xlarge 48xlarge"

# GiB of memory per vCPU, and the sizes, of the families that follow the rule.
_FAMILIES: dict[str, tuple[float, str]] = {
    "t2": (4, "medium large xlarge 2xlarge"),
    "t3": (4, "medium large xlarge 2xlarge"),
    "m4": (4, "xlarge 2xlarge 4xlarge 10xlarge 16xlarge"),
    "m5": (4, "large xlarge 2xlarge 4xlarge 12xlarge 24xlarge"),
    "m5d": (4, "large xlarge 2xlarge 4xlarge 12xlarge 24xlarge"),
    "m6i": (4, _TO_32),
    "m6g": (4, _TO_16),
    "m6gd": (4, _TO_16),
    "m7i": (4, _TO_48),
    "m8g": (4, "medium " + _TO_48),
    "c4": (1.875, "large xlarge 2xlarge 4xlarge 8xlarge"),
    "c5": (2, "large xlarge 2xlarge 4xlarge 9xlarge 18xlarge"),
    "c5d": (2, "large xlarge 2xlarge 4xlarge 9xlarge 18xlarge"),
    "c6i": (2, _TO_32),
    "c6in": (2, _TO_32),
    "c6g": (2, _TO_16),
    "c6gd": (2, _TO_16),
    "c6gn": (2, _TO_16),
    "c7g": (2, _TO_16),
    "c7i": (2, _TO_48),
    "c8g": (2, "medium " + _TO_48),
    "r5": (8, "large xlarge 2xlarge 4xlarge 12xlarge 24xlarge"),
    "r5d": (8, "large xlarge 2xlarge 4xlarge 12xlarge 24xlarge"),
    "r6i": (8, _TO_32),
    "r6g": (8, _TO_16),
    "r6gd": (8, _TO_16),
    "r7i": (8, _TO_48),
    "r7gd": (8, "medium " + _TO_16),
    "r8g": (8, "medium " + _TO_48),
    "inf1": (2, "xlarge 2xlarge 6xlarge 24xlarge"),
    "inf2": (4, "xlarge 8xlarge 24xlarge 48xlarge"),
    "trn1": (4, "2xlarge 32xlarge"),
    "trn1n": (4, "32xlarge"),
    "trn2": (32 / 3, "48xlarge"),
    "dl1": (8, "24xlarge"),
    "g4dn": (4, "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge"),
    "g5": (4, "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge"),
    "g6": (4, "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge"),
    "g6e": (8, "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge"),
    "g7": (4, "2xlarge 4xlarge 8xlarge 12xlarge 24xlarge 48xlarge"),
    "g7e": (8, "2xlarge 4xlarge 8xlarge 12xlarge 24xlarge 48xlarge"),
    "p2": (15.25, "xlarge 8xlarge 16xlarge"),
    "p3": (7.625, "2xlarge 8xlarge 16xlarge"),
    "p4d": (12, "24xlarge"),
    "p4de": (12, "24xlarge"),
    "p5": (32 / 3, "4xlarge 48xlarge"),
    "p5e": (32 / 3, "48xlarge"),
    "p5en": (32 / 3, "48xlarge"),
    "p6-b200": (32 / 3, "48xlarge"),
    "p6-b300": (64 / 3, "48xlarge"),
    "p6e-gb200": (20 / 3, "36xlarge"),
}

# GPUs by family: of every size, unless the size is named.
_GPUS: dict[str, dict[str, int]] = {
    "g4dn": {"": 1, "12xlarge": 4},
    "g5": {"": 1, "12xlarge": 4, "24xlarge": 4, "48xlarge": 8},
    "g6": {"": 1, "12xlarge": 4, "24xlarge": 4, "48xlarge": 8},
    "g6e": {"": 1, "12xlarge": 4, "24xlarge": 4, "48xlarge": 8},
    "g7": {"": 1, "12xlarge": 2, "24xlarge": 4, "48xlarge": 8},
    "g7e": {"": 1, "12xlarge": 2, "24xlarge": 4, "48xlarge": 8},
    "p2": {"xlarge": 1, "8xlarge": 8, "16xlarge": 16},
    "p3": {"2xlarge": 1, "8xlarge": 4, "16xlarge": 8},
    "p4d": {"": 8},
    "p4de": {"": 8},
    "p5": {"": 8, "4xlarge": 1},
    "p5e": {"": 8},
    "p5en": {"": 8},
    "p6-b200": {"": 8},
    "p6-b300": {"": 8},
    "p6e-gb200": {"": 4},
}

# Sizes that break their family's rule: vCPUs and GiB.
_EXCEPTIONS: dict[str, tuple[int, float]] = {
    "t2.medium": (2, 4),
    "t3.medium": (2, 4),
    "c4.8xlarge": (36, 60),
    "p2.16xlarge": (64, 732),
    "p5.4xlarge": (16, 256),
    "g7e.12xlarge": (48, 512),
    "g7e.24xlarge": (96, 1024),
    "g7e.48xlarge": (192, 2048),
}


def _vcpus(size: str) -> int:
    """medium 1, large 2, xlarge 4, Nxlarge 4N."""
    if not size.endswith("xlarge"):
        return {"medium": 1, "large": 2}[size]
    return 4 * int(size[: -len("xlarge")] or 1)


def _table() -> dict[str, InstanceType]:
    table = {}
    for family, (gib_per_vcpu, sizes) in _FAMILIES.items():
        gpus = _GPUS.get(family, {})
        for size in sizes.split():
            vcpus = _vcpus(size)
            vcpus, memory_gib = _EXCEPTIONS.get(f"{family}.{size}", (vcpus, round(vcpus * gib_per_vcpu, 2)))
            name = f"ml.{family}.{size}"
            table[name] = InstanceType(name, vcpus, float(memory_gib), gpus.get(size, gpus.get("", 0)))
    return table


INSTANCE_TYPES: dict[str, InstanceType] = _table()
"""By full name, in the order of the table."""


def instance_type(name: str) -> InstanceType:
    """The row of `name`; Invalid with the whole list where there is none."""
    try:
        return INSTANCE_TYPES[name]
    except KeyError:
        raise Invalid(f"Unknown InstanceType '{name}'. Known ones: {known_types()}.") from None


def known_types() -> str:
    """The list for people, one entry a family: `ml.t2.(medium|large|xlarge|2xlarge), ...`."""
    return ", ".join(f"ml.{family}.({sizes.replace(' ', '|')})" for family, (_, sizes) in _FAMILIES.items())
