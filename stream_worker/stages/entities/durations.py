"""How long something takes, in ISO 8601: `PT3H`, `P2DT12H`. Pure."""

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache

from stream_worker.stages.entities.context import Context
from stream_worker.stages.entities.found import Found, apart
from stream_worker.stages.entities.numbers import CHINESE_DIGITS, chinese, normal, numbers
from stream_worker.stages.entities.units import UNITS, time_words

_LETTERS = dict(zip(UNITS, "YMWDHMS", strict=True))

_CHINESE_UNITS = {
    "年": "year",
    "个月": "month",
    "個月": "month",
    "周": "week",
    "星期": "week",
    "礼拜": "week",
    "天": "day",
    "小时": "hour",
    "小時": "hour",
    "钟头": "hour",
    "分钟": "minute",
    "分鐘": "minute",
    "刻钟": "quarter",
    "秒": "second",
    "秒钟": "second",
}
_CHINESE = re.compile(
    rf"(?P<number>\d+(?:\.\d+)?|[{CHINESE_DIGITS}]+|半)[个個]?(?P<half>半)?"
    rf"(?P<unit>{'|'.join(sorted(_CHINESE_UNITS, key=len, reverse=True))})(?P<more>半(?![个個小天年]))?"
)
_HALF = {
    "year": ("6", "month"),
    "month": ("15", "day"),
    "day": ("12", "hour"),
    "hour": ("30", "minute"),
    "minute": ("30", "second"),
    "week": ("3.5", "day"),
}
_ENGLISH_HALF = re.compile(r"\bhalf an? (?P<unit>year|day|hour|minute)\b(?!\s+ago)", re.IGNORECASE)
_ENGLISH_ONE = re.compile(
    r"\ban? (?P<unit>year|month|week|day|hour|minute)\b(?P<half> and a half)?(?!\s+(?:ago|from))", re.IGNORECASE
)
_AND_A_HALF = re.compile(r" and a half(?= )", re.IGNORECASE)
_JOINT = re.compile(r"\s*(?:,|and|und|et|y|e|en)?\s*", re.IGNORECASE)

Parts = list[tuple[Decimal, str]]


def durations(text: str, context: Context) -> list[Found]:
    """A number and a unit, several of them in a row together."""
    if context.language == "zh":
        pieces = _chinese(text)
    else:
        pieces = _numbered(text, context) + (_english(text) if context.language == "en" else [])
    return [
        Found(start, end, _iso(parts)) for start, end, parts in _joined(text, sorted(pieces, key=lambda one: one[0]))
    ]


Piece = tuple[int, int, Parts]


def _numbered(text: str, context: Context) -> list[Piece]:
    words = time_words(context.language)
    if words is None:
        return []
    unit = _unit_pattern(context.language)
    pieces: list[Piece] = []
    for number in numbers(text, context):
        half = _AND_A_HALF.match(text, number.end) if context.language == "en" else None
        match = unit.match(text, half.end() if half else number.end)
        # One letter is a unit only right behind digits: "2h", not "plan B at 2 m".
        # And "90s" is a decade.
        letter = match is not None and len(match["unit"]) == 1 and (match["space"] or match["unit"].lower() == "s")
        if match is None or letter or number.value.startswith("-"):
            continue
        amount = Decimal(number.value) + (Decimal("0.5") if half else 0)
        pieces.append((number.start, match.end(), [(amount, words.units[match["unit"].lower()])]))
    return pieces


@lru_cache(maxsize=100)
def _unit_pattern(language: str) -> re.Pattern[str]:
    words = time_words(language)
    assert words is not None
    units = "|".join(re.escape(word) for word in sorted(words.units, key=len, reverse=True))
    return re.compile(rf"(?P<space>[ \u00a0-]?)(?P<unit>{units})(?!\w)", re.IGNORECASE)


def _english(text: str) -> list[Piece]:
    pieces: list[Piece] = []
    for match in _ENGLISH_HALF.finditer(text):
        count, unit = _HALF[match["unit"].lower()]
        pieces.append((match.start(), match.end(), [(Decimal(count), unit)]))
    for match in _ENGLISH_ONE.finditer(text):
        if text[: match.start()].lower().endswith("half "):
            continue
        unit = match["unit"].lower()
        parts = [(Decimal(1), unit)]
        if match["half"] and unit in _HALF:
            parts.append((Decimal(_HALF[unit][0]), _HALF[unit][1]))
        pieces.append((match.start(), match.end(), parts))
    return pieces


def _chinese(text: str) -> list[Piece]:
    pieces: list[Piece] = []
    for match in _CHINESE.finditer(text):
        said, unit = match["number"], _CHINESE_UNITS[match["unit"]]
        parts: Parts = []
        if unit == "quarter":
            number = chinese(said)
            parts = [(number * 15, "minute")] if number is not None else []
        elif said == "半":
            parts = [(Decimal(_HALF[unit][0]), _HALF[unit][1])] if unit in _HALF else []
        elif (number := Decimal(said) if said[0].isdigit() else chinese(said)) is not None:
            parts = [(number, unit)]
            if (match["half"] or match["more"]) and unit in _HALF:
                parts.append((Decimal(_HALF[unit][0]), _HALF[unit][1]))
        if parts:
            pieces.append((match.start(), match.end(), parts))
    return pieces


def _joined(text: str, pieces: list[Piece]) -> list[Piece]:
    """Neighbours of falling units are one duration: "2 hours and 30 minutes"."""
    kept = [Found(start, end, str(at)) for at, (start, end, _) in enumerate(pieces)]
    joined: list[Piece] = []
    for found in apart(kept):
        start, end, parts = pieces[int(found.value)]
        if joined:
            first, last, before = joined[-1]
            falls = UNITS.index(before[-1][1]) < UNITS.index(parts[0][1])
            if falls and _JOINT.fullmatch(text, last, start):
                joined[-1] = (first, end, [*before, *parts])
                continue
        joined.append((start, end, parts))
    return joined


def _iso(parts: Parts) -> str:
    amounts: dict[str, Decimal] = {}
    for amount, unit in parts:
        amounts[unit] = amounts.get(unit, Decimal(0)) + amount
    if set(amounts) == {"week"}:
        return f"P{normal(amounts['week'])}W"
    if "week" in amounts:
        amounts["day"] = amounts.get("day", Decimal(0)) + 7 * amounts.pop("week")
    days = "".join(_written(amounts, unit) for unit in ("year", "month", "day"))
    clock = "".join(_written(amounts, unit) for unit in ("hour", "minute", "second"))
    return f"P{days}" + (f"T{clock}" if clock else "") if days or clock else "PT0S"


def _written(amounts: Mapping[str, Decimal], unit: str) -> str:
    return f"{normal(amounts[unit])}{_LETTERS[unit]}" if amounts.get(unit) else ""
