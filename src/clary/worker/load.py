"""Loading and the contract check: a replica says `ready` only after its model answered a probe."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Mapping, Optional, Union  # noqa: UP035 - Python 3.9

from clary.domain.model import SUBMIT_DIRECTORY
from clary.domain.signature import Example, ModelSignature
from clary.runtimes.base import Joins, LoadError, LoadOptions, Model, ModelError, Runtime, joins_of
from clary.runtimes.handler import Handler
from clary.runtimes.registry import UnknownRuntimeError, runtime_named
from clary.runtimes.script_source import PROGRAM
from clary.runtimes.skops_file import VARIABLE as TRUSTED_TYPES
from clary.worker import describe
from clary.worker.guard import Guard
from clary.worker.options import WorkerOptions
from clary.worker.report import Report


@dataclass(frozen=True)
class Loaded:
    """A model that answers."""

    model: Model
    joins: Joins
    report: Report
    signature: ModelSignature
    notes: tuple[str, ...] = ()
    """For the log, besides the model's own."""


@dataclass(frozen=True)
class Refused:
    """A model that cannot serve, with the report that says why."""

    report: Report
    error: Optional[BaseException]  # noqa: UP045 - Python 3.9
    """For the log."""


def load(options: WorkerOptions, pid: int) -> Union[Loaded, Refused]:  # noqa: UP007 - Python 3.9
    """Load and check. Never raises: whatever goes wrong becomes a report with cause and remedy."""
    started_s = time.monotonic()
    try:
        runtime = runtime_named(options.runtime)
        model, notes = _guarded(runtime, options)
        signature = _check_contract(model, Path(options.model_dir))
        load_ms = round((time.monotonic() - started_s) * 1000)
        report = _ready(runtime, model, options, pid, load_ms, signature)
        return Loaded(model, joins_of(runtime, model), report, signature, notes)
    except LoadError as error:
        return _refused(options, pid, error.cause, error.remedy, error)
    except UnknownRuntimeError as error:
        return _refused(options, pid, f"{error}.", "Use an image of a runtime that is served.", error)
    except ImportError as error:
        library = (error.name or "a library").partition(".")[0]
        cause = f"The library {library!r} that this model needs cannot be imported: {error}."
        extra = _EXTRAS.get(options.runtime, options.runtime)
        remedy = f"Install it: pip install 'clary[{extra}]', or name it in the model's code/requirements.txt."
        return _refused(options, pid, cause, remedy, error)
    except MemoryError as error:
        cause = "The model did not fit into memory while loading."
        return _refused(options, pid, cause, "Choose a larger instance type or a smaller model.", error)
    except Exception as error:
        cause = f"Loading the model raised {type(error).__name__}: {error}."
        return _refused(options, pid, cause, "The replica's log holds the traceback (clary logs).", error)


def _guarded(runtime: Runtime, options: WorkerOptions) -> tuple[Model, tuple[str, ...]]:
    """The model, and what its pickle asked for that models do not hold. Raises LoadError, and what loading raises."""
    told = LoadOptions(Path(options.model_dir), options.image_tag, dict(options.env), max(1, options.threads))
    if options.untrusted:
        _refuse_code(runtime, told.model_dir, told.env)
    guard = Guard(refuse=options.untrusted)
    try:
        with guard:
            model = runtime.load(told)
    finally:
        guard.verdict()
    if not guard.unknown:
        return model, ()
    listed = ", ".join(guard.unknown[:_LISTED])
    more = f" and {len(guard.unknown) - _LISTED} more" if len(guard.unknown) > _LISTED else ""
    return model, (f"Loading the model imported what fitted models of served libraries do not hold: {listed}{more}.",)


_EXTRAS = {"pyfunc": "mlflow"}
"""Extras whose name is not the runtime's."""
_LISTED = 10


def _refuse_code(runtime: Runtime, model_dir: Path, env: Mapping[str, str]) -> None:
    """A server that trusts no model runs none of its code, and takes no model's word for what may be made."""
    if env.get(TRUSTED_TYPES):
        raise LoadError(
            f"The model asks to trust {env[TRUSTED_TYPES]}; this server trusts no model (--untrusted).",
            f"Leave {TRUSTED_TYPES} out, or have the model served by a server that trusts it.",
        )
    scripts = [path.name for path in sorted((model_dir / "code").glob("**/*.py"))]
    if scripts or env.get(PROGRAM) or env.get(SUBMIT_DIRECTORY) or not runtime.pure:
        what = f"brings the script {scripts[0]}" if scripts else f"runs code of its own (runtime {runtime.name})"
        raise LoadError(
            f"The model {what}; this server trusts no model (--untrusted).",
            "Serve it by a runtime that needs no code of the model's own, or by a server that trusts it.",
        )


def timed_out(options: WorkerOptions, pid: int) -> Refused:
    """The report of a load that took too long."""
    cause = f"The model did not load within {options.load_timeout_s:g} s."
    remedy = "Raise ContainerStartupHealthCheckTimeoutInSeconds, or use a smaller model."
    return _refused(options, pid, cause, remedy, None)


def _ready(
    runtime: Runtime, model: Model, options: WorkerOptions, pid: int, load_ms: int, signature: ModelSignature
) -> Report:
    return Report(
        state="ready",
        runtime=options.runtime,
        pid=pid,
        joins=joins_of(runtime, model).value,
        pure=runtime.pure and not isinstance(model, Handler),
        libraries=dict(model.libraries),
        width=model.signature.width,
        outputs=model.signature.outputs,
        load_ms=load_ms,
        signature=signature.to_json(),
    )


def _refused(
    options: WorkerOptions,
    pid: int,
    cause: str,
    remedy: str,
    error: Optional[BaseException],  # noqa: UP045
) -> Refused:
    return Refused(Report(state="failed", runtime=options.runtime, pid=pid, cause=cause, remedy=remedy), error)


def _check_contract(model: Model, model_dir: Path) -> ModelSignature:
    """Answer the model's own probe and the artifact's sample once, through the same steps as a request.

    What comes of it is the model's signature, with the sample, or else the probe, as its example. Raises LoadError.
    """
    carried = describe.of_artifact(model_dir)
    signature = describe.merged(describe.of_runtime(model.signature), carried)
    example = None
    probe = model.probe()
    if probe is not None:
        example = _answered(
            model, *probe, "a probe row", "Check that the artifact is a model for prediction and was saved whole."
        )
    if carried is not None and carried.example is not None:
        body, content_type = carried.example.body.encode(), carried.example.content_type
        remedy = "Check that the sample is of this model's input: no label, no index."
        example = _answered(model, body, content_type, "its own sample", remedy)
    return replace(signature, example=example)


def _answered(model: Model, body: bytes, content_type: str, what: str, remedy: str) -> Optional[Example]:  # noqa: UP045
    try:
        return describe.answered(model, body, content_type)
    except ModelError as error:
        raise LoadError(f"The model loads but does not answer {what}: {error.message}.", remedy) from error
