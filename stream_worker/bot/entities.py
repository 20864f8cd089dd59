"""What a bot finds in texts without examples: kinds that a library recognises, and expressions of its own."""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any
from zoneinfo import available_timezones

import re2


class EntityKind(StrEnum):
    """What is recognised. Values: `12.5`; ISO 8601; `PT3H`; `12.5 EUR`; E.164; an address; an address with scheme."""

    NUMBER = "number"
    DATE = "date"
    DURATION = "duration"
    MONEY = "money"
    PHONE = "phone"
    EMAIL = "email"
    URL = "url"


@dataclass(frozen=True, slots=True)
class Entity:
    """It becomes the slot `name`. `what` is a kind, or a regular expression as RE2 has them: its first group is the
    value where it has one."""

    name: str
    what: EntityKind | str


def expression_error(expression: str) -> str | None:
    """What is wrong with an expression; None for nothing."""
    try:
        compiled(expression)
    except re2.error as error:
        said = error.args[0]
        return said.decode() if isinstance(said, bytes) else str(said)
    return None


@lru_cache(maxsize=1_000)
def compiled(expression: str) -> Any:
    """Matches in time that grows with the text's length only, whatever the expression. Raises re2.error."""
    options = re2.Options()
    options.log_errors = False
    return re2.compile(expression, options)


@lru_cache(maxsize=1)
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


def is_time_zone(name: str) -> bool:
    """Whether this is the IANA name of a time zone."""
    return name in _time_zones()
