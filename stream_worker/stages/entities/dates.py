"""Dates and times, in ISO 8601 and the sender's zone: `2026-03-05`, `2026-03-05T19:00+01:00`. By dateparser. Pure.

dateparser's own search takes any word near a date for a part of it, so spans are found here: rows of words that its
tables know as words of dates and times; what they mean dateparser says. Chinese is read by a grammar of ours.
What always holds: the answer depends on the text and the message's time alone, not on the clock.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import lru_cache

from stream_worker.stages.entities.chinese_dates import chinese_dates
from stream_worker.stages.entities.context import Context
from stream_worker.stages.entities.found import Found, apart
from stream_worker.stages.entities.moments import local, of_day, of_instant, of_month, of_week
from stream_worker.stages.entities.numbers import SPOKEN, numbers
from stream_worker.stages.entities.units import TimeWords, time_words

_MOST_ROWS = 20
_MOST_TRIES = 12
_MOST_TOKENS = 12

_DIGITS = re.compile(r"\d{1,4}(?:[./:-]\d{1,4}){0,2}(?:st|nd|rd|th|er|h\d{0,2})?(?!\d)")
_STRONG = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?|\d{1,4}([./-])\d{1,2}\1\d{1,4}|\d{1,2}h\d{0,2}")
_GAP = re.compile(r"[\s,]{0,3}|\.\s?")
_ENGLISH_HALF = re.compile(r"\bhalf an hour\b", re.IGNORECASE)
_CLOCKS = {
    "en": re.compile(
        r"(?<=\bat )(?P<hour>\d{1,2})(?![\d:.,/-]|\s?(?:[ap]m|o'clock)\b)(?P<minute>)(?P<late>)", re.IGNORECASE
    ),
    "de": re.compile(r"(?P<late>)(?P<hour>\d{1,2})(?:[:.](?P<minute>\d{2}))? ?Uhr\b", re.IGNORECASE),
    "es": re.compile(r"(?P<late>)\ba las? (?P<hour>\d{1,2})(?!:)(?P<minute>)", re.IGNORECASE),
    "ja": re.compile(r"(?:午前|(?P<late>午後))?(?P<hour>\d{1,2})時(?:(?P<minute>\d{1,2})分|(?P<half>半))?"),
}
"""Ways to say the time that dateparser does not know; it is given `19:00` instead."""

_WEEKEND = re.compile(r"\b(?:(?P<next>next)|this|the|at the|on the)?\s*weekend\b", re.IGNORECASE)


class _Sort(Enum):
    """What a word is in a date."""

    DIGITS = "digits"
    STRONG = "strong"
    NUMBER = "number"
    PHRASE = "phrase"
    WEEKDAY = "weekday"
    MONTH = "month"
    UNIT = "unit"
    RELATIVE = "relative"
    HALF = "half"
    NEXT = "next"
    GLUE = "glue"


@dataclass(frozen=True, slots=True)
class _Token:
    start: int
    end: int
    sort: _Sort


def dates(text: str, context: Context) -> list[Found]:
    """Days, times, both together, weeks and months."""
    if context.language == "zh":
        return apart(chinese_dates(text, context))
    words = time_words(context.language)
    if words is None:
        return []
    found: list[Found] = [*_weekends(text, context)] if context.language == "en" else []
    for number, row in enumerate(_rows(text, _tokens(text, context, words))):
        if number == _MOST_ROWS:
            break
        found += _read(text, row, context)
    return apart(found)


def _weekends(text: str, context: Context) -> Iterator[Found]:
    today = local(context).date()
    saturday = today - timedelta(days=today.weekday()) + timedelta(days=5)
    for match in _WEEKEND.finditer(text):
        start = match.start() + len(match[0]) - len(match[0].lstrip())
        yield Found(start, match.end(), of_day(saturday + timedelta(days=7 if match["next"] else 0)))


def _tokens(text: str, context: Context, words: TimeWords) -> list[_Token]:
    found = [
        _Token(match.start(), match.end(), _Sort.STRONG if _STRONG.fullmatch(match[0]) else _Sort.DIGITS)
        for match in _DIGITS.finditer(text)
    ]
    if clock := _CLOCKS.get(context.language):
        found += [_Token(match.start(), match.end(), _Sort.STRONG) for match in clock.finditer(text)]
    for match in _word_pattern(context.language).finditer(text):
        found.append(_Token(match.start(), match.end(), _sort(match[0].lower(), words, context.language)))
    if context.language in SPOKEN:
        found += [
            _Token(one.start, one.end, _Sort.NUMBER) for one in numbers(text, context) if not text[one.start].isdigit()
        ]
    # The longer of two that begin together wins: "next week", not "week".
    ordered = sorted(found, key=lambda token: (token.start, -token.end))
    kept: list[_Token] = []
    for token in ordered:
        if not kept or token.start >= kept[-1].end:
            kept.append(token)
    return kept


@lru_cache(maxsize=100)
def _word_pattern(language: str) -> re.Pattern[str]:
    words = time_words(language)
    assert words is not None
    every = {*words.units, *words.months, *words.weekdays, *words.phrases, *words.relative, *words.glue, *words.halves}
    every |= set(_ENGLISH) if language == "en" else set()
    ordered = "|".join(re.escape(word) for word in sorted(every, key=len, reverse=True))
    if language in ("ja", "th"):
        return re.compile(ordered)
    # "7pm" and "3h" are two tokens.
    return re.compile(rf"(?<![^\W\d])(?:{ordered})(?![^\W_])", re.IGNORECASE)


def _sort(word: str, words: TimeWords, language: str) -> _Sort:
    if language == "en" and word in _ENGLISH:
        return _ENGLISH[word]
    if word in words.phrases and word != "now":
        return _Sort.PHRASE
    for known, sort in (
        (words.months, _Sort.MONTH),
        (words.relative, _Sort.RELATIVE),
        (words.glue, _Sort.GLUE),
        (words.units, _Sort.UNIT),
        (words.weekdays, _Sort.WEEKDAY),
        (words.halves, _Sort.HALF),
    ):
        if word in known:
            return sort
    return _Sort.GLUE


_ENGLISH = {
    "a": _Sort.NUMBER,
    "an": _Sort.NUMBER,
    "half": _Sort.NUMBER,
    "next": _Sort.NEXT,
    "last": _Sort.NEXT,
    "this": _Sort.NEXT,
    "noon": _Sort.PHRASE,
    "midnight": _Sort.PHRASE,
}
_AFTER_DIGITS = (_Sort.MONTH, _Sort.UNIT, _Sort.HALF, _Sort.GLUE, _Sort.RELATIVE)
_DATED = (_Sort.DIGITS, _Sort.STRONG, _Sort.MONTH, _Sort.WEEKDAY)


def _rows(text: str, tokens: list[_Token]) -> Iterator[list[_Token]]:
    row: list[_Token] = []
    for token in tokens:
        if row and (not _goes_on(text, row[-1], token) or len(row) == _MOST_TOKENS):
            yield row
            row = []
        row.append(token)
    if row:
        yield row


def _goes_on(text: str, before: _Token, after: _Token) -> bool:
    if not _GAP.fullmatch(text, before.end, after.start):
        return False
    # "Friday, March 5, 2026" is one date, "in 3 days, tomorrow" are two.
    apart = "," in text[before.end : after.start] or "\n" in text[before.end : after.start]
    return not apart or (before.sort in _DATED and after.sort in _DATED)


def _read(text: str, row: list[_Token], context: Context) -> Iterator[Found]:
    """The longest part of the row that is a date, and what is before and behind it."""
    tries = 0
    for size in range(len(row), 0, -1):
        for first in range(len(row) - size + 1):
            part = row[first : first + size]
            if not _may_be_a_date(part):
                continue
            if tries == _MOST_TRIES:
                return
            tries += 1
            start, end = part[0].start, part[-1].end
            value = _value(text[start:end], context)
            if value is not None:
                yield Found(start, end, value)
                yield from _read(text, row[:first], context)
                yield from _read(text, row[first + size :], context)
                return


def _may_be_a_date(part: list[_Token]) -> bool:
    sorts = [token.sort for token in part]
    if sorts[0] is _Sort.GLUE or sorts[-1] in (_Sort.GLUE, _Sort.NEXT):
        return False
    if sorts[-1] is _Sort.RELATIVE and (sorts[0] is _Sort.RELATIVE or _Sort.UNIT not in sorts):
        return False  # "at midnight in Panama"
    numbered = bool({_Sort.DIGITS, _Sort.NUMBER} & set(sorts))
    if _Sort.NUMBER in sorts and not (_Sort.UNIT in sorts and _Sort.RELATIVE in sorts):
        return False  # "two tomorrow" is not a time
    if sorts[0] is _Sort.DIGITS and len(part) > 1 and sorts[1] not in _AFTER_DIGITS:
        return False
    if _Sort.UNIT in sorts and not {_Sort.RELATIVE, _Sort.PHRASE, _Sort.NEXT} & set(sorts):
        return False
    if _Sort.PHRASE in sorts or _Sort.STRONG in sorts:
        return True
    if _Sort.MONTH in sorts and numbered:
        return True
    # "sun" and "sat" are words, too.
    full = any(token.sort is _Sort.WEEKDAY and token.end - token.start > 3 for token in part)
    if full or (_Sort.WEEKDAY in sorts and {*_DATED, _Sort.NEXT, _Sort.HALF} & (set(sorts) - {_Sort.WEEKDAY})):
        return True
    if _Sort.UNIT in sorts and _Sort.RELATIVE in sorts and numbered:
        return True
    return set(sorts) <= {_Sort.DIGITS, _Sort.HALF, _Sort.GLUE} and {_Sort.DIGITS, _Sort.HALF} <= set(sorts)


def _value(said: str, context: Context) -> str | None:
    from dateparser.date import DateDataParser

    said = _plainer(said, context)
    now = local(context)
    parser = DateDataParser(
        languages=[context.language],
        settings={
            "RELATIVE_BASE": now,
            "TIMEZONE": "UTC",
            "DATE_ORDER": _order(context.language, context.region),
            "PREFER_DATES_FROM": "future",
            "RETURN_TIME_AS_PERIOD": True,
            "PARSERS": ["relative-time", "absolute-time"],
        },
    )
    try:
        read = parser.get_date_data(said)
    except (ValueError, OverflowError):
        return None
    return None if read.date_obj is None else _written(read.date_obj, read.period, context)


def _plainer(said: str, context: Context) -> str:
    """In words that dateparser knows: numbers and times in digits."""
    if context.language == "en":
        said = _ENGLISH_HALF.sub("30 minutes", said)
    if clock := _CLOCKS.get(context.language):
        said = clock.sub(_clock_time, said)
    if context.language in SPOKEN:
        for one in reversed(numbers(said, context)):
            if not said[one.start].isdigit() and one.value.isdigit():
                said = f"{said[: one.start]}{one.value}{said[one.end :]}"
    return said


def _clock_time(match: re.Match[str]) -> str:
    said = match.groupdict()
    hour = int(said["hour"]) + (12 if said["late"] and int(said["hour"]) < 12 else 0)
    return f" {hour}:{30 if said.get('half') else int(said['minute'] or 0):02} "


def _written(moment: datetime, period: str, context: Context) -> str:
    match period:
        case "time" | "part_of_day":
            return of_instant(moment, context)
        case "week":
            return of_week(moment.date())
        case "month":
            return of_month(moment.date())
        case "year":
            return f"{moment.year:04}"
        case _:
            return of_day(moment.date())


@lru_cache(maxsize=1_000)
def _order(language: str, region: str) -> str:
    """`DMY`, `MDY` or `YMD`, as the region writes 5/3/2026."""
    pattern = Context(language, region, datetime.min).locale.date_formats["short"].pattern.upper()  # noqa: DTZ901
    order = "".join(dict.fromkeys(letter for letter in pattern if letter in "DMY"))
    return order if len(order) == 3 else "YMD"
