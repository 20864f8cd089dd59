"""Numbers, in digits of the sender's locale or in words: `2`, `-12.5`. By babel, text2num and cn2an. Pure."""

import re
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from babel import Locale
from babel.numbers import NumberFormatError, get_decimal_symbol, parse_decimal

from stream_worker.stages.entities.context import Context
from stream_worker.stages.entities.found import Found, apart

SPOKEN = frozenset({"en", "fr", "de", "es", "pt", "it", "nl"})
"""Languages whose numbers in words are read."""

CHINESE_DIGITS = "零〇一二两三四五六七八九十百千万亿"
_CHINESE = re.compile(rf"(?<![\d.])\d+(?:\.\d+)?[百千万亿]+|[{CHINESE_DIGITS}]+(?:点[{CHINESE_DIGITS[:11]}]+)?")
_COUNTED = re.compile(
    r"[个個位张張人份次天本杯台臺件条條只隻瓶号號楼樓间間晚月日年点點块塊元岁歲碗套双雙辆輛斤公米升小分秒周星包盒袋箱层層页頁倍名家颗粒株头只口支把封场场顿顿句遍]"
)
"""What is counted: one Chinese character alone is a number only before one of these."""

_NO_NUMBERS = re.compile(r"十分|一点|一些|一下|一样|一起|一直|一定|一般|一边|一面|一共|万一|千万")

_DIGITS = re.compile(r"(?<![\w.,])[-+−]?\d+(?:[.,'\u00a0\u202f]\d+)*(?![\w]|[.,]\d)|\d+(?:[.,]\d+)*")
_PRONOUN = re.compile(
    r"\b(?:an?|the|this|that|which|new|old|another|other|any|each|every|no|next|last|first|second|third|right|good|better|best)"
    r" one$",
    re.IGNORECASE,
)
"""English: "a new one" counts nothing."""

_WORDS = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*|\S")
_MOST_DIGITS = 40


def numbers(text: str, context: Context) -> list[Found]:
    """In digits, and in words of the languages that are known."""
    found = [*_in_digits(text, context.locale)]
    if context.language in SPOKEN:
        found += _in_words(text, context.language)
    if context.language in ("zh", "ja"):
        found += _chinese(text)
    return apart(found)


def normal(value: Decimal) -> str:
    """No exponent, no trailing zeros."""
    plain = format(value, "f")
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    return "0" if plain in ("-0", "") else plain


def read_digits(digits: str, locale: Locale) -> Decimal | None:
    """As the locale writes it, else with a point; None where it is neither."""
    plain = digits.replace("−", "-")
    if len(plain) > _MOST_DIGITS:
        return None
    for known in (locale, _ENGLISH):
        try:
            return parse_decimal(plain, locale=known, strict=True)
        except NumberFormatError:
            continue
    point = get_decimal_symbol(locale)
    rest = plain.replace(".", "").replace(",", "") if plain.count(point) != 1 else plain.replace(point, ".")
    return Decimal(rest) if _PLAIN.fullmatch(rest) else None


_PLAIN = re.compile(r"[-+]?\d+(?:\.\d+)?")
_ENGLISH = Locale("en")


def _in_digits(text: str, locale: Locale) -> list[Found]:
    found: list[Found] = []
    for match in _DIGITS.finditer(text):
        value = read_digits(match[0], locale)
        if value is not None:
            found.append(Found(match.start(), match.end(), normal(value)))
    return found


class _Word(NamedTuple):
    said: str

    def text(self) -> str:
        return self.said

    def nt_separated(self, _: "_Word") -> bool:
        return False

    def not_a_number_part(self) -> bool:
        return False


def _in_words(text: str, language: str) -> list[Found]:
    from text_to_num import find_numbers

    words = list(_WORDS.finditer(text))
    # Everything counts, also a small number alone: "for two".
    spoken = find_numbers([_Word(match[0].lower()) for match in words], language, 0.0)
    return [
        Found(words[one.start].start(), words[one.end - 1].end(), normal(Decimal(str(one.value))))
        for one in spoken
        if not one.is_ordinal
        and not text[words[one.start].start()].isdigit()
        and not (language == "en" and _PRONOUN.search(text[: words[one.end - 1].end()][-20:]))
    ]


def _chinese(text: str) -> list[Found]:
    found: list[Found] = []
    for match in _CHINESE.finditer(text):
        alone = len(match[0]) == 1 or not set(match[0]) - set("十百千万亿")
        if _NO_NUMBERS.match(text, match.start()) or (alone and not _COUNTED.match(text, match.end())):
            continue
        value = chinese(match[0])
        if value is not None:
            found.append(Found(match.start(), match.end(), normal(value)))
    return found


@lru_cache(maxsize=10_000)
def chinese(said: str) -> Decimal | None:
    """`三百二十`, `3万`, `两`; None where it is no number."""
    from cn2an import cn2an

    if len(said) > _MOST_DIGITS:
        return None
    try:
        return Decimal(str(cn2an(said, "smart")))
    except (ValueError, ArithmeticError, LookupError):
        # The library knows no tenth of some units: `万亿三`.
        return None
