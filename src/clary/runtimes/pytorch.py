"""The PyTorch image: inference.py behind sagemaker-pytorch-inference-toolkit, or a TorchScript file alone.

Sources: aws/sagemaker-pytorch-inference-toolkit `default_pytorch_inference_handler.py`, aws/sagemaker-inference-toolkit
`transformer.py`. PyTorch is imported only where a default function is in use: a script that brings all its functions
needs none. Every exception is a 500 with its text and traceback; an error that carries `status_code` has that status.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, Mapping  # noqa: UP035 - Python 3.9

from clary.runtimes import script_codec as codec
from clary.runtimes.base import Joins, LoadOptions, Model, ModelError
from clary.runtimes.script import Functions, Toolkit, load_script
from clary.runtimes.script_source import find_source

MODEL_FILE = "model.pt"


class PytorchToolkit(Toolkit):
    """aws/sagemaker-inference-toolkit under aws/sagemaker-pytorch-inference-toolkit."""

    image = "PyTorch"

    def check(self, functions: Functions) -> None:
        """PyTorch, where a default function uses it."""
        if not {"model_fn", "input_fn", "predict_fn"} <= functions.own:
            _torch()

    def model_fn(self, model_dir: str) -> Any:
        """`model.pt`, else the only .pt or .pth file, as TorchScript."""
        torch = _torch()

        path = Path(model_dir) / MODEL_FILE
        if not path.exists():
            files = sorted(p.name for p in Path(model_dir).iterdir() if p.suffix in (".pt", ".pth") and p.is_file())
            if len(files) != 1:
                raise ValueError(f"Exactly one .pth or .pt file is required for PyTorch models: {files}")
            path = Path(model_dir) / files[0]
        device = _device()
        try:
            model = torch.jit.load(str(path), map_location=device)
        except RuntimeError as error:
            text = f"Failed to load {path.name}. Please ensure model is saved using torchscript"
            raise ValueError(f"{text}, or write a model_fn: {str(error).splitlines()[0]}") from error
        return model.to(device)

    def input_fn(self, data: Any, content_type: str | None) -> Any:
        """A float tensor of JSON and CSV, a tensor of the same numbers of npy."""
        torch = _torch()

        array = codec.code(codec.INFERENCE_IN, data, content_type)
        tensor = torch.FloatTensor(array) if content_type in codec.UTF8_TYPES else torch.from_numpy(array)
        return tensor.to(_device())

    def predict_fn(self, data: Any, model: Any) -> Any:
        """The model called on the data, without gradients, on a GPU where there is one."""
        torch = _torch()

        with torch.no_grad():
            model = model.to(_device())
            model.eval()
            return model(data.to(_device()))

    def output_fn(self, prediction: Any, accept: str) -> Any:
        """JSON, CSV or npy: the first type of `accept` that is one."""
        if type(prediction).__name__ == "Tensor":
            prediction = prediction.detach().cpu().numpy().tolist()
        for content_type in [part.strip() for part in accept.split(",")]:
            if content_type in codec.INFERENCE_OUT:
                return codec.code(codec.INFERENCE_OUT, prediction, content_type)
        raise codec.UnsupportedFormatError(accept)

    def failure(self, error: BaseException, stage: str, trace: str) -> ModelError:
        """500 with text and traceback, or the status that the error carries."""
        del stage
        return inference_failure(error, trace)

    def libraries(self) -> Mapping[str, str]:
        """PyTorch, once it is imported."""
        torch = sys.modules.get("torch")
        return {} if torch is None else {"torch": str(torch.__version__)}


def inference_failure(error: BaseException, trace: str) -> ModelError:
    """As sagemaker_inference `Transformer.handle_error`: text and traceback, 500 unless the error says its status."""
    status = getattr(error, "status_code", None)
    message = getattr(error, "message", None)
    if isinstance(status, int) and isinstance(message, str) and 100 <= status <= 599:
        return ModelError(status, f"{message}\n{trace}")
    return ModelError(500, f"{error}\n{trace}")


def _torch() -> Any:
    """Imported on first use; ModuleNotFoundError where it is not installed."""
    return importlib.import_module("torch")


def _device() -> Any:
    torch = _torch()
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class PytorchRuntime:
    """Loads scripts and TorchScript files."""

    name = "pytorch"
    joins = Joins.NEVER
    pure = False
    modules = ()

    def load(self, options: LoadOptions) -> Model:
        """The model behind the functions in use. LoadError with cause and remedy."""
        return load_script(PytorchToolkit(), options, find_source(options))


RUNTIME = PytorchRuntime()
