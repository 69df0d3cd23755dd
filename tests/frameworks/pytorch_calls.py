"""The PyTorch image's default functions, on PyTorch: a TorchScript file alone, a script that adds one function."""

from __future__ import annotations

import io
import json
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from calls import ask, loaded, npy

from clary.runtimes.base import LoadError

TAG = "2.6.0"
warnings.simplefilter("ignore")  # torch.jit, which the image's toolkit loads, is deprecated
torch.manual_seed(7)
net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.ReLU(), torch.nn.Linear(8, 2))
net.eval()
rows = torch.randn(5, 4)
expected = net(rows).detach().numpy()


def close(got: object) -> None:
    """The same bits: one thread, the same kernels."""
    assert np.array_equal(np.asarray(got, np.float32), expected), (got, expected)


def refusal(folder: Path) -> str:
    """Why the folder's model cannot be loaded."""
    try:
        loaded(folder, "pytorch", TAG)
    except LoadError as error:
        return error.cause
    return ""


def test(folder: Path) -> None:
    """Everything, in one folder after the other."""
    alone = folder / "alone"
    alone.mkdir()
    torch.jit.script(net).save(str(alone / "weights.pth"))
    model = loaded(alone, "pytorch", TAG)
    assert model.libraries == {"torch": torch.__version__}
    close(json.loads(ask(model, json.dumps(rows.tolist()), "application/json", "application/json")))
    close(np.load(io.BytesIO(ask(model, npy(rows.numpy()), "application/x-npy", "application/x-npy"))))
    csv = "\n".join(",".join(str(v) for v in row) for row in rows.tolist())
    got = ask(model, csv, "text/csv", "text/csv").decode()
    close([[float(cell) for cell in line.split(",")] for line in got.split()])

    scripted = folder / "scripted"
    (scripted / "code").mkdir(parents=True)
    torch.save(net.state_dict(), scripted / "state.pth")
    (scripted / "code" / "inference.py").write_text(
        "import os, torch\n"
        "def model_fn(model_dir):\n"
        "    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.ReLU(),\n"
        "                              torch.nn.Linear(8, 2))\n"
        "    net.load_state_dict(torch.load(os.path.join(model_dir, 'state.pth')))\n"
        "    return net.train()\n"  # predict_fn turns it back: no dropout in an answer
    )
    model = loaded(scripted, "pytorch", TAG)
    close(json.loads(ask(model, json.dumps(rows.tolist()), "application/json", "application/json")))

    eager = folder / "eager"
    eager.mkdir()
    torch.save(net.state_dict(), eager / "model.pth")
    assert "saved using torchscript" in refusal(eager)


torch.set_num_threads(1)
with tempfile.TemporaryDirectory() as name:
    test(Path(name))
print("done", torch.__version__, sys.version.split()[0])
