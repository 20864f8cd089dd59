"""Reads the answer to a question, and holds values against what a form allows. Pure."""

import re

from msgspec import Struct

from stream_worker.bot.bot import Ask, Bot, IntentRule, SlotKind
from stream_worker.stages.reading import Reading

_MOST_ANSWER_CHARS = 200
_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)*")


class Filled(Struct, frozen=True):
    value: str


class Useless(Struct, frozen=True):
    """Meant as an answer, but not one that is allowed."""


Answer = Filled | Useless | None
"""None: it does not answer the question."""


def answer(bot: Bot, ask: Ask, intent: str, reading: Reading) -> Answer:
    """What a message says to the question `ask` of a form of `intent`."""
    spoken = _spoken(bot, ask, reading)
    if spoken is None and (_goes_elsewhere(ask, intent, reading) or (reading.names and not ask.from_text)):
        return None
    if spoken is None:
        spoken = reading.text.strip() if ask.from_text else ""
    value = allowed(bot, ask, spoken)
    if value is not None:
        return Filled(value)
    return Useless() if spoken or reading.only_fills or reading.intent == intent else None


def _spoken(bot: Bot, ask: Ask, reading: Reading) -> str | None:
    """The value as the message has it: a slot that was found, or what the kind of question makes of the text."""
    text = reading.text
    if ask.choices:
        place = reading.ear.place_of(text, len(ask.choices))
        named = [choice for choice in ask.choices if choice.casefold() in text.casefold()]
        # The longest one, as "card" is in "credit card", too.
        return ask.choices[place] if place is not None and not named else max(named, key=len, default=None)
    kind = bot.slot(ask.slot).kind
    if kind is SlotKind.YES_NO:
        agreed = reading.ear.agreed(text)
        if agreed is False and reading.found:
            # "No, 300" to "250, right?" is a new value, not the end of it.
            return None
        return None if agreed is None else "yes" if agreed else "no"
    found = next((slot.value for slot in reading.found if slot.name == ask.slot), None)
    if found is None and kind is SlotKind.NUMBER and (number := _NUMBER.search(text)):
        return number[0]
    return found


def _goes_elsewhere(ask: Ask, intent: str, reading: Reading) -> bool:
    """Whether a message speaks of something else, so that it is no answer."""
    other = reading.intent is not None and reading.intent != intent and not reading.only_fills
    # Free text is easily taken for some intent; one that is sure of itself wins.
    sure = bool(reading.scores) and reading.scores[0][1] >= 0.6
    return other and (sure or not ask.from_text)


def allowed(bot: Bot, ask: Ask, value: str) -> str | None:
    """The value as it is kept; None where the form does not allow it."""
    value = value.strip()
    if not value or len(value) > _MOST_ANSWER_CHARS:
        return None
    if ask.choices:
        return next((choice for choice in ask.choices if choice.casefold() == value.casefold()), None)
    if ask.pattern and not ask.pattern.fullmatch(value):
        return None
    if bot.slot(ask.slot).kind is SlotKind.NUMBER or ask.least is not None or ask.most is not None:
        return _number(ask, value)
    return value


def _number(ask: Ask, value: str) -> str | None:
    found = _NUMBER.search(value)
    if found is None:
        return None
    number = float(found[0].replace(",", ""))
    if (ask.least is not None and number < ask.least) or (ask.most is not None and number > ask.most):
        return None
    return str(int(number)) if number.is_integer() else str(number)


def missing(bot: Bot, rule: IntentRule, slots: dict[str, str]) -> Ask | None:
    """The first question of a form that has no allowed value yet."""
    return next((ask for ask in rule.ask if allowed(bot, ask, slots.get(ask.slot, "")) is None), None)
