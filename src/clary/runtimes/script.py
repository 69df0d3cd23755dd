"""Script mode: a user's model_fn, input_fn, predict_fn, output_fn or transform_fn, called as a SageMaker toolkit does.

What the toolkits have in common is here; a Toolkit says what its image does by default and how it reports errors.
Sources: aws/sagemaker-inference-toolkit `transformer.py`, aws/sagemaker-containers `_transformer.py`. Beyond them: a
function that yields, or a result that is an iterator, is a stream. docs/reference/scripts.md lists every deviation.
"""

from __future__ import annotations

import abc
import contextlib
import json
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Callable, Mapping  # noqa: UP035 - Python 3.9

from clary.runtimes import script_codec as codec
from clary.runtimes.base import LoadError, LoadOptions, ModelError
from clary.runtimes.handler import Handler, Invocation, Reply
from clary.runtimes.script_context import ATTRIBUTES, Context
from clary.runtimes.script_modules import provide
from clary.runtimes.script_source import Source, import_script, load_error, run

BOTH = (
    "Cannot use transform_fn implementation in conjunction with input_fn, predict_fn, and/or output_fn implementation"
)
Function = Callable[..., Any]
_FAILURES = (Exception, SystemExit)
"""SystemExit among them: a script that calls sys.exit ends its request, not the replica."""


class Toolkit(abc.ABC):
    """What one image does where a script does not say."""

    image: str
    """As users call it: `PyTorch`."""

    @abc.abstractmethod
    def model_fn(self, model_dir: str) -> Any:
        """Load the model. ModuleNotFoundError where the framework is not installed."""

    @abc.abstractmethod
    def input_fn(self, data: Any, content_type: str | None) -> Any:
        """Read a body: text for JSON and CSV, bytes for all else."""

    @abc.abstractmethod
    def predict_fn(self, data: Any, model: Any) -> Any:
        """Predict."""

    @abc.abstractmethod
    def output_fn(self, prediction: Any, accept: str) -> Any:
        """Write an answer: text, bytes, or (answer, content type)."""

    @abc.abstractmethod
    def failure(self, error: BaseException, stage: str, trace: str) -> ModelError:
        """How the image answers an exception in `stage`: `input_fn`, `predict_fn`, `output_fn` or `transform_fn`."""

    @abc.abstractmethod
    def libraries(self) -> Mapping[str, str]:
        """Versions of what the image is about, as far as it is imported."""

    def check(self, functions: Functions) -> None:
        """Import what the defaults in use need, so that what is missing is known before the first request."""
        del functions

    def content_type(self, given: str) -> str | None:
        """What functions are told: None where the request names no type."""
        return given or None

    def default_accept(self, env: Mapping[str, str]) -> str:
        """What is answered where the client does not care."""
        return env.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "") or codec.JSON

    def bare_type(self, result: Any, accept: str) -> str:
        """The content type of a result that names none."""
        del result
        return accept

    def to_bytes(self, result: Any) -> bytes:
        """A result that is neither text nor bytes. TypeError where the image has no way to send it."""
        return json.dumps(result, indent=2).encode()


@dataclass(frozen=True)
class Functions:
    """The functions in use: the script's, or the toolkit's."""

    model_fn: Function
    input_fn: Function
    predict_fn: Function
    output_fn: Function
    transform_fn: Function | None
    pre_model_fn: Function | None
    model_warmup_fn: Function | None
    own: frozenset[str]
    """Names of those that are the script's."""


_NAMES = ("model_fn", "input_fn", "predict_fn", "output_fn", "transform_fn", "pre_model_fn", "model_warmup_fn")


def functions_of(toolkit: Toolkit, module: ModuleType | None) -> Functions:
    """What serves. LoadError for transform_fn beside the functions that it replaces."""
    found = {name: function for name in _NAMES if (function := getattr(module, name, None)) is not None}
    beside = [name for name in ("input_fn", "predict_fn", "output_fn") if name in found]
    if "transform_fn" in found and beside:
        raise LoadError(f"{BOTH}.", f"Remove transform_fn, or {', '.join(beside)}, from the script.")
    return Functions(
        model_fn=found.get("model_fn", toolkit.model_fn),
        input_fn=found.get("input_fn", toolkit.input_fn),
        predict_fn=found.get("predict_fn", toolkit.predict_fn),
        output_fn=found.get("output_fn", toolkit.output_fn),
        transform_fn=found.get("transform_fn"),
        pre_model_fn=found.get("pre_model_fn"),
        model_warmup_fn=found.get("model_warmup_fn"),
        own=frozenset(found),
    )


def load_script(toolkit: Toolkit, options: LoadOptions, source: Source | None) -> ScriptModel:
    """Import the script, load the model. LoadError with cause and remedy."""
    provide()
    module = import_script(source) if source is not None else None
    functions = functions_of(toolkit, module)
    model_dir = str(options.model_dir)
    context = Context(model_dir)
    doing = "model_fn" if "model_fn" in functions.own else f"Loading the model as the {toolkit.image} image does"
    try:
        if "transform_fn" not in functions.own:
            toolkit.check(functions)
        if functions.pre_model_fn is not None:
            run(functions.pre_model_fn, (model_dir,), context)
        model = run(functions.model_fn, (model_dir,), context)
        if functions.model_warmup_fn is not None:
            run(functions.model_warmup_fn, (model_dir, model), context)
    except (LoadError, MemoryError):
        raise
    except _FAILURES as error:
        raise load_error(error, doing, source) from error
    return ScriptModel(toolkit, functions, model, options)


class ScriptModel(Handler):
    """A model behind the functions of a script."""

    def __init__(self, toolkit: Toolkit, functions: Functions, model: Any, options: LoadOptions) -> None:
        self._toolkit = toolkit
        self._functions = functions
        self._model = model
        self._model_dir = str(options.model_dir)
        self._default_accept = toolkit.default_accept(options.env)
        self.libraries = toolkit.libraries()
        self._stage = ""

    def handle(self, invocation: Invocation) -> Reply:
        """Answer one request as the image does. ModelError with the image's own status and text."""
        context = Context(self._model_dir, invocation)
        accept = self._default_accept if invocation.accept in ("", codec.ANY) else invocation.accept
        content_type = self._toolkit.content_type(invocation.content_type)
        self._stage = "input_fn"
        try:
            data: str | bytes = invocation.body
            if content_type in codec.UTF8_TYPES:
                data = invocation.body.decode("utf-8")
            return self._reply(self._transform(data, content_type, accept, context), accept, context)
        except ModelError:
            raise
        except _FAILURES as error:
            raise self._failed(error) from error

    def _transform(self, data: Any, content_type: str | None, accept: str, context: Context) -> Any:
        functions = self._functions
        if functions.transform_fn is not None:
            self._stage = "transform_fn"
            return run(functions.transform_fn, (self._model, data, content_type, accept), context)
        read = run(functions.input_fn, (data, content_type), context)
        self._stage = "predict_fn"
        prediction = run(functions.predict_fn, (read, self._model), context)
        self._stage = "output_fn"
        if isinstance(prediction, Iterator) and "output_fn" not in functions.own:
            return prediction, accept
        return run(functions.output_fn, (prediction, accept), context)

    def _reply(self, result: Any, accept: str, context: Context) -> Reply:
        status, content_type = context.status, context.get_response_content_type(0) or ""
        attributes = context.response_headers.get(ATTRIBUTES.lower(), "")
        if isinstance(result, tuple) and len(result) == 2:
            result, content_type = result
            content_type = self._toolkit.bare_type(None, str(content_type))
        elif hasattr(result, "get_data") and hasattr(result, "status_code"):  # worker.Response, or Flask's own
            status, content_type = int(result.status_code), str(result.content_type)
            attributes = dict(result.headers).get(ATTRIBUTES, attributes)
            result = result.get_data()
        content_type = content_type or self._toolkit.bare_type(result, accept)
        if isinstance(result, Iterator):
            return Reply(stream_of(result), content_type, status, attributes)
        raw = _raw(result)
        return Reply(self._toolkit.to_bytes(result) if raw is None else raw, content_type, status, attributes)

    def _failed(self, error: BaseException) -> ModelError:
        trace = print_trace()
        return self._toolkit.failure(error, self._stage, trace)


def stream_of(parts: Iterator[Any]) -> Iterator[bytes]:
    """Each part as bytes; what is neither text nor bytes becomes a line of JSON. Raises ModelError."""
    try:
        for part in parts:
            raw = _raw(part)
            yield codec.to_json(part).encode() + b"\n" if raw is None else raw
    except ModelError:
        raise
    except _FAILURES as error:
        print_trace()
        raise ModelError(500, f"{type(error).__name__}: {error}") from error
    finally:
        with contextlib.suppress(Exception):
            getattr(parts, "close", lambda: None)()


def _raw(value: Any) -> bytes | None:
    """The bytes of text and bytes; None for all else."""
    if isinstance(value, str):
        return value.encode("utf-8")
    return bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else None


def print_trace() -> str:
    """The traceback goes to the replica's log, whatever the client is told."""
    trace = traceback.format_exc()
    sys.stderr.write(trace)
    sys.stderr.flush()
    return trace
