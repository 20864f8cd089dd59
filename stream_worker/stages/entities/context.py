"""Who says something, where and when: what a date or a phone number means depends on it. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.core import get_global

_UNKNOWN_LANGUAGE = "en"


@dataclass(frozen=True, slots=True)
class Context:
    """`language` in ISO 639-1 and `region` in ISO 3166-1 of the sender; `now` is the message's time, in their zone."""

    language: str
    region: str
    now: datetime

    @property
    def locale(self) -> Locale:
        return _locale(self.language, self.region)


def context_of(
    at_ms: int, language: str, *, locale: str | None = None, region: str | None = None, zone: str = "UTC"
) -> Context:
    """For a message of this time in ms UTC; `locale` is the sender's, such as `en-GB`, and `region` the bot's.

    `zone` is one's IANA name. A locale of another language than the text's says only where the sender is.
    """
    spoken = _region_of(locale) or region or _likely_region(language)
    return Context(language, spoken, datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(zone)))


def _region_of(locale: str | None) -> str | None:
    parts = (locale or "").replace("_", "-").split("-")
    return next((part.upper() for part in parts[1:] if len(part) == 2 and part.isalpha()), None)


def _likely_region(language: str) -> str:
    """Where most who write it live, as CLDR has it."""
    full: str = get_global("likely_subtags").get(language, "en_Latn_US")
    return full.rsplit("_", 1)[-1]


@lru_cache(maxsize=1_000)
def _locale(language: str, region: str) -> Locale:
    for name in (f"{language}_{region}", language, _UNKNOWN_LANGUAGE):
        try:
            return Locale.parse(name)
        except (UnknownLocaleError, ValueError):
            continue
    raise AssertionError("babel knows English")
