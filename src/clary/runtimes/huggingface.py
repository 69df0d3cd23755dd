"""The Hugging Face images: inference.py behind sagemaker-huggingface-inference-toolkit, or a pipeline of transformers.

Sources: aws/sagemaker-huggingface-inference-toolkit `handler_service.py`, `decoder_encoder.py`. Every exception is a
400 with Multi Model Server's JSON. transformers is imported only where the script has no model_fn.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
import sys
from pathlib import Path
from typing import Any, Mapping  # noqa: UP035 - Python 3.9

from clary.runtimes import script_codec as codec
from clary.runtimes.base import Joins, LoadError, LoadOptions, Model, ModelError
from clary.runtimes.script import Functions, Toolkit, load_script
from clary.runtimes.script_source import find_source

_HEADERS = ("question", "context", "inputs")
_IMAGES = tuple(f"image/{kind}" for kind in ("jpeg", "png", "tiff", "bmp", "gif", "webp", "x-image"))
_AUDIO = tuple(f"audio/{kind}" for kind in ("x-flac", "mpeg", "wave", "ogg", "x-audio"))
_NO_CSV = ("zero-shot-classification", "table-question-answering")
_TASKS = {
    "ForTokenClassification": "token-classification",
    "ForSequenceClassification": "text-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "fill-mask",
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
    "ForConditionalGeneration": "text2text-generation",
    "ForImageClassification": "image-classification",
    "ForCTC": "automatic-speech-recognition",
}
"""Ends of architectures' names in config.json -> the pipeline's task."""


class HuggingFaceToolkit(Toolkit):
    """aws/sagemaker-huggingface-inference-toolkit."""

    image = "Hugging Face"

    def __init__(self, env: Mapping[str, str]) -> None:
        self._task = env.get("HF_TASK", "")

    def check(self, functions: Functions) -> None:
        """transformers, where a pipeline is to be made."""
        if "model_fn" not in functions.own:
            importlib.import_module("transformers")

    def model_fn(self, model_dir: str) -> Any:
        """A pipeline for HF_TASK, or for what config.json tells."""
        task = self._task or _task_of(Path(model_dir) / "config.json")
        transformers: Any = importlib.import_module("transformers")
        return transformers.pipeline(task=task, model=model_dir)

    def input_fn(self, data: Any, content_type: str | None) -> Any:
        """JSON as it is; CSV by its header; npy, images and audio."""
        if content_type == codec.JSON:
            return json.loads(data)
        if content_type == codec.CSV:
            if self._task in _NO_CSV:
                raise ValueError(
                    f"content type {content_type} not support with {self._task}, use different content_type"
                )
            return _from_csv(data)
        if content_type in _IMAGES:
            image = importlib.import_module("PIL.Image")
            return {"inputs": image.open(io.BytesIO(data)).convert("RGB")}
        if content_type in _AUDIO:
            return {"inputs": bytes(data)}
        return codec.code({codec.NPY: codec.INFERENCE_IN[codec.NPY]}, data, content_type)

    def predict_fn(self, data: Any, model: Any) -> Any:
        """The model called on `inputs`, with `parameters` as keywords."""
        inputs = data.pop("inputs", data)
        parameters = data.pop("parameters", None)
        return model(inputs) if parameters is None else model(inputs, **parameters)

    def output_fn(self, prediction: Any, accept: str) -> Any:
        """JSON without blanks, CSV with a header, or npy."""
        if accept == codec.JSON:
            return _to_json(prediction)
        if accept == codec.CSV:
            return _to_csv(prediction)
        return codec.code({codec.NPY: codec.INFERENCE_OUT[codec.NPY]}, prediction, accept)

    def default_accept(self, env: Mapping[str, str]) -> str:
        """JSON, whatever the environment says."""
        del env
        return codec.JSON

    def failure(self, error: BaseException, stage: str, trace: str) -> ModelError:
        """400 with the text, as Multi Model Server wraps a PredictionException."""
        del stage, trace
        facts = {"code": 400, "type": "InternalServerException", "message": str(error)}
        return ModelError(400, json.dumps(facts, indent=2) + "\n")

    def libraries(self) -> Mapping[str, str]:
        """What of Hugging Face's is imported."""
        found = {name: sys.modules.get(name) for name in ("transformers", "torch", "tensorflow")}
        return {name: str(module.__version__) for name, module in found.items() if module is not None}


def _task_of(config: Path) -> str:
    if not config.is_file():
        raise LoadError(
            "The artifact holds no config.json, and HF_TASK is not set.",
            "Set HF_TASK, such as text-classification, or write an inference.py with a model_fn.",
        )
    architectures = json.loads(config.read_text()).get("architectures") or [""]
    for end, task in _TASKS.items():
        if architectures[0].endswith(end):
            return task
    raise LoadError(f"The task of {architectures[0]} is not known.", "Set HF_TASK, such as text-classification.")


def _from_csv(text: str) -> dict[str, Any]:
    lines = text.splitlines()
    if not lines or not any(header in lines[0].lower() for header in _HEADERS):
        raise ValueError(
            "You need to provide the correct CSV with Header columns to use it with the inference toolkit default "
            "handler."
        )
    rows = list(csv.DictReader(io.StringIO(text)))
    if rows and "inputs" in rows[0]:
        return {"inputs": [row["inputs"] for row in rows]}
    return {"inputs": rows}


def _to_json(value: Any) -> str:
    def default(inner: Any) -> Any:
        if hasattr(inner, "tolist"):
            return inner.tolist()
        if hasattr(inner, "isoformat"):
            return str(inner)
        return json.JSONEncoder().default(inner)

    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=default)


def _to_csv(value: Any) -> str:
    rows = value if isinstance(value, list) else list(value)
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


class HuggingFaceRuntime:
    """Loads scripts and models of transformers."""

    name = "huggingface"
    joins = Joins.NEVER
    pure = False
    modules = ()

    def load(self, options: LoadOptions) -> Model:
        """The model behind the functions in use. LoadError with cause and remedy."""
        if options.env.get("HF_MODEL_ID"):
            raise LoadError(
                f"HF_MODEL_ID={options.env['HF_MODEL_ID']!r} names a model on the Hub, which is not downloaded.",
                "Pack the model's files into model.tar.gz and leave HF_MODEL_ID out.",
            )
        return load_script(HuggingFaceToolkit(options.env), options, find_source(options))


RUNTIME = HuggingFaceRuntime()
