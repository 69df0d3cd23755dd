"""What a worker needs beside the model's own requirements, by runtime."""

from __future__ import annotations

from clary.environments.declared import Declared, normalised

_ALWAYS = ("setproctitle", "threadpoolctl")
"""A process title, and bounds on BLAS threads: the worker does without, but not as well."""
_NEEDS: dict[str, tuple[str, ...]] = {
    "xgboost": ("numpy", "xgboost-cpu"),
    "sklearn": ("joblib", "numpy", "scikit-learn"),
    "lightgbm": ("joblib", "lightgbm", "numpy"),
    "onnx": ("numpy", "onnxruntime"),
    "pyfunc": ("mlflow-skinny", "numpy", "pandas", "pyyaml"),
    # Their frameworks are the script's to name; bodies are read as arrays.
    "pytorch": ("numpy",),
    "tensorflow": ("numpy",),
    "huggingface": ("numpy",),
}
_SAME: dict[str, tuple[str, ...]] = {
    "xgboost-cpu": ("xgboost",),
    "onnxruntime": ("onnxruntime-gpu",),
    "mlflow-skinny": ("mlflow",),
}
"""Another distribution of the same modules: a model that names one gets that one."""


def needs_of(runtime: str, declared: Declared) -> tuple[str, ...]:
    """Requirements to add; none that the model names itself. Runtimes that are not listed bring what they need."""
    named = declared.names()
    wanted = (*_NEEDS.get(runtime, ()), *_ALWAYS)
    return tuple(one for one in wanted if not {one, *_SAME.get(one, ())} & named)


def lean(runtime: str, declared: Declared) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The model's requirements, and notes: an MLflow model gets mlflow-skinny in mlflow's place.

    The skinny client is the same code without the server's, the tracking store's and the flavours' dependencies; what
    a flavour needs the model names itself.
    """
    if runtime != "pyfunc":
        return declared.requirements, ()
    found, notes = [], []
    for line in declared.requirements:
        name = line[: len("mlflow")]
        rest = line[len("mlflow") :]
        if normalised(name) == "mlflow" and (not rest or rest[0] in " =<>!~;"):
            found.append("mlflow-skinny" + rest)
            notes.append(f"mlflow-skinny{rest} stands for {line}: nothing of its server is needed.")
        else:
            found.append(line)
    return tuple(found), tuple(notes)
