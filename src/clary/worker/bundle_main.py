"""`boot.py` of a bundle: `python -I HOME/bundles/<digest>/boot.py worker|zygote|trainer FOLDER|train-xgboost`.

`-I` keeps the user's own folders and variables out; the bundle comes before whatever Clary the environment holds.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))


def _main() -> int:
    if sys.argv[1] == "trainer":
        from clary.worker.trainer import main as train

        return train(Path(sys.argv[2]))
    if sys.argv[1] == "train-xgboost":
        from clary.runtimes.xgboost_train import main as algorithm

        return algorithm()
    if sys.argv[1] == "zygote":
        from clary.worker.zygote import main
    else:
        from clary.worker.boot import main
    return main()


if __name__ == "__main__":
    sys.exit(_main())
