"""The XGBoost image's script mode, which SAGEMAKER_PROGRAM chooses: a script's functions around a booster.

Source: aws/sagemaker-xgboost-container `serving.py` and `encoder.py`. It stands on aws/sagemaker-containers as the
scikit-learn image does: the same errors, no default model_fn. Default input_fn: a DMatrix of CSV, libsvm or recordio.
"""

from __future__ import annotations

import sys
from typing import Any, Mapping  # noqa: UP035 - Python 3.9

from clary.runtimes import recordio, tensors
from clary.runtimes import script_codec as codec
from clary.runtimes.base import LoadError, LoadOptions
from clary.runtimes.script_source import PROGRAM
from clary.runtimes.sklearn_script import SklearnToolkit

_LIBSVM = ("text/libsvm", "text/x-libsvm")
_RECORDIO = "application/x-recordio-protobuf"


def is_script_mode(options: LoadOptions) -> bool:
    """Whether a script serves: a folder `code/` alone does not say so here."""
    return bool(options.env.get(PROGRAM))


class XGBoostToolkit(SklearnToolkit):
    """aws/sagemaker-containers under aws/sagemaker-xgboost-container."""

    image = "XGBoost"

    def model_fn(self, model_dir: str) -> Any:
        """None by default: a script says how its model is loaded."""
        del model_dir
        raise LoadError(
            "The script has no model_fn, and the XGBoost image has none by default.",
            "Write a model_fn(model_dir) that loads the booster, or leave out SAGEMAKER_PROGRAM to serve it as it is.",
        )

    def input_fn(self, data: Any, content_type: str | None) -> Any:
        """A DMatrix; what a row leaves out is missing."""
        import xgboost

        name = (content_type or "").split(";", maxsplit=1)[0].strip().lower()
        raw = data.encode() if isinstance(data, str) else data
        if name == codec.CSV:
            return xgboost.DMatrix(tensors.csv_rows(raw))
        if name in _LIBSVM:
            _, width = tensors.libsvm_rows(raw, 0)
            return xgboost.DMatrix(tensors.libsvm_rows(raw, width)[0])
        if name == _RECORDIO:
            return xgboost.DMatrix(recordio.recordio_rows(raw))
        raise codec.UnsupportedFormatError(content_type)

    def predict_fn(self, data: Any, model: Any) -> Any:
        """`predict` of the booster."""
        return model.predict(data, validate_features=False)

    def libraries(self) -> Mapping[str, str]:
        """XGBoost and numpy."""
        found = {name: sys.modules.get(name) for name in ("xgboost", "numpy")}
        return {name: str(module.__version__) for name, module in found.items() if module is not None}
