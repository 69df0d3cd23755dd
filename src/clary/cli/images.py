"""`clary images`: which container images a model may name, and what serves each here."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from clary.cli import options
from clary.cli.output import print_json, print_table

DISTRIBUTIONS = {
    "xgboost": ("xgboost", "xgboost-cpu"),
    "sklearn": ("scikit-learn",),
    "lightgbm": ("lightgbm",),
    "onnx": ("onnxruntime",),
    "pyfunc": ("mlflow", "mlflow-skinny"),
    "pytorch": ("torch",),
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "huggingface": ("transformers",),
}
"""Runtime to the distributions that bring its library."""


def images(as_json: options.AsJson = False) -> None:
    """List the container images that are served, with the library that answers for each in this environment.

    A model that brings requirements has an environment, and so a library version, of its own.
    """
    from clary.runtimes.images import catalogue

    found = [
        {
            "image": entry.uri,
            "repository": entry.repository,
            "runtime": entry.runtime,
            "tags": list(entry.tags),
            "library": installed(entry.runtime),
        }
        for entry in catalogue()
    ]
    if as_json:
        print_json({"images": found})
        return
    rows = [(e.repository, ", ".join(e.tags), e.runtime, installed(e.runtime) or "not installed") for e in catalogue()]
    print_table(("REPOSITORY", "TAGS", "RUNTIME", "LIBRARY"), rows, empty="No image is served.")


def installed(runtime: str) -> str | None:
    """The library of a runtime, with its version; None where it is not installed."""
    for distribution in DISTRIBUTIONS.get(runtime, ()):
        try:
            return f"{distribution} {version(distribution)}"
        except PackageNotFoundError:
            continue
    return None
