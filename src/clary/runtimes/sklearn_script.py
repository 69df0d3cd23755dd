"""The scikit-learn image's script mode: what it does by default, and how it reports errors.

Sources: aws/sagemaker-scikit-learn-container `serving.py`; aws/sagemaker-containers `_transformer.py`, `_worker.py`.
There is no default model_fn. An unsupported Content-Type is 415, an unsupported Accept 406; whatever else goes wrong is
Flask's page for 500, which says nothing: the log has the traceback. Default input_fn: float32, ONE ROW OF CSV IS 1-D.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Mapping  # noqa: UP035 - Python 3.9

from clary.runtimes import script_codec as codec
from clary.runtimes.base import LoadError, ModelError
from clary.runtimes.script import Toolkit
from clary.runtimes.script_modules import Response, with_charset

PAGE = (
    '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">\n'
    "<title>500 Internal Server Error</title>\n"
    "<h1>Internal Server Error</h1>\n"
    "<p>The server encountered an internal error and was unable to complete your request. Either the server is "
    "overloaded or there is an error in the application.</p>\n"
)
"""What werkzeug 0.16, the image's own, answers."""
_STATUSES = {"input_fn": 415, "output_fn": 406}


class SklearnToolkit(Toolkit):
    """aws/sagemaker-containers under aws/sagemaker-scikit-learn-container."""

    image = "scikit-learn"

    def model_fn(self, model_dir: str) -> Any:
        """None by default: a script says how its model is loaded."""
        del model_dir
        raise LoadError(
            "The script has no model_fn, and the scikit-learn image has none by default.",
            "Write def model_fn(model_dir): return joblib.load(os.path.join(model_dir, 'model.joblib')).",
        )

    def input_fn(self, data: Any, content_type: str | None) -> Any:
        """JSON and CSV as float32, npy as it is."""
        array = codec.code(codec.CONTAINERS_IN, data, content_type)
        return array.astype("float32") if content_type in codec.UTF8_TYPES else array

    def predict_fn(self, data: Any, model: Any) -> Any:
        """`predict` of the model."""
        return model.predict(data)

    def output_fn(self, prediction: Any, accept: str) -> Any:
        """JSON, CSV or npy."""
        return Response(codec.code(codec.CONTAINERS_OUT, prediction, accept), mimetype=accept)

    def content_type(self, given: str) -> str | None:
        """JSON where the request names none."""
        return given or codec.JSON

    def bare_type(self, result: Any, accept: str) -> str:
        """Of a tuple: its own, as Flask completes it. Of text alone: Flask's default; of a dict: JSON."""
        if result is None:
            return with_charset(accept)
        return codec.JSON if isinstance(result, dict) else "text/html; charset=utf-8"

    def to_bytes(self, result: Any) -> bytes:
        """A dict as JSON; Flask sends nothing else."""
        if not isinstance(result, dict):
            raise TypeError(f"output_fn gave {type(result).__name__}; give text, bytes or (answer, content type)")
        return json.dumps(result).encode()

    def failure(self, error: BaseException, stage: str, trace: str) -> ModelError:
        """415 and 406 for types that nobody reads or writes, Flask's page for the rest."""
        if type(error).__name__ == "UnsupportedFormatError" and stage in _STATUSES:
            facts = {"error": "UnsupportedFormatError", "error-message": str(error), "stack-trace": trace}
            return ModelError(_STATUSES[stage], json.dumps(facts))
        return ModelError(500, PAGE)

    def libraries(self) -> Mapping[str, str]:
        """scikit-learn and numpy."""
        found = {"scikit-learn": sys.modules.get("sklearn"), "numpy": sys.modules.get("numpy")}
        return {name: str(module.__version__) for name, module in found.items() if module is not None}
