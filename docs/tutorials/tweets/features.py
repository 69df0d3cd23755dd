"""What the model is told of each word: the same words for training and for serving."""

import re

_SHAPE = ((re.compile(r"[A-Z]"), "X"), (re.compile(r"[a-z]"), "x"), (re.compile(r"\d"), "d"))


def _shape(word):
    for pattern, sign in _SHAPE:
        word = pattern.sub(sign, word)
    return re.sub(r"(.)\1{2,}", r"\1\1", word)


def _facts(word, place):
    return [f"{place}:low={word.lower()}", f"{place}:shape={_shape(word)}", f"{place}:title={word.istitle()}"]


def features(words):
    """A list of facts for each word of a sentence."""
    found = []
    for at, word in enumerate(words):
        facts = ["bias", *_facts(word, 0)]
        facts += [f"prefix={word[:n].lower()}" for n in (2, 3)] + [f"suffix={word[-n:].lower()}" for n in (2, 3, 4)]
        facts += [f"upper={word.isupper()}", f"mark={word[:1] if word[:1] in '@#' else ''}", f"url={'://' in word}"]
        for step in (-2, -1, 1, 2):
            place = at + step
            facts += _facts(words[place], step) if 0 <= place < len(words) else [f"{step}:none"]
        found.append(facts)
    return found
