"""Where an understood turn is held against the dialogue and the bot file. Pure.

In two steps, as calls may lie between: `plan` says what is to be done and which
calls it needs; `conclude` makes the decision of the plan and their results.

The active intent and its slots are carried over: a message that only fills
slots ("What about Shanghai?") keeps the intent and changes the slot. A form
that was interrupted comes back to its question.
"""

from msgspec.structs import replace

from stream_worker.bot.bot import Bot
from stream_worker.conversation.state import ConversationState, Holder
from stream_worker.stages.carrying_out import go_on, start
from stream_worker.stages.decision import (
    Answer,
    CommandDraft,
    Decision,
    ModelAnswer,
    TextAnswer,
    conclude,
    conclude_without,
    taken,
)
from stream_worker.stages.fallback import clarify, fall_back, give_up
from stream_worker.stages.plan import CallDraft, Plan, Situation
from stream_worker.stages.questions import after_question
from stream_worker.stages.reading import Heard, UsedSlot, read, speaks
from stream_worker.stages.tracking import frame_for, referred_frame, remembered

__all__ = [
    "Answer",
    "CallDraft",
    "CommandDraft",
    "Decision",
    "Heard",
    "ModelAnswer",
    "Plan",
    "TextAnswer",
    "UsedSlot",
    "conclude",
    "conclude_without",
    "decide",
    "plan",
    "taken",
]

_AMBIGUOUS_WITHIN = 0.05
"""Two intents in scope whose scores lie closer than this are asked about."""


def decide(bot: Bot, state: ConversationState, heard: Heard) -> Decision:
    """Plan and decision in one, for a plan without calls."""
    return conclude(plan(bot, state, heard), {})


def plan(bot: Bot, state: ConversationState, heard: Heard) -> Plan:
    """What is to be done about a turn. Raises BadEvent where a template fails."""
    dialogue = remembered(bot, state, heard)
    if not speaks(heard.text) and dialogue.language:
        heard = replace(heard, language=dialogue.language)
    situation = Situation(bot, heard, read(bot, heard), replace(dialogue, language=heard.language))
    if heard.trigger is not None:
        found = start(situation, bot.triggers[heard.trigger.name], heard.trigger.arguments)
    else:
        found = _after_complaints(situation) or after_question(situation) or _after_message(situation)
    # An offer is accepted by the very next message or not at all; "the second one" may come later.
    return replace(found, dialogue=replace(found.dialogue, proposed=False), given_back=state.holder is Holder.HUMAN)


def _after_complaints(situation: Situation) -> Plan | None:
    """Who is in a bad mood for too long gets a human."""
    rules, complaints = situation.bot.handoff, situation.dialogue.complaints + 1
    if not situation.reading.complains or rules.complaints is None or complaints < rules.complaints:
        return None
    return give_up(situation, "complaints", replace(situation.dialogue, complaints=0))


def _after_message(situation: Situation) -> Plan:
    """The intent that rules this turn: the message's own, or one that it only fills slots of."""
    reading = situation.reading
    fills = bool(reading.names) and (reading.only_fills or reading.corrects)
    frame = frame_for(situation, reading.names) if fills else None
    if frame is None and reading.only_fills:
        frame = referred_frame(situation)
    if frame is not None:
        return go_on(situation, frame.intent, reading.found)
    if reading.intent is None or reading.only_fills:
        return fall_back(situation)
    return clarify(situation, _AMBIGUOUS_WITHIN) or go_on(situation, reading.intent, reading.found)
