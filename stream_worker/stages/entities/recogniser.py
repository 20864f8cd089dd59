"""Finds a bot's entities in a text. Pure; values are in one normal form a kind, so that equal things are equal.

What always holds: spans are code points of the text as it came and do not overlap, the answer depends on nothing but
text and context, and it takes a bounded time for any text: only so many characters are looked at, and the bot's
expressions are RE2's, which take time in the length of the text only.
"""

from collections.abc import Callable, Mapping

from stream_worker.bot.entities import Entity, EntityKind, compiled
from stream_worker.orders import SlotSpan
from stream_worker.stages.entities.contacts import emails, phones, urls
from stream_worker.stages.entities.context import Context
from stream_worker.stages.entities.dates import dates
from stream_worker.stages.entities.durations import durations
from stream_worker.stages.entities.found import Found
from stream_worker.stages.entities.money import money
from stream_worker.stages.entities.numbers import numbers

MOST_CHARACTERS = 2_000
"""Of longer texts the first so many are looked at."""

Recognise = Callable[[str, Context], list[Found]]

_BY_KIND: Mapping[EntityKind, Recognise] = {
    EntityKind.URL: urls,
    EntityKind.EMAIL: emails,
    EntityKind.MONEY: money,
    EntityKind.PHONE: phones,
    EntityKind.DATE: dates,
    EntityKind.DURATION: durations,
    EntityKind.NUMBER: numbers,
}
"""In this order: a number in a date is a part of the date."""


def recognise(entities: tuple[Entity, ...], text: str, context: Context) -> tuple[SlotSpan, ...]:
    """In order of the text. The bot's own expressions come first, then the kinds as they stand above."""
    # A lone surrogate has no UTF-8, which some libraries need; `?` takes its place, so that spans stay right.
    seen = text[:MOST_CHARACTERS].encode("utf-8", "replace").decode()
    found: list[SlotSpan] = []
    for entity in sorted(entities, key=_rank):
        for one in _find(entity, seen, context):
            if all(one.end <= other.start or one.start >= other.end for other in found):
                found.append(SlotSpan(entity.name, one.value, one.start, one.end, 1.0))
    return tuple(sorted(found, key=lambda span: span.start))


def _rank(entity: Entity) -> int:
    return _ORDER.get(entity.what, -1)


_ORDER: Mapping[str, int] = {kind: number for number, kind in enumerate(_BY_KIND)}


def _find(entity: Entity, text: str, context: Context) -> list[Found]:
    if isinstance(entity.what, EntityKind):
        return _BY_KIND[entity.what](text, context)
    pattern = compiled(entity.what)
    group = 1 if pattern.groups else 0
    return [
        Found(match.start(group), match.end(group), match[group]) for match in pattern.finditer(text) if match[group]
    ]
