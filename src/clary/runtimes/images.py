"""Container image URIs -> the runtime that answers for them. Pure: no I/O, no model library.

The URI grammar and the repositories are those of the SageMaker Python SDK's `image_uri_config`; the account and the
region of the registry are read and not judged, because teams mirror these images into accounts of their own.

SageMaker has no image for ONNX, LightGBM or MLflow models that serves without a script. They are named `clary/onnx:1`,
`clary/lightgbm:1` and `clary/mlflow:1`, as they stand or behind a registry (decision 0007); and `mlflow-pyfunc`, the
image that `mlflow sagemaker build-and-push-container` makes, is the MLflow runtime, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Mapping  # noqa: UP035 - Python 3.9

from clary.domain.errors import Invalid

_URI = re.compile(
    r"(?P<account>[0-9]{12})\.dkr\.ecr(-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?"
    r"/(?P<repository>[a-z0-9][a-z0-9._/-]*):(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]*)"
)
_OWN = re.compile(r"(?P<repository>clary/[a-z]+):(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]*)")
_CPU_SUFFIX = re.compile(r"-cpu(-py3[0-9]*)?$")

XGBOOST_TAGS = ("0.90-1", "0.90-2", "1.0-1", "1.2-1", "1.2-2", "1.3-1", "1.5-1", "1.7-1", "3.0-5")
SKLEARN_TAGS = ("0.20.0", "0.23-1", "1.0-1", "1.2-1", "1.4-2")
OLD_XGBOOST_TAGS = ("1", "latest")
OWN_TAGS = ("1",)
"""Version of a runtime's documented behaviour, counted from 1."""
ANY_VERSION = ("VERSION",)
"""Stands for any tag that begins with a digit."""

_REPOSITORIES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "sagemaker-xgboost": ("xgboost", XGBOOST_TAGS),
    "xgboost": ("xgboost", OLD_XGBOOST_TAGS),
    "sagemaker-scikit-learn": ("sklearn", SKLEARN_TAGS),
    "mlflow-pyfunc": ("pyfunc", ANY_VERSION),
    "pytorch-inference": ("pytorch", ANY_VERSION),
    "tensorflow-inference": ("tensorflow", ANY_VERSION),
    "huggingface-pytorch-inference": ("huggingface", ANY_VERSION),
    "huggingface-tensorflow-inference": ("huggingface", ANY_VERSION),
    "clary/onnx": ("onnx", OWN_TAGS),
    "clary/lightgbm": ("lightgbm", OWN_TAGS),
    "clary/mlflow": ("pyfunc", OWN_TAGS),
}

_DEFAULTS: Mapping[str, tuple[str, str]] = {
    "xgboost": ("sagemaker-xgboost", "1.7-1"),
    "sklearn": ("sagemaker-scikit-learn", "1.2-1-cpu-py3"),
    "onnx": ("clary/onnx", "1"),
    "lightgbm": ("clary/lightgbm", "1"),
    "pyfunc": ("clary/mlflow", "1"),
    "pytorch": ("pytorch-inference", "2.6.0-cpu-py312"),
    "tensorflow": ("tensorflow-inference", "2.19.0-cpu"),
    "huggingface": (
        "huggingface-pytorch-inference",
        "2.6.0-transformers4.51.3-cpu-py312-ubuntu22.04",
    ),
}
_ACCOUNT = "683313688378"
_ACCOUNT_OF_DEEP_LEARNING = "763104351884"


@dataclass(frozen=True)
class Image:
    """What an image URI says about serving."""

    runtime: str
    """Name in `runtimes.registry`."""
    tag: str
    """The version without `-cpu-py3`: `1.7-1`. Selects documented behaviour, not a library."""
    repository: str


def parse_image(uri: str) -> Image:
    """The runtime and tag of an ECR image URI, such as
    `683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1`.

    Raises Invalid, naming the value and what is served, for any other repository, tag or form.
    """
    found = _URI.fullmatch(uri) or _OWN.fullmatch(uri)
    if found is None:
        raise Invalid(
            f"Image {uri!r} is not an ECR image URI of the form "
            f"ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY:TAG, nor one of Clary's own. Served are: {served()}."
        )
    repository, tag = found["repository"], found["tag"]
    known = _REPOSITORIES.get(repository)
    if known is None:
        raise Invalid(f"Image repository {repository!r} of {uri!r} is not served. Served are: {served()}.")
    runtime, tags = known
    version = _CPU_SUFFIX.sub("", tag)
    if version not in tags and not (tags == ANY_VERSION and version[:1].isdigit()):
        raise Invalid(f"Image tag {tag!r} of {uri!r} is not served. Served are: {served()}.")
    return Image(runtime=runtime, tag=version, repository=repository)


def served() -> str:
    """Every repository with its tags, for refusals and the docs: `sagemaker-xgboost:{0.90-1, ...}; ...`."""
    return "; ".join(f"{repository}:{{{', '.join(tags)}}}" for repository, (_, tags) in _REPOSITORIES.items())


@dataclass(frozen=True)
class Entry:
    """One repository that is served."""

    repository: str
    runtime: str
    tags: tuple[str, ...]
    """VERSION stands for any that begins with a digit."""
    uri: str
    """An image of it that a model may name."""


def catalogue() -> tuple[Entry, ...]:
    """Every repository, in the order they are documented."""
    return tuple(
        Entry(repository, runtime, tags, _uri(repository, _tag_of(repository, runtime, tags)))
        for repository, (runtime, tags) in _REPOSITORIES.items()
    )


def _tag_of(repository: str, runtime: str, tags: tuple[str, ...]) -> str:
    """The tag that deploy uses where it uses this repository, else the newest listed."""
    default = _DEFAULTS.get(runtime, ("", ""))
    if default[0] == repository:
        return default[1]
    return "1.0" if tags == ANY_VERSION else tags[-1]


def names_of_clary() -> frozenset[str]:
    """What stands after `clary/` in Clary's own images: no name for a user's, and none of a runtime is, either."""
    own = {repository.partition("/")[2] for repository in _REPOSITORIES if repository.startswith("clary/")}
    return frozenset(own | set(_DEFAULTS) | {"server"})


def image_for(runtime: str, region: str = "us-east-1") -> str:
    """The URI that `clary deploy` creates a model with; KeyError for a runtime without an image.

    The account is us-east-1's whatever the region: nothing is pulled from it.
    """
    return _uri(*_DEFAULTS[runtime], region)


def _uri(repository: str, tag: str, region: str = "us-east-1") -> str:
    if repository.startswith("clary/"):
        return f"{repository}:{tag}"
    account = _ACCOUNT_OF_DEEP_LEARNING if repository.endswith("-inference") else _ACCOUNT
    return f"{account}.dkr.ecr.{region}.amazonaws.com/{repository}:{tag}"
