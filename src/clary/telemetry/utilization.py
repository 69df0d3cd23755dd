"""What processes take of the machine, as SageMaker's utilisation metrics (developer guide, "Amazon SageMaker AI metrics
in Amazon CloudWatch"): CPUUtilization is the sum over cores, 0 to 100 times their number; the others are 0 to 100.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from clary.telemetry.points import Cell, Dimensions, Sample, SeriesKey

ENDPOINTS = "/aws/sagemaker/Endpoints"
TRAINING_JOBS = "/aws/sagemaker/TrainingJobs"


@dataclass(frozen=True)
class Subject:
    """A process, with all that it started, whose share of the machine is published."""

    pid: int
    uid: str
    """Of the replica or job."""
    account: str
    region: str
    namespace: str
    dimensions: tuple[Dimensions, ...]
    """It is published under each of them; sorted by name."""
    resource: str
    """uid of the endpoint or job."""


@dataclass(frozen=True)
class Usage:
    """What a subject takes."""

    subject: Subject
    at_s: int
    """UTC seconds."""
    percent: Mapping[str, float]
    """By the metric's name; CPUUtilization is missing the first time."""

    def samples(self) -> Iterator[Sample]:
        """For the metric store."""
        subject = self.subject
        for dimensions in subject.dimensions:
            for metric, value in sorted(self.percent.items()):
                key = SeriesKey(
                    account=subject.account,
                    region=subject.region,
                    namespace=subject.namespace,
                    metric=metric,
                    dimensions=dimensions,
                    unit="Percent",
                    resource=subject.resource,
                )
                yield Sample(key, self.at_s, Cell(1, value, value, value))


@dataclass(frozen=True)
class _Use:
    """What a tree of processes had used by some moment."""

    at_s: float
    cpu_s: float
    started_s: float
    """When its first process did: another one may get its pid."""


class Meter:
    """Measures subjects; remembers how much processor time each had used before. Used from one thread at a time."""

    def __init__(self, disk: Path) -> None:
        """`disk`: a path on the file system whose use is DiskUtilization."""
        self._disk = disk
        self._before: dict[int, _Use] = {}

    def measure(self, subjects: Iterable[Subject], at_s: int, monotonic_s: float) -> list[Usage]:
        """What each takes now; blocking for some milliseconds. CPUUtilization is over the time since the subject was
        measured last. A subject that is no more is left out."""
        wanted = list(subjects)
        if not wanted:
            self._before.clear()
            return []
        children = _children()
        disk = psutil.disk_usage(str(self._disk)).percent
        memory_bytes = psutil.virtual_memory().total
        before, self._before = self._before, {}
        found: list[Usage] = []
        for subject in wanted:
            with contextlib.suppress(psutil.NoSuchProcess):
                tree = _tree(subject.pid, children)
                use = _Use(monotonic_s, _cpu_s(tree), tree[0].create_time())
                self._before[subject.pid] = use
                values = {"MemoryUtilization": 100 * _memory_bytes(tree) / memory_bytes, "DiskUtilization": disk}
                then = before.get(subject.pid)
                if then is not None and then.started_s == use.started_s and use.at_s > then.at_s:
                    values["CPUUtilization"] = 100 * max(0.0, use.cpu_s - then.cpu_s) / (use.at_s - then.at_s)
                found.append(Usage(subject, at_s, values))
        return found


def _children() -> dict[int, list[psutil.Process]]:
    """Every process by its parent's pid: one look at all of them costs less than one for each subject."""
    found: dict[int, list[psutil.Process]] = {}
    for process in psutil.process_iter(["ppid"]):
        found.setdefault(process.info["ppid"], []).append(process)
    return found


def _tree(pid: int, children: Mapping[int, list[psutil.Process]]) -> list[psutil.Process]:
    """A process and all below it. Raises NoSuchProcess where it is no more."""
    tree = [psutil.Process(pid)]
    for process in tree:  # grows as it is walked
        tree += children.get(process.pid, ())
    return tree


def _cpu_s(tree: Iterable[psutil.Process]) -> float:
    """Processor seconds of all, and of those of their children that ended."""
    total = 0.0
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


def _memory_bytes(tree: Iterable[psutil.Process]) -> int:
    """Resident bytes of all; pages shared with others by share: replicas forked from one process share most."""
    total = 0
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            try:
                total += process.memory_full_info().pss
            except psutil.AccessDenied:
                total += process.memory_info().rss
    return total
