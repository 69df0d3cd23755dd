"""The Hugging Face image's pipeline, on transformers: a small classifier made here, its task from config.json."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from calls import ask, loaded

TAG = "2.6.0-transformers4.51.3"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "free", "prize", "call", "me", "home", "now", "win"]
TEXTS = ["win a free prize now", "call me home"]


def made(folder: Path) -> None:
    """Weights from a seed, a vocabulary of a dozen words."""
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        id2label={0: "ham", 1: "spam"},
        label2id={"ham": 0, "spam": 1},
    )
    transformers.BertForSequenceClassification(config).eval().save_pretrained(folder)


def test(folder: Path) -> None:
    """JSON with parameters, a list, CSV, and what is refused."""
    made(folder)
    pipe = transformers.pipeline("text-classification", model=str(folder))
    model = loaded(folder, "huggingface", TAG)
    assert set(model.libraries) >= {"transformers", "torch"}
    got = json.loads(ask(model, json.dumps({"inputs": TEXTS}), "application/json"))
    assert got == pipe(TEXTS), (got, pipe(TEXTS))
    both = json.loads(ask(model, json.dumps({"inputs": TEXTS[0], "parameters": {"top_k": 2}}), "application/json"))
    assert both == pipe(TEXTS[0], top_k=2), both
    lines = ask(model, "inputs\n" + "\n".join(TEXTS) + "\n", "text/csv", "text/csv").decode().split()
    assert lines[0] == "label,score", lines
    assert [line.split(",")[0] for line in lines[1:]] == [one["label"] for one in pipe(TEXTS)]


with tempfile.TemporaryDirectory() as name:
    test(Path(name))
print("done", transformers.__version__, sys.version.split()[0])
