"""What was not understood: the ladder from "which of two?" over "in other words, please" to a human. Pure."""

from msgspec.structs import replace

from stream_worker.conversation.dialogue import MAX_FRAMES, Dialogue, Frame, Question, QuestionKind
from stream_worker.stages.carrying_out import Chosen
from stream_worker.stages.plan import Plan, Situation
from stream_worker.stages.tracking import UNNAMED


def fall_back(situation: Situation) -> Plan:
    """The next step of the ladder: which of two was meant, in other words please, a human."""
    ladder, fallbacks = situation.bot.fallback, situation.dialogue.fallbacks + 1
    dialogue = replace(situation.dialogue, question=None, fallbacks=fallbacks)
    if ladder.handoff_after is not None and fallbacks >= ladder.handoff_after:
        return give_up(situation, "fallbacks", replace(dialogue, fallbacks=0))
    if fallbacks == 1 and (clarifying := clarify(situation, ladder.clarify_within)):
        return clarifying
    if ladder.rephrase is not None:
        return situation.says("rephrase", ladder.rephrase, dialogue)
    return Chosen(situation, None, ladder.rule, (), dialogue).carried_out()


def clarify(situation: Situation, within: float) -> Plan | None:
    """Asks which of the two likeliest intents is meant, where both have a name for it and are as likely."""
    phrase, reading, dialogue = situation.bot.fallback.clarify, situation.reading, situation.dialogue
    named = [(intent, score) for intent, score in reading.scores if label(situation, intent)]
    if phrase is None or len(named) < 2 or named[:2] != list(reading.scores[:2]):
        return None
    (first, high), (second, low) = named[:2]
    if high - low > within or second in reading.also:
        return None
    frames = tuple(frame for frame in dialogue.frames if frame.intent != UNNAMED)
    spoken = Frame(UNNAMED, {slot.name: slot.value for slot in reading.found})
    asking = replace(
        dialogue,
        frames=(*frames, spoken)[-MAX_FRAMES:],
        question=Question(kind=QuestionKind.INTENT, intent=first, options=(first, second)),
        fallbacks=dialogue.fallbacks + 1,
    )
    labels = {"first": label(situation, first), "second": label(situation, second)}
    text = situation.rendered(phrase, labels)
    return Plan(name="clarify", heard=situation.heard, dialogue=asking, values={}, text=text)


def give_up(situation: Situation, why: str, dialogue: Dialogue) -> Plan:
    """A human gets the conversation, where the bot has a text for it; else the fallback answers."""
    phrase = situation.bot.handoff.text
    if phrase is None:
        answered = Chosen(situation, None, situation.bot.fallback.rule, (), dialogue).carried_out()
        return replace(answered, name=why)
    return replace(situation.says(why, phrase, dialogue), handoff=True)


def label(situation: Situation, intent: str) -> str:
    """What a user calls an intent; empty where the bot file has no word for it."""
    rule = situation.bot.intents.get(intent)
    return situation.rendered(rule.label) if rule and rule.label else ""
