"""The words of a text, which are what slots are made of: from a tokenizer's pieces. Pure.

What always holds: words do not overlap and stand in order; a word is whole, however many pieces the tokenizer made of
it; and in a script that is written without spaces every character is a word of its own, however many of them a piece
has, so that a slot may begin and end anywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

_EAST_ASIAN = 0x2E80
"""CJK Radicals Supplement; letters from here on are East Asian, but for a few rare scripts."""

_SOUTH_EAST_ASIAN = ((0x0E00, 0x0EFF), (0x0F00, 0x109F), (0x1780, 0x17FF))
"""Thai and Lao, Tibetan and Burmese, Khmer."""

Spans = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Word:
    """Code points `start` to `end` of the text, read from the tokens `first` to `last`, each end one past."""

    start: int
    end: int
    first: int
    last: int


def words(text: str, spans: Spans) -> tuple[Word, ...]:
    """Of the tokens with these spans, which are in order."""
    found: list[Word] = []
    for token, span in enumerate(spans):
        start, end = _trimmed(text, span)
        if found and start < found[-1].end:
            # Some tokenizers make several tokens of one character.
            word = found[-1]
            found[-1] = Word(word.start, word.end, word.first, token + 1)
            start = word.end
        for first, last in _parts(text, start, end):
            if found and _goes_on(text, found[-1].end, first):
                word = found[-1]
                found[-1] = Word(word.start, last, word.first, token + 1)
            else:
                found.append(Word(first, last, token, token + 1))
    return tuple(found)


def is_unspaced(character: str) -> bool:
    """Whether it is of a script that is written without spaces, or, like Korean, glues to words what is none."""
    code = ord(character)
    if code >= _EAST_ASIAN:
        return character.isalnum()
    return any(first <= code <= last for first, last in _SOUTH_EAST_ASIAN)


def _parts(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """A token's characters, each alone where its script has no spaces, others together."""
    parts: list[tuple[int, int]] = []
    for at in range(start, end):
        if parts and not is_unspaced(text[at]) and not is_unspaced(text[at - 1]):
            parts[-1] = (parts[-1][0], at + 1)
        else:
            parts.append((at, at + 1))
    return parts


def _goes_on(text: str, end: int, start: int) -> bool:
    """Whether a piece continues the word before it: no space between them, and letters or digits on both sides."""
    if end != start or start == 0:
        return False
    before, after = text[start - 1], text[start]
    if not before.isalnum() or not after.isalnum() or is_unspaced(before) or is_unspaced(after):
        return False
    return before.isdigit() == after.isdigit()


def _trimmed(text: str, span: tuple[int, int]) -> tuple[int, int]:
    """Some tokenizers count the space before a word to the word."""
    value = text[span[0] : span[1]]
    start = span[0] + len(value) - len(value.lstrip())
    return start, max(start, span[0] + len(value.rstrip()))
