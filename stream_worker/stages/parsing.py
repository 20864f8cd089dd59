"""The first stage: a message's text normalised, its language, its sentences. Pure.

Any text works, and in time that grows with its length only. What always
holds: parsing a parsed text again changes nothing, and the sentences hold
all of the text but the space between them, in order.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from stream_worker.errors import Code, Misconfigured

_LANGUAGE_CHARACTERS = 2_000
"""The language is read off the first so many characters: more would cost time and change nothing."""

_MARKS_IN_A_ROW = 30
_JOINER = "\u034f"
"""COMBINING GRAPHEME JOINER: invisible, and no mark is ordered across it."""

_NARROW = ".!?…"
_WIDE = "。！？｡؟۔।॥"
_WIDE_MARKS = frozenset(_WIDE)
_END = re.compile(rf"([{_NARROW}{_WIDE}]+)[\])}}\"'»”’」』）】》]*(?P<gap>\s*)")

Detect = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Parsed:
    """`text` in NFC and its `language` in ISO 639-1."""

    text: str
    language: str

    @property
    def sentences(self) -> tuple[str, ...]:
        """The sentences without the space around them; split when asked for, as not every turn asks."""
        return tuple(_sentences(self.text))


class Parser:
    """Parses the messages of a bot that declares these languages, the likeliest first."""

    def __init__(self, languages: tuple[str, ...]) -> None:
        """Raises Misconfigured when several languages are declared and one of them cannot be told from others."""
        self._default = languages[0]
        self._detect = _detector(languages) if len(languages) > 1 else None

    def parse(self, text: str) -> Parsed:
        normalised = _normalised(text)
        return Parsed(normalised, self._language(normalised))

    def _language(self, text: str) -> str:
        """A text without words of any declared language (an emoji, a number) counts as the first one."""
        if self._detect is None:
            return self._default
        # A lone surrogate is legal in JSON, but no detector takes it.
        start = text[:_LANGUAGE_CHARACTERS].encode(errors="ignore").decode()
        return self._detect(start) or self._default


@lru_cache(maxsize=1_000)
def parser_for(languages: tuple[str, ...]) -> Parser:
    """One parser for all bots of the same languages."""
    return Parser(languages)


def _detector(languages: tuple[str, ...]) -> Detect:
    # Imported here: a bot of one language does without, and its models are loaded at the first text.
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    try:
        codes = [IsoCode639_1.from_str(language.upper()) for language in languages]
    except ValueError as error:
        raise Misconfigured(
            Code.BOT_INVALID,
            f"`languages: [{', '.join(languages)}]` names one that cannot be detected; use two-letter ISO 639-1 codes",
        ) from error
    detector = LanguageDetectorBuilder.from_iso_codes_639_1(*codes).build()

    def detect(text: str) -> str | None:
        found = detector.detect_language_of(text)
        return None if found is None else found.iso_code_639_1.name.lower()

    return detect


def _normalised(text: str) -> str:
    """NFC, with a joiner in runs of more than 30 marks, as Unicode's stream-safe text format has it.

    Ordering a run of marks takes the square of its length: hours for one megabyte of them.
    """
    # No character becomes more than three marks.
    if text.isascii() or 3 * len(text) <= _MARKS_IN_A_ROW:
        return unicodedata.normalize("NFC", text)
    pieces: list[str] = []
    marks = 0
    # One by one, because only so is decomposing linear.
    for character in "".join(unicodedata.normalize("NFD", character) for character in text):
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks > _MARKS_IN_A_ROW:
            pieces.append(_JOINER)
            marks = 1
        pieces.append(character)
    return unicodedata.normalize("NFC", "".join(pieces))


def _sentences(text: str) -> Iterator[str]:
    """Cuts at line ends; after `. ! ? …` before space; after the marks of CJK, Arabic and Hindi anywhere.

    A full stop or an ellipsis before a small letter ends nothing ("approx. half", "well… perhaps").
    """
    for line in text.splitlines():
        start = 0
        for found in _END.finditer(line):
            end = found.start("gap")
            if _ends(found, line):
                yield line[start:end].strip()
                start = end
        if rest := line[start:].strip():
            yield rest


def _ends(found: re.Match[str], line: str) -> bool:
    marks = found[1]
    if not _WIDE_MARKS.isdisjoint(marks):
        return True
    follows = line[found.end() : found.end() + 1]
    if not found["gap"] or not follows:
        return False
    return not follows.islower() or "!" in marks or "?" in marks
