"""Train on tweets and comments, judge on other sites' text, write the model beside its script."""

import gzip
import shutil
from pathlib import Path

import joblib
import sklearn_crfsuite
from features import features

HERE = Path(__file__).parent
DATA = HERE.parent / "data" / "wnut17"


def sentences(name):
    """Sentences of a file as (words, tags)."""
    words, tags = [], []
    with gzip.open(DATA / name, "rt", encoding="utf-8") as source:
        for line in [*source, ""]:
            if line.strip():
                word, tag = line.rstrip("\n").split("\t")
                words.append(word)
                tags.append(tag)
            elif words:
                yield words, tags
                words, tags = [], []


def entities(tags):
    """Where entities stand, by BIO tags: (first, past the last, kind)."""
    found, start, kind = set(), None, ""
    for at, tag in enumerate([*tags, "O"]):
        if start is not None and tag != f"I-{kind}":
            found.add((start, at, kind))
            start = None
        if tag.startswith("B-"):
            start, kind = at, tag[2:]
    return found


train = [*sentences("wnut17train.conll.gz"), *sentences("emerging.dev.conll.gz")]
model = sklearn_crfsuite.CRF(c1=0.01, c2=0.01, max_iterations=60)
model.fit([features(words) for words, _ in train], [tags for _, tags in train])

test = list(sentences("emerging.test.annotated.gz"))
guessed = [entities(tags) for tags in model.predict([features(words) for words, _ in test])]
known = [entities(tags) for _, tags in test]
right = sum(len(a & b) for a, b in zip(guessed, known, strict=True))
f1 = 2 * right / (sum(map(len, guessed)) + sum(map(len, known)))
print(f"F1 of entities on sites not seen: {f1:.2f}")

folder = Path("model")
folder.mkdir(exist_ok=True)
joblib.dump(model, folder / "model.joblib")
for name in ("inference.py", "features.py"):
    shutil.copy(HERE / name, folder)
