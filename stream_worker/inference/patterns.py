"""Where a text has values of the user's lists and matches of their regular expressions. Pure.

They tell the slots' head what the words around do not, and stand for themselves where no example marks their slot.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stream_worker.inference.words import Word

_LONGEST_WORDS = 12
"""Longer values of a list are not looked for."""


@dataclass(frozen=True, slots=True)
class Match:
    """Words `first` to `last` (one past) of the text."""

    name: str
    first: int
    last: int


class Patterns:
    """`lookups`, values by name, match whole words in any case; `regexes`, by name, whole words that they touch."""

    def __init__(self, lookups: Mapping[str, Sequence[str]], regexes: Mapping[str, Sequence[str]]) -> None:
        self.lookups = {name: tuple(values) for name, values in sorted(lookups.items())}
        self.regexes = {name: tuple(values) for name, values in sorted(regexes.items())}
        self.names = tuple(sorted({*lookups, *regexes}))
        self._values = {name: frozenset(value.lower() for value in values) for name, values in self.lookups.items()}
        self._longest = max((len(value) for values in self._values.values() for value in values), default=0)
        self._compiled = [(name, re.compile(one)) for name, several in self.regexes.items() for one in several]

    def find(self, text: str, words: Sequence[Word]) -> list[Match]:
        """Of each name, the longest first, those that do not overlap; in no particular order."""
        if not self.names or not words:
            return []
        found = [*self._of_lists(text.lower() if text.isascii() else text, words), *self._of_regexes(text, words)]
        taken: dict[str, set[int]] = {}
        kept: list[Match] = []
        for match in sorted(found, key=lambda one: one.first - one.last):
            own = set(range(match.first, match.last))
            if own.isdisjoint(taken.setdefault(match.name, set())):
                taken[match.name] |= own
                kept.append(match)
        return kept

    def _of_lists(self, text: str, words: Sequence[Word]) -> list[Match]:
        found: list[Match] = []
        for first, word in enumerate(words if self._values else ()):
            for last in range(first + 1, min(len(words), first + _LONGEST_WORDS) + 1):
                value = text[word.start : words[last - 1].end]
                if len(value) > self._longest:
                    break
                # Not the whole text in lower case: some characters become two.
                lower = value.lower()
                found += [Match(name, first, last) for name, values in self._values.items() if lower in values]
        return found

    def _of_regexes(self, text: str, words: Sequence[Word]) -> list[Match]:
        found: list[Match] = []
        for name, regex in self._compiled:
            for match in regex.finditer(text[: words[-1].end]):
                inside = [at for at, word in enumerate(words) if word.start < match.end() and word.end > match.start()]
                if inside:
                    found.append(Match(name, inside[0], inside[-1] + 1))
        return found
