"""Text in, entities out: which words name a person, a place, a group, a work, a company or a product, and where."""

import json
import re
from pathlib import Path

import joblib
from features import features

WORD = re.compile(r"[@#]?\w+(?:['’.-]\w+)*|https?://\S+|[^\w\s]")


def model_fn(model_dir):
    return joblib.load(Path(model_dir) / "model.joblib")


def input_fn(body, content_type):
    if content_type != "application/json":
        raise ValueError(f"send application/json, not {content_type}")
    return json.loads(body)["texts"]


def predict_fn(texts, model):
    return [list(entities(text, model)) for text in texts]


def output_fn(found, accept):
    if accept != "application/json":
        raise ValueError(f"ask for application/json, not {accept}")
    return json.dumps({"entities": found}), accept


def entities(text, model):
    words = [(match.group(), match.start(), match.end()) for match in WORD.finditer(text)]
    tags = model.predict_single(features([word for word, _, _ in words])) if words else []
    open_one = None
    for (_, start, end), tag in zip(words, tags, strict=True):
        if open_one and tag == f"I-{open_one['type']}":
            open_one["end"] = end
            continue
        if open_one:
            yield {**open_one, "text": text[open_one["start"] : open_one["end"]]}
        open_one = {"type": tag[2:], "start": start, "end": end} if tag != "O" else None
    if open_one:
        yield {**open_one, "text": text[open_one["start"] : open_one["end"]]}
