"""What a turn's messages say, before it is held against what was said earlier. Pure."""

import re

from msgspec import Struct

from stream_worker.bot.bot import Bot, IntentRule, SlotKind
from stream_worker.contracts.event import Trigger
from stream_worker.conversation.dialogue import Dialogue
from stream_worker.orders import Encoded, SlotSpan
from stream_worker.stages.words import Ear, ear_for

_NEGATIVE = "negative"
ALSO_MEANT = 0.5
"""Where messages may have several intents, each with at least this score is one; of others only the best has it."""


class Heard(Struct, frozen=True, kw_only=True):
    """A turn as the dialogue is told of it; `understanding` is None for a bot without intents, and for a trigger."""

    text: str = ""
    language: str = ""
    understanding: Encoded | None = None
    entities: tuple[SlotSpan, ...] = ()
    """What was recognised without examples."""
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
    also: tuple[str, ...]
    """Further intents of the message, where it asks for several things at once."""
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
    spans = _spans(bot, heard, ear)
    denied = [span for span in spans if ear.denies(text, span.start)]
    best = understanding.intents[0].name if understanding and understanding.intents else None
    in_scope = understanding is not None and understanding.in_scope
    several = understanding.intents[1:] if understanding and in_scope else ()
    mood = understanding.sentiment if understanding else None
    return Reading(
        text=text,
        language=heard.language,
        found=tuple(
            UsedSlot(bot.slot_of(span.name, span.role), span.value, False, span.start, span.end, span.score)
            for span in spans
            if span not in denied
        ),
        denied=tuple((bot.slot_of(span.name, span.role), span.value) for span in denied),
        intent=best if in_scope and best in bot.intents else None,
        in_scope=in_scope,
        scores=tuple((each.name, each.score) for each in understanding.intents) if understanding else (),
        also=tuple(each.name for each in several if each.score >= ALSO_MEANT and each.name in bot.intents),
        only_fills=best in bot.fills_slots or not in_scope,
        corrects=ear.corrects(text),
        complains=mood is not None and mood.label == _NEGATIVE and mood.score >= bot.handoff.complaint_score,
        ear=ear,
    )


def _spans(bot: Bot, heard: Heard, ear: Ear) -> list[SlotSpan]:
    """In order of the text; what was recognised, in its normal form, takes the place of the same slot's words.

    What was learnt to be a value and is a word for one ("there"), or a part of it, is none.
    """
    references = ear.references(heard.text)
    learnt = [
        span
        for span in (heard.understanding.slots if heard.understanding else ())
        if not any(
            span.start < one.end
            and one.start < span.end
            and bot.slot_of(one.name, None) == bot.slot_of(span.name, span.role)
            for one in heard.entities
        )
        and not any(
            start <= span.start < span.end <= end and bot.slot(bot.slot_of(span.name, span.role)).kind is kind
            for kind, start, end in references
        )
    ]
    return sorted([*learnt, *heard.entities], key=lambda span: span.start)


def referred(bot: Bot, rule: IntentRule, dialogue: Dialogue, reading: Reading) -> dict[str, str]:
    """Values of the rule's slots that the message speaks of without naming them: "there", "the second one", "yes"."""
    found = {name: value for name, value in chosen(dialogue, reading).items() if name in rule.slots}
    open_slots = [name for name in rule.slots if name not in reading.names and name not in found]
    for name in open_slots:
        if reading.ear.same(reading.text, name) and (value := _last_of(dialogue, name)) is not None:
            found[name] = value
    for kind in reading.ear.refers_to(reading.text):
        name, value = _meant_by(kind, bot, rule, dialogue, [name for name in open_slots if name not in found])
        if value is not None:
            found[name] = value
    return found


def _meant_by(
    kind: SlotKind, bot: Bot, rule: IntentRule, dialogue: Dialogue, names: list[str]
) -> tuple[str, str | None]:
    """The one slot that a word like "there" is for, and its value; None where it could be for several, or nothing."""
    known = next((frame.slots for frame in dialogue.frames if bot.intents.get(frame.intent) is rule), {})
    of_kind = [name for name in names if bot.slot(name).kind is kind]
    unknown = [name for name in of_kind if name not in known]
    candidates = unknown if len(unknown) == 1 else of_kind
    if len(candidates) != 1:
        return "", None
    (name,) = candidates
    if kind is SlotKind.THING:
        return name, _last_of(dialogue, name)
    return name, next((value for recent, value in dialogue.recent if bot.slot(recent).kind is kind), None)


def _last_of(dialogue: Dialogue, name: str) -> str | None:
    return next((value for recent, value in dialogue.recent if recent == name), None)


def chosen(dialogue: Dialogue, reading: Reading) -> dict[str, str]:
    """Of what was offered, the values that the message takes: by name, by place, or the only ones by agreeing."""
    offers, ear, text = dialogue.offers, reading.ear, reading.text
    if not offers:
        return {}
    taken = {slot: named for slot, values in offers.items() if (named := _named(values, reading)) is not None}
    most = max(map(len, offers.values()))
    place = ear.place_of(text, most) if most > 1 else None
    if place is not None:
        return taken | {slot: values[place] for slot, values in offers.items() if place < len(values)}
    if ear.accepts(text, at_once=dialogue.proposed):
        return {slot: values[0] for slot, values in offers.items() if len(values) == 1} | taken
    return taken


def _named(values: tuple[str, ...], reading: Reading) -> str | None:
    """The longest of the values that stands in the text and is meant; one of a letter may stand there by chance."""
    text = reading.text.casefold()
    places = ((value, _place(value.casefold(), text)) for value in values if len(value) > 1)
    meant = (value for value, place in places if place is not None and not reading.ear.denies(text, place))
    return max(meant, key=len, default=None)


def _place(value: str, text: str) -> int | None:
    """Where the value begins; a Latin word does not stand within another one."""
    edge = r"(?<![A-Za-z0-9])", r"(?![A-Za-z0-9])"
    found = re.search(re.escape(value).join(edge if value.isascii() else ("", "")), text)
    return found.start() if found else None


def same_value(one: str, other: str) -> bool:
    """Whether both are one value, said with more or fewer words: "Friday" and "on Friday"."""
    one, other = one.casefold(), other.casefold()
    return one == other or (min(len(one), len(other)) > 1 and (_stands_in(one, other) or _stands_in(other, one)))


def _stands_in(value: str, text: str) -> bool:
    return _place(value, text) is not None
