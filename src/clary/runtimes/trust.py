"""What a pickle may import: the names that fitted models of the served libraries really hold.

Loading a pickle calls what it names. The list is one of names and of classes of known packages, so that whatever is not
on it (`os.system`, a class of one's own) is unknown: told always, refused on a server that trusts no model.
Standard library only: the command line judges with it, too.
"""

from __future__ import annotations

import re
from typing import Iterable  # noqa: UP035 - Python 3.9

_EXACT = frozenset(
    {
        *(
            f"builtins.{name}"
            for name in ("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int")
        ),
        *(f"builtins.{name}" for name in ("list", "object", "range", "set", "slice", "str", "tuple")),
        *(f"__builtin__.{name}" for name in ("object", "set", "slice", "bytearray", "complex")),
        *(f"collections.{name}" for name in ("OrderedDict", "defaultdict", "deque", "Counter")),
        *("copyreg._reconstructor", "copy_reg._reconstructor", "copyreg.__newobj__", "_codecs.encode"),
        *("datetime.datetime", "datetime.date", "datetime.timedelta", "decimal.Decimal"),
        *("joblib.numpy_pickle.NumpyArrayWrapper", "sklearn.externals.joblib.numpy_pickle.NumpyArrayWrapper"),
        *("xgboost.core.Booster", "lightgbm.basic.Booster", "lightgbm.compat._LGBMLabelEncoder"),
        *("sklearn.metrics._dist_metrics.newObj", "sklearn.neighbors._kd_tree.newObj"),
        "sklearn.neighbors._ball_tree.newObj",
        *("numpy.ndarray", "numpy.dtype", "numpy.ma.core.MaskedArray", "numpy.ma.core._mareconstruct"),
        *("numpy.random.mtrand.RandomState", "numpy.random._mt19937.MT19937", "numpy.random._pcg64.PCG64"),
        *("numpy.random._generator.Generator", "numpy.random.bit_generator.SeedSequence"),
        *("numpy.random.bit_generator.__pyx_unpickle_SeedSequence", "numpy.ma.MaskedArray"),
    }
)
_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        r"numpy\.(_?core)\.multiarray\.(_reconstruct|scalar)",
        r"numpy\.(_?core)\.numeric\._frombuffer",
        r"numpy\.random\._pickle\.__(randomstate|bit_generator|generator)_ctor",
        r"numpy\.(bool|object|str|bytes|float|int|uint|complex|datetime|timedelta)_?\d*",
        r"numpy\.dtypes\.[A-Za-z0-9]+DType",
        r"scipy\.sparse\.(_?[a-z]+\.)?(csr|csc|coo|dia|bsr|lil|dok)_(matrix|array)",
        r"sklearn\.feature_selection\._(univariate_selection|mutual_info)\.(f_|mutual_info_)[a-z]+",
        r"sklearn\.feature_selection\._univariate_selection\.(chi2|r_regression)",
        r"xgboost\.sklearn\.XGB[A-Za-z]+",
        r"lightgbm\.sklearn\.LGBM[A-Za-z]+",
        r"sklearn\.[a-z_.0-9]+\.__pyx_unpickle_[A-Za-z0-9_]+",
        r"imblearn\.(?!utils\.testing|tests)[a-z_.0-9]+\.[A-Z][A-Za-z0-9]*",
        r"sklearn\.(?!externals|datasets|tests|utils\._testing)[a-z_.0-9]+\.(_?[A-Z][A-Za-z0-9]*|__newobj__)",
    )
)


def known(name: str) -> bool:
    """Whether `module.name` is what a fitted model of a served library holds. Dotted attributes never are."""
    return name in _EXACT or any(pattern.fullmatch(name) for pattern in _PATTERNS)


def unknown(names: Iterable[str]) -> tuple[str, ...]:
    """Those of `names` that are not known, each once, in order."""
    return tuple(dict.fromkeys(name for name in names if not known(name)))
