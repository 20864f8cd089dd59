"""Sums of money: `12.5 USD`. Symbols, codes and names of currencies are CLDR's, through babel. Pure."""

import re
from collections.abc import Mapping
from functools import lru_cache

from babel import Locale
from babel.core import get_global
from babel.numbers import get_currency_name, get_territory_currencies

from stream_worker.stages.entities.context import Context
from stream_worker.stages.entities.found import Found, apart
from stream_worker.stages.entities.numbers import numbers

_SPOKEN: Mapping[str, Mapping[str, str]] = {
    "en": {
        "bucks": "$",
        "buck": "$",
        "dollars": "$",
        "dollar": "$",
        "quid": "GBP",
        "pounds": "GBP",
        "yuan": "CNY",
        "rmb": "CNY",
        "yen": "JPY",
        "rupees": "INR",
    },
    "zh": {
        "元": "CNY",
        "块": "CNY",
        "块钱": "CNY",
        "塊": "TWD",
        "人民币": "CNY",
        "美金": "USD",
        "美元": "USD",
        "欧": "EUR",
        "港币": "HKD",
        "刀": "USD",
    },
    "de": {"Dollar": "$", "Pfund": "GBP", "Franken": "CHF"},
    "es": {"dólares": "$", "dólar": "$"},
    "fr": {"dollars": "$", "dollar": "$", "balles": "EUR"},
    "ja": {"円": "JPY", "ドル": "USD", "ユーロ": "EUR"},
}
"""What people say and CLDR does not: by language."""

_SYMBOLS = {
    "€": "EUR",
    "£": "GBP",
    "₹": "INR",
    "₩": "KRW",
    "₽": "RUB",
    "₺": "TRY",
    "฿": "THB",
    "₫": "VND",
    "₴": "UAH",
    "₪": "ILS",
    "US$": "USD",
    "R$": "BRL",
    "zł": "PLN",
    "A$": "AUD",
    "C$": "CAD",
    "HK$": "HKD",
    "NT$": "TWD",
    "S$": "SGD",
    "＄": "$",
    "￥": "¥",
    "RMB": "CNY",
}


def money(text: str, context: Context) -> list[Found]:
    """A number beside a symbol, a code or a name of a currency."""
    names = _names(context.language, context.region)
    found: list[Found] = []
    for number in numbers(text, context):
        if number.value.startswith("-") and text[number.start] in "-−":
            continue
        after = names.after.match(text, number.end)
        before = names.before.search(text, max(0, number.start - _LONGEST), number.start) if after is None else None
        if after is not None:
            found.append(Found(number.start, after.end(), f"{number.value} {names.code(after['name'])}"))
        elif before is not None:
            found.append(Found(before.start("name"), number.end, f"{number.value} {names.code(before['name'])}"))
    return apart(found)


_LONGEST = 24


class _Names:
    """The ways in which a language and region name currencies."""

    def __init__(self, named: Mapping[str, str], own: Mapping[str, str]) -> None:
        self._codes = {name.casefold(): own.get(code, code) for name, code in named.items()}
        names = "|".join(re.escape(name) for name in sorted(named, key=len, reverse=True))
        # A name in letters ends where a word ends, but for scripts without spaces.
        self.after = re.compile(rf"[ \u00a0\u202f]?(?P<name>{names})(?![a-zA-ZÀ-ÿ])", re.IGNORECASE)
        self.before = re.compile(rf"(?<![a-zA-ZÀ-ÿ])(?P<name>{names})[ \u00a0\u202f]?$", re.IGNORECASE)

    def code(self, name: str) -> str:
        return self._codes[name.casefold()]


@lru_cache(maxsize=100)
def _names(language: str, region: str) -> _Names:
    current = _current()
    spoken = language if language in _known_languages() else "en"
    named: dict[str, str] = {code: code for code in current}
    for code in current:
        for count in (1, 2, 5):
            named[get_currency_name(code, count, locale=Locale(spoken))] = code
    own = next(iter(get_territory_currencies(region)), "USD")
    for count in (1, 2, 5):
        # "pounds" in Britain are British ones.
        named.setdefault(get_currency_name(own, count, locale=Locale(spoken)).split()[-1], own)
    named |= _SYMBOLS | {"$": "$", "¥": "¥"} | dict(_SPOKEN.get(language, {}))
    dollar = own if "$" in Locale("en").currency_symbols.get(own, own) or own in _DOLLARS else "USD"
    return _Names(named, {"$": dollar, "¥": "JPY" if own == "JPY" else "CNY"})


_DOLLARS = frozenset({"SGD", "CLP", "COP", "ARS", "UYU"})


@lru_cache(maxsize=1)
def _known_languages() -> frozenset[str]:
    from babel.localedata import locale_identifiers

    return frozenset(locale_identifiers())


@lru_cache(maxsize=1)
def _current() -> tuple[str, ...]:
    """The currencies in use somewhere."""
    return tuple(
        sorted({code for place in get_global("territory_currencies") for code in get_territory_currencies(place)})
    )
