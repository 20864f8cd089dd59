"""Rasa's marks in an example's text: `[Paris](city)`, `[Paris](city:fr)`, `[Paris]{"entity": "city", ...}`. Pure.

A mark ends up as a span of the text without marks. What looks like a mark and is none is refused.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from stream_worker.training.examples import MarkedSlot

_MARK = re.compile(
    r"\[(?P<text>[^\[\]]+)\]"
    r"(?:\((?P<name>[^()]+)\)|(?P<fields>\{[^{}]*\})|\[(?P<several>\{[^{}]*\}(?:\s*,\s*\{[^{}]*\})*)\])"
)
_NAME = re.compile(r"[^\s:()\[\]{}]+")
_FIELDS = {"entity", "value", "role", "group"}

Refuse = Callable[[str], NoReturn]
"""Raises the error of the place where the text stands."""


@dataclass(frozen=True, slots=True)
class Unmarked:
    """The plain text, its slots, and what marked texts stand for: by their lower case."""

    text: str
    slots: tuple[MarkedSlot, ...]
    synonyms: dict[str, str]


def unmark(marked: str, refuse: Refuse) -> Unmarked:
    pieces: list[str] = []
    slots: list[MarkedSlot] = []
    synonyms: dict[str, str] = {}
    length = last = 0
    for found in _MARK.finditer(marked):
        before, inside = marked[last : found.start()], found["text"]
        start = length + len(before)
        length = start + len(inside)
        # Of several entities of one text the first is learnt: a token has one label.
        fields = _fields(found, refuse)
        slots.append(MarkedSlot(fields["entity"], start, length, fields.get("role"), fields.get("group")))
        if "value" in fields:
            synonyms[inside.lower()] = fields["value"]
        pieces += [before, inside]
        last = found.end()
    text = "".join([*pieces, marked[last:]])
    if "](" in text or "]{" in text:
        refuse('a mark is `[text](slot)` or `[text]{"entity": "slot"}`')
    return Unmarked(text, tuple(slots), synonyms)


def _fields(found: re.Match[str], refuse: Refuse) -> dict[str, str]:
    """Entity, and value, role and group where they are given."""
    if found["name"] is not None:
        name, _, value = found["name"].partition(":")
        fields = {"entity": name} | ({"value": value} if value else {})
    else:
        fields = _json_fields(found["fields"] or f"{found['several']}".split("}")[0] + "}", refuse)
    if not _NAME.fullmatch(fields.get("entity", "")):
        refuse("the name of a slot has no space, colon or bracket")
    return fields


def _json_fields(written: str, refuse: Refuse) -> dict[str, str]:
    try:
        given: dict[str, Any] = json.loads(written)
    except ValueError as error:
        refuse(f"a mark's fields are JSON: {error}")
    if unknown := set(given) - _FIELDS:
        refuse(f"a mark has `entity`, `value`, `role` and `group`, not {', '.join(sorted(unknown))}")
    return {name: str(value) for name, value in given.items() if value is not None}
