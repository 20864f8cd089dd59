"""How numbers, times and texts are written, the latter masked for who may not see them."""

import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import orjson
from jinja2 import pass_context
from jinja2.runtime import Context

from stream_worker.observability.redaction import redacted

#: Of this process, so that nobody finds out who is who by trying ids.
_SALT = secrets.token_bytes(16)

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3_600, 86_400


def seconds(value: float | None) -> str:
    """Three figures, with the unit that fits."""
    if value is None:
        return "–"
    if value < 0.0995:
        return f"{value * 1_000:.0f} ms" if value >= 0.001 or value == 0 else f"{value * 1_000:.1f} ms"
    if value < 10:
        return f"{value:.2f} s"
    return f"{value:.0f} s" if value < 2 * _MINUTE_S else duration(value)


def duration(value: float | None) -> str:
    """Whole units, the two largest at most."""
    if value is None:
        return "–"
    whole = int(value)
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min"
    if whole < _DAY_S:
        return _two(whole, _HOUR_S, "h", _MINUTE_S, "min")
    return _two(whole, _DAY_S, "d", _HOUR_S, "h")


def _two(whole: int, large_s: int, large: str, small_s: int, small: str) -> str:
    rest = whole % large_s // small_s
    return f"{whole // large_s} {large}" + (f" {rest} {small}" if rest else "")


def ago(at_ms: int | None, now_ms: int) -> str:
    return "–" if at_ms is None else duration(max(0, now_ms - at_ms) / 1_000)


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def count(value: float | None) -> str:
    if value is None:
        return "–"
    if value < 10_000:
        return f"{value:,.0f}".replace(",", "\u202f")
    return f"{value / 1_000:.1f} k" if value < 1_000_000 else f"{value / 1_000_000:.1f} M"


def clock(at_ms: int) -> str:
    """UTC; a script shows it in the reader's own zone."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%H:%M:%S")


def iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds")


def words(value: str) -> str:
    """A name of ours as words."""
    return value.replace("_", " ")


@pass_context
def personal(context: Context, text: str) -> str:
    """What a person wrote or is: masked for who may not see it."""
    return redacted(text) if context["masks"] else text


@pass_context
def who(context: Context, sender: str) -> str:
    """A sender's id; masked, a name that is the same for the same id while the console runs."""
    if not context["masks"]:
        return sender
    return f"person {blake2b(sender.encode(), key=_SALT, digest_size=2).hexdigest()}"


def json(value: object) -> str:
    return orjson.dumps(value).decode()


FILTERS: Mapping[str, Callable[..., Any]] = {
    "seconds": seconds,
    "duration": duration,
    "ago": ago,
    "percent": percent,
    "count": count,
    "clock": clock,
    "iso": iso,
    "words": words,
    "personal": personal,
    "who": who,
    "json": json,
}
