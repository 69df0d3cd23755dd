"""The models' patterns are Java's and ECMA's; Python's `re` reads them after a translation of what it lacks.

Translated: Unicode categories (`\\p{L}`, `\\p{Zs}`), POSIX classes (`\\p{Alnum}`, `\\p{ASCII}`, `\\p{Print}`), `\\z`,
UTF-16 surrogate pairs in a character class, `[\\w-_]`.

A category has up to 130,000 characters. Instead of a table of them, each character of the *value* beyond ASCII is
replaced by one private character that stands for its category, and the pattern names those.
"""

from __future__ import annotations

import functools
import re
import unicodedata

_POSIX = {
    "ASCII": r"\x00-\x7f",
    "Alnum": "0-9A-Za-z",
    "Alpha": "A-Za-z",
    "Digit": "0-9",
    "Graph": "!-~",
    "Print": " -~",
    "Punct": r"!-/:-@\[-`{-~",
    "Space": r" \t\n\x0b\f\r",
    "Upper": "A-Z",
    "Lower": "a-z",
}
_LETTERS_OF = {"L": "ultmo", "M": "nce", "N": "dlo", "P": "cdseifo", "S": "mcko", "Z": "slp", "C": "cfson"}
_SUBCATEGORIES = tuple(major + minor for major, minors in _LETTERS_OF.items() for minor in minors)
"""Lu, Ll, ...: the general categories (Unicode standard, table 4-4)."""
_STAND_INS = {name: chr(0xE000 + index) for index, name in enumerate(_SUBCATEGORIES)}


class Pattern:
    """A model's pattern, matched whole."""

    def __init__(self, pattern: str) -> None:
        text = pattern.replace(r"\z", r"\Z").replace(r"[\w-_]", r"[\w\-_]")
        # A surrogate pair within a class stands for everything beyond the basic plane.
        text = text.replace(r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010ffff")
        # `*)${1,128}`: a closing anchor with a count (CustomerMetadataKey) can only mean the anchor.
        text = re.sub(r"\$\{\d+,\d+\}", "$", text)
        self._by_category = False
        self.regex = re.compile(self._translate(text))

    def matches(self, value: str) -> bool:
        """Whether the whole value matches, as the services ask."""
        if self._by_category and not value.isascii():
            value = "".join(c if c < "\x80" else _STAND_INS[unicodedata.category(c)] for c in value)
        return self.regex.fullmatch(value) is not None

    def _inside(self, name: str) -> str:
        """The inside of a character class that holds a category or a POSIX class."""
        if name in _POSIX:
            return _POSIX[name]
        self._by_category = True
        plain = [chr(point) for point in range(128) if unicodedata.category(chr(point)).startswith(name)]
        stand_ins = [_STAND_INS[sub] for sub in _SUBCATEGORIES if sub.startswith(name)]
        return "".join(re.escape(character) for character in plain) + "".join(stand_ins)

    def _translate(self, text: str) -> str:
        out: list[str] = []
        in_class = False
        at = 0
        while at < len(text):
            found = _CATEGORY.match(text, at)
            if found:
                out.append(self._inside(found[1]) if in_class else f"[{self._inside(found[1])}]")
                at = found.end()
            elif text[at] == "\\":
                out.append(text[at : at + 2])
                at += 2
            else:
                # Python warns of a bare bracket within a class.
                out.append("\\[" if in_class and text[at] == "[" else text[at])
                in_class = text[at] == "[" or (in_class and text[at] != "]")
                at += 1
        return "".join(out)


_CATEGORY = re.compile(r"\\p\{(\w+)\}")


@functools.lru_cache(maxsize=4096)
def compiled(pattern: str) -> Pattern:
    """A model's pattern; re.error for one that Python cannot read."""
    return Pattern(pattern)
