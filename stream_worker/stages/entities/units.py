"""The words of dates and times in each language, as dateparser's tables (made from CLDR) have them. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

UNITS = ("year", "month", "week", "day", "hour", "minute", "second")
_MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_PARTS = ("morning", "afternoon", "evening", "night", "early_morning")


@dataclass(frozen=True, slots=True)
class TimeWords:
    """All in lower case. `units` by word; `phrases` say when by themselves ("today"); `glue` stands between."""

    units: Mapping[str, str]
    months: frozenset[str]
    weekdays: frozenset[str]
    phrases: frozenset[str]
    relative: frozenset[str]
    """What makes a span a time: "in", "ago"."""

    glue: frozenset[str]
    halves: frozenset[str]
    """`am` and `pm`, and parts of the day."""


@lru_cache(maxsize=100)
def time_words(language: str) -> TimeWords | None:
    """None for a language that dateparser does not know."""
    try:
        info: Mapping[str, Any] = import_module(f"dateparser.data.date_translation_data.{language}").info
    except ModuleNotFoundError:
        return None
    return TimeWords(
        units={word: unit for unit in UNITS for word in _words(info, [unit])},
        months=frozenset(_words(info, _MONTHS)),
        weekdays=frozenset(_words(info, _WEEKDAYS)),
        phrases=frozenset({*_phrases(info), *_simplified(info)}),
        relative=frozenset(_words(info, ["ago", "in"])) | frozenset(_around_numbers(info)),
        glue=frozenset(word for word in _words(info, ["skip", "pertain"]) if word.isalpha()),
        halves=frozenset(_words(info, ["am", "pm", *_PARTS])),
    )


def _words(info: Mapping[str, Any], keys: Iterable[str]) -> Iterator[str]:
    for key in keys:
        yield from (str(word).lower() for word in info.get(key, ()) if str(word).strip())


def _around_numbers(info: Mapping[str, Any]) -> Iterator[str]:
    """What the tables have around a number and its unit: "en 3 días", "3 日後"."""
    units = set(_words(info, UNITS))
    for several in info.get("relative-type-regex", {}).values():
        for expression in several:
            words = _NUMBER.sub(" ", str(expression).lower()).split()
            yield from (word for word in words if word not in units and word.isalpha())
            yield from (word[-1] for word in words if word not in units and word[:-1] in units and word[-1] in "後前")


_NUMBER = re.compile(r"\([^)]*\)")


def _phrases(info: Mapping[str, Any]) -> Iterator[str]:
    for several in info.get("relative-type", {}).values():
        yield from (str(one).lower() for one in several)


def _simplified(info: Mapping[str, Any]) -> Iterator[str]:
    """Words that the tables rewrite, such as "tonight"; not their regular expressions, nor numbers in words."""
    for rewriting in info.get("simplifications", ()):
        for word, meant in rewriting.items():
            if word.replace(" ", "").isalpha() and not str(meant).strip().isdigit() and len(word) > 2:
                yield word.lower()
