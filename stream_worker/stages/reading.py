"""What a turn's messages say, before it is held against what was said earlier. Pure."""

import re

from msgspec import Struct

from stream_worker.bot.bot import Bot, IntentRule, SlotKind
from stream_worker.contracts.event import Trigger
from stream_worker.conversation.dialogue import Dialogue
from stream_worker.orders import Encoded
from stream_worker.stages.words import Ear, ear_for

_NEGATIVE = "negative"


class Heard(Struct, frozen=True, kw_only=True):
    """A turn as the dialogue is told of it; `understanding` is None for a bot without intents, and for a trigger."""

    text: str = ""
    language: str = ""
    understanding: Encoded | None = None
    sender_id: str = ""
    now_ms: int = 0
    trigger: Trigger | None = None


class UsedSlot(Struct, frozen=True):
    """A slot as this turn uses it; `carried` ones come from an earlier turn."""

    name: str
    value: str
    carried: bool
    start: int | None = None
    end: int | None = None
    score: float | None = None


class Reading(Struct, frozen=True, kw_only=True):
    """`found` are values that are meant, `denied` those that are not. `intent` is one that the bot has a rule for."""

    text: str
    language: str
    found: tuple[UsedSlot, ...]
    denied: tuple[tuple[str, str], ...]
    intent: str | None
    in_scope: bool
    scores: tuple[tuple[str, float], ...]
    only_fills: bool
    """Whether its intent says nothing but values for the active one."""
    corrects: bool
    complains: bool
    ear: Ear

    @property
    def names(self) -> frozenset[str]:
        return frozenset([slot.name for slot in self.found] + [name for name, _ in self.denied])


_SPEAKS = re.compile(r"[^\W\d_]{3,}|[^\x00-\u02ff\W\d_]")
"""A word, or a letter of another script than the Latin one."""


def speaks(text: str) -> bool:
    """Whether a text says what language it is in."""
    return _SPEAKS.search(text) is not None


def read(bot: Bot, heard: Heard) -> Reading:
    ear, text, understanding = ear_for(bot.languages), heard.text, heard.understanding
    spans = understanding.slots if understanding else ()
    denied = [span for span in spans if ear.denies(text, span.start)]
    best = understanding.intents[0].name if understanding and understanding.intents else None
    in_scope = understanding is not None and understanding.in_scope
    mood = understanding.sentiment if understanding else None
    return Reading(
        text=text,
        language=heard.language,
        found=tuple(
            UsedSlot(span.name, span.value, False, span.start, span.end, span.score)
            for span in spans
            if span not in denied
        ),
        denied=tuple((span.name, span.value) for span in denied),
        intent=best if in_scope and best in bot.intents else None,
        in_scope=in_scope,
        scores=tuple((each.name, each.score) for each in understanding.intents) if understanding else (),
        only_fills=best in bot.fills_slots or not in_scope,
        corrects=ear.corrects(text),
        complains=mood is not None and mood.label == _NEGATIVE and mood.score >= bot.handoff.complaint_score,
        ear=ear,
    )


def referred(bot: Bot, rule: IntentRule, dialogue: Dialogue, reading: Reading) -> dict[str, str]:
    """Values of the rule's slots that the message speaks of without naming them: "there", "the second one"."""
    slot, values = dialogue.offered
    found: dict[str, str] = {}
    if slot in rule.slots and (place := reading.ear.place_of(reading.text, len(values))) is not None:
        found[slot] = values[place]
    kinds = reading.ear.refers_to(reading.text)
    for name in rule.slots if kinds else ():
        kind = bot.slot(name).kind
        if name not in reading.names and name not in found and kind in kinds:
            value = last_value(bot, dialogue, name, kind)
            if value is not None:
                found[name] = value
    return found


def last_value(bot: Bot, dialogue: Dialogue, name: str, kind: SlotKind) -> str | None:
    """The last value of this slot, else of another one of its kind."""
    same = next((value for recent, value in dialogue.recent if recent == name), None)
    if same is not None or kind is SlotKind.THING:
        return same
    return next((value for recent, value in dialogue.recent if bot.slot(recent).kind is kind), None)
