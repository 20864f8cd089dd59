"""What a message says to the question that the bot has asked: the value of a slot, or which intent was meant. Pure."""

from msgspec.structs import replace

from stream_worker.bot.bot import Ask
from stream_worker.conversation.dialogue import Question, QuestionKind
from stream_worker.stages import forms
from stream_worker.stages.carrying_out import go_on
from stream_worker.stages.fallback import give_up, label
from stream_worker.stages.plan import Plan, Situation
from stream_worker.stages.reading import UsedSlot
from stream_worker.stages.tracking import UNNAMED, without_frame

_CANCELLED = {"en": "All right, never mind.", "zh": "好的，那就算了。"}


def after_question(situation: Situation) -> Plan | None:
    """The plan for the answer to what was asked; None where nothing was, or the message is no answer."""
    question, reading = situation.dialogue.question, situation.reading
    if question is None:
        return None
    if question.kind is QuestionKind.INTENT:
        return _after_choice(situation, question)
    if reading.ear.cancels(reading.text):
        return _cancel(situation, question)
    rule, frame = situation.bot.intents.get(question.intent), situation.dialogue.frame(question.intent)
    ask = next((ask for ask in rule.ask if ask.slot == question.slot), None) if rule else None
    if rule is None or frame is None or ask is None:
        return None
    match forms.answer(situation.bot, ask, question.intent, reading):
        case forms.Filled(value=value):
            filled = UsedSlot(ask.slot, value, False)
            others = (slot for slot in reading.found if slot.name != ask.slot)
            return go_on(situation, question.intent, (filled, *others))
        case forms.Useless():
            return _ask_again(situation, question, ask)
        case _:
            return None


def _ask_again(situation: Situation, question: Question, ask: Ask) -> Plan:
    dialogue = situation.dialogue
    if question.tries >= ask.tries:
        return give_up(situation, "form_failed", without_frame(dialogue, question.intent))
    frame = dialogue.frame(question.intent)
    values = dict(frame.slots) if frame else {}
    return Plan(
        name="ask_again",
        heard=situation.heard,
        dialogue=replace(dialogue, question=replace(question, tries=question.tries + 1)),
        intent=question.intent,
        slots=tuple(UsedSlot(name, value, True) for name, value in values.items()),
        values=values,
        text=situation.rendered(ask.invalid or ask.prompt, values),
    )


def _cancel(situation: Situation, question: Question) -> Plan:
    bot, dialogue = situation.bot, without_frame(situation.dialogue, question.intent)
    if bot.cancelled is not None:
        return situation.says("cancelled", bot.cancelled, dialogue)
    plain = _CANCELLED.get(situation.heard.language, _CANCELLED["en"])
    return Plan(name="cancelled", heard=situation.heard, dialogue=dialogue, values={}, text=plain)


def _after_choice(situation: Situation, question: Question) -> Plan | None:
    """Which of two intents was meant; the slots of the message that was asked about are its."""
    reading = situation.reading
    place = reading.ear.place_of(reading.text, len(question.options))
    chosen = question.options[place] if place is not None else _labelled(situation, question.options)
    if chosen is None and reading.intent in question.options:
        chosen = reading.intent
    if chosen is None and reading.ear.agreed(reading.text):
        chosen = question.options[0]
    if chosen is None or chosen not in situation.bot.intents:
        return None
    frame = situation.dialogue.frame(UNNAMED)
    asked_about = tuple(UsedSlot(name, value, True) for name, value in frame.slots.items()) if frame else ()
    return go_on(situation, chosen, (*asked_about, *reading.found))


def _labelled(situation: Situation, intents: tuple[str, ...]) -> str | None:
    """The one whose label the text names: as a whole, or by a word that the others do not have."""
    text = situation.reading.text.casefold().strip(" .!?。！？")
    labels = {intent: label(situation, intent).casefold() for intent in intents}
    for intent, named in labels.items():
        others = {word for other, words in labels.items() if other != intent for word in words.split()}
        own = set(named.split()) - others
        if named in text or (len(text) > 1 and text in named) or not own.isdisjoint(text.split()):
            return intent
    return None
