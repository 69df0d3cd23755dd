"""What the toolkits' default functions read and write: JSON, CSV and npy, each toolkit in its own way.

Sources: aws/sagemaker-containers `_encoders.py` (scikit-learn), aws/sagemaker-inference-toolkit `decoder.py` and
`encoder.py` (PyTorch). Deviation: an npy body is never unpickled, the real images do so.
"""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any, Callable, Mapping  # noqa: UP035 - Python 3.9

if TYPE_CHECKING:
    from numpy.typing import NDArray

JSON = "application/json"
CSV = "text/csv"
NPY = "application/x-npy"
NPZ = "application/x-npz"
ANY = "*/*"
UTF8_TYPES = (JSON, CSV)
"""Bodies that functions get as text; all others come as bytes."""


class UnsupportedFormatError(Exception):
    """A content type or accept that no function reads or writes."""

    def __init__(self, content_type: object) -> None:
        self.message = (
            f"Content type {content_type} is not supported by this framework.\n\n"
            "Please implement input_fn to to deserialize the request data or an output_fn to\n"
            "serialize the response. For more information, see the SageMaker Python SDK README."
        )
        super().__init__(self.message)


class ClientError(Exception):
    """Of aws/sagemaker-containers: a body that cannot be read."""


def _json_to_numpy(text: Any) -> NDArray[Any]:
    import numpy as np

    return np.array(json.loads(text))


def _npy_to_numpy(raw: Any) -> NDArray[Any]:
    import numpy as np

    found: NDArray[Any] = np.load(io.BytesIO(raw), allow_pickle=False)
    return found


def _npz_to_sparse(raw: Any) -> Any:
    import scipy.sparse

    return scipy.sparse.load_npz(io.BytesIO(raw))


def _csv_by_cells(text: Any) -> NDArray[Any]:
    """Cells of text, as numbers where all are; dimensions of one are dropped, so that ONE ROW BECOMES 1-D."""
    import numpy as np

    try:
        array = np.array(list(csv.reader(io.StringIO(text), strict=True))).squeeze()
    except (csv.Error, ValueError) as error:
        raise ClientError(f"Error while decoding csv: {error}") from error
    try:
        return array.astype(np.float64)
    except ValueError:
        return array


def _csv_by_genfromtxt(text: Any) -> NDArray[Any]:
    import numpy as np

    return np.genfromtxt(io.StringIO(text), delimiter=",")


def to_json(value: Any) -> str:
    """JSON of numbers, lists and whatever has `tolist`."""

    def default(inner: Any) -> Any:
        if hasattr(inner, "tolist"):
            return inner.tolist()
        return json.JSONEncoder().default(inner)

    return json.dumps(value, default=default)


def _to_npy(value: Any) -> bytes:
    import numpy as np

    out = io.BytesIO()
    np.save(out, value, allow_pickle=False)
    return out.getvalue()


def _csv_by_writer(value: Any) -> str:
    import numpy as np

    array = np.array(value)
    if array.ndim == 1:
        array = array.reshape(-1, 1)
    out = io.StringIO()
    # Python's own numbers: newer numpy prints its scalars with their type.
    csv.writer(out, lineterminator="\n", strict=True).writerows(_plain(array))
    return out.getvalue()


def _plain(array: NDArray[Any]) -> Any:
    return [[str(cell) for cell in row] for row in array] if str(array.dtype) == "float32" else array.tolist()


def _csv_by_savetxt(value: Any) -> str:
    import numpy as np

    out = io.StringIO()
    np.savetxt(out, value, delimiter=",", fmt="%s")
    return out.getvalue()


Coder = Callable[[Any], Any]
CONTAINERS_IN: Mapping[str, Coder] = {NPY: _npy_to_numpy, CSV: _csv_by_cells, JSON: _json_to_numpy}
CONTAINERS_OUT: Mapping[str, Coder] = {NPY: _to_npy, CSV: _csv_by_writer, JSON: to_json}
"""Of aws/sagemaker-containers."""
INFERENCE_IN: Mapping[str, Coder] = {
    NPY: _npy_to_numpy,
    NPZ: _npz_to_sparse,
    CSV: _csv_by_genfromtxt,
    JSON: _json_to_numpy,
}
INFERENCE_OUT: Mapping[str, Coder] = {NPY: _to_npy, CSV: _csv_by_savetxt, JSON: to_json}
"""Of aws/sagemaker-inference-toolkit."""


def code(coders: Mapping[str, Coder], value: Any, content_type: str | None) -> Any:
    """What the coder of exactly this type makes of `value`; UnsupportedFormatError where there is none."""
    if content_type is None or content_type not in coders:
        raise UnsupportedFormatError(content_type)
    return coders[content_type](value)
