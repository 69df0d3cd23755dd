"""Regular expressions of filter patterns: a small language, matched in time that grows with the line alone. Pure.

A pattern is alternatives of characters, each once, `?`, `*`, `+` or `{m,n}` times; `^` and `$` stand for the line's
ends; there are no groups ("Supported regular expressions (regex) syntax", CloudWatch Logs user guide). Such a pattern
is an automaton whose states are the places in it, kept as the bits of a number; the step from a set of states by a
character is worked out once and remembered. Python's own `re` goes back and forth: one line could hold it for hours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

STATES_MAX = 500
"""Characters of a pattern with repetitions written out."""
REMEMBERED_MAX = 20_000
"""Steps kept; then they are forgotten, all at once."""

Fits = Callable[[str], bool]
_SPECIAL = "^$?[]{}|\\*+."
_CLASSES: dict[str, Fits] = {
    "d": lambda char: char in "0123456789",
    "w": lambda char: char.isascii() and (char.isalnum() or char == "_"),
    "s": lambda char: char in " \t\r\n\f\v",
}


class BadRegex(ValueError):  # noqa: N818 - a refusal
    """What cannot be read in it."""


@dataclass(frozen=True)
class _Item:
    """One place of a pattern."""

    fits: Fits
    optional: bool
    repeats: bool


@dataclass(frozen=True)
class _Sequence:
    """One alternative."""

    items: tuple[_Item, ...]
    at_start: bool
    at_end: bool


class Regex:
    """Finds a pattern anywhere in a text."""

    def __init__(self, pattern: str) -> None:
        """BadRegex for what is not of the language."""
        self._sequences = [_Reader(part).read() for part in _alternatives(pattern)]
        if sum(len(one.items) + 1 for one in self._sequences) > STATES_MAX:
            raise BadRegex(f"it is longer than {STATES_MAX} characters, with repetitions written out")
        self._items: list[_Item | None] = []
        """By state; None at the end of a sequence."""
        self._starts = self._accepts = self._accepts_at_end = self._first = 0
        for one in self._sequences:
            start = 1 << len(self._items)
            self._items += [*one.items, None]
            end = 1 << (len(self._items) - 1)
            self._first |= start
            if not one.at_start:
                self._starts |= start
            if one.at_end:
                self._accepts_at_end |= end
            else:
                self._accepts |= end
        self._repeats = self._mask(lambda item: item.repeats)
        self._optional = [self._mask(lambda item: item.optional)]
        """At k: places that begin 2^k optional ones in a row."""
        while row := self._optional[-1] & self._optional[-1] >> (1 << len(self._optional) - 1):
            self._optional.append(row)
        self._fitting: dict[str, int] = {}
        """By character: the places that it fits."""
        self._starts, self._first = self._closed(self._starts), self._closed(self._first)
        self._steps: dict[tuple[int, str], int] = {}

    def search(self, text: str) -> bool:
        """Whether the pattern is found."""
        states, accepts, steps = self._first, self._accepts, self._steps
        if states & accepts:
            return True
        for char in text:
            key = (states, char)
            known = steps.get(key)
            if known is None:
                known = self._step(states, char)
                if len(steps) >= REMEMBERED_MAX:
                    steps.clear()
                steps[key] = known
            if known & accepts:
                return True
            states = known
        return bool(states & self._accepts_at_end)

    def _step(self, states: int, char: str) -> int:
        fitting = self._fitting.get(char)
        if fitting is None:
            if len(self._fitting) >= REMEMBERED_MAX:
                self._fitting.clear()
            fitting = self._fitting[char] = self._mask(lambda item: item.fits(char))
        held = states & fitting
        return self._closed(held & self._repeats | (held & ~self._repeats) << 1) | self._starts

    def _closed(self, states: int) -> int:
        """With what is reached without a character: over 1, then 2, 4, 8 ... optional places, so over any number."""
        for at, skipped in enumerate(self._optional):
            states |= (states & skipped) << (1 << at)
        return states

    def _mask(self, holds: Callable[[_Item], bool]) -> int:
        """The places of which something holds, as bits."""
        return sum(1 << at for at, item in enumerate(self._items) if item is not None and holds(item))


def _alternatives(pattern: str) -> list[str]:
    parts, escaped, within = [""], False, False
    for char in pattern:
        if char == "|" and not escaped and not within:
            parts.append("")
            continue
        parts[-1] += char
        if not escaped:
            within = char == "[" or (within and char != "]")
        escaped = char == "\\" and not escaped
    return parts


class _Reader:
    """One alternative, character by character."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def read(self) -> _Sequence:
        at_start = self._take("^")
        items: list[_Item] = []
        at_end = False
        while self._at < len(self._text):
            if at_end:
                raise BadRegex("'$' stands at the end of a pattern alone")
            if self._text[self._at] == "$":
                self._at += 1
                at_end = True
                continue
            items += self._repeated(self._one())
            if len(items) > STATES_MAX:
                raise BadRegex(f"it is longer than {STATES_MAX} characters, with repetitions written out")
        return _Sequence(tuple(items), at_start, at_end)

    def _take(self, char: str) -> bool:
        found = self._text.startswith(char, self._at)
        self._at += found
        return found

    def _next(self) -> str:
        if self._at >= len(self._text):
            raise BadRegex("it ends too early")
        self._at += 1
        return self._text[self._at - 1]

    def _one(self) -> Fits:
        char = self._next()
        if char == ".":
            return lambda found: found != "\n"
        if char == "[":
            return self._set()
        if char == "\\":
            return self._escaped()[0]
        if char in _SPECIAL or char in "()":
            raise BadRegex(f"{char!r} is not allowed there")
        return lambda found: found == char

    def _escaped(self) -> tuple[Fits, str]:
        """What a backslash stands before, and the character itself where it is no class."""
        char = self._next()
        if char in _CLASSES:
            return _CLASSES[char], ""
        if char.lower() in _CLASSES:
            inner = _CLASSES[char.lower()]
            return (lambda found: not inner(found)), ""
        if char.isalnum():
            raise BadRegex(f"'\\{char}' stands for nothing")
        return (lambda found: found == char), char

    def _set(self) -> Fits:
        negated = self._take("^")
        parts: list[Fits] = []
        while not self._take("]"):
            fits, low = self._member()
            if low and self._text[self._at : self._at + 1] == "-" and self._text[self._at + 1 : self._at + 2] != "]":
                self._at += 1
                _, high = self._member()
                if not high or high < low:
                    raise BadRegex("a range goes from a character to a later one")
                parts.append(_between(low, high))
            else:
                parts.append(fits)
        if not parts:
            raise BadRegex("a set is empty")
        return lambda found: any(fits(found) for fits in parts) != negated

    def _member(self) -> tuple[Fits, str]:
        char = self._next()
        return self._escaped() if char == "\\" else ((lambda found: found == char), char)

    def _repeated(self, fits: Fits) -> list[_Item]:
        once = _Item(fits, optional=False, repeats=False)
        any_times = _Item(fits, optional=True, repeats=True)
        perhaps = _Item(fits, optional=True, repeats=False)
        if self._take("*"):
            return [any_times]
        if self._take("+"):
            return [once, any_times]
        if self._take("?"):
            return [perhaps]
        if not self._take("{"):
            return [once]
        least, comma, most = self._until("}").partition(",")
        if not (_is_count(least) and (not most or _is_count(most))) or (most and int(most) < int(least)):
            raise BadRegex("a repetition is {2}, {2,} or {2,5}")
        rest = [any_times] if comma and not most else [perhaps] * (int(most) - int(least)) if comma else []
        return [once] * int(least) + rest

    def _until(self, end: str) -> str:
        found = ""
        while not self._take(end):
            found += self._next()
        return found


def _between(low: str, high: str) -> Fits:
    return lambda found: low <= found <= high


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 3
