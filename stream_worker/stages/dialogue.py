"""What the bot does with an understood message. Pure.

The active intent and its slots are carried over: a message that only fills
slots ("What about Shanghai?") keeps the intent and changes the slot.
"""

from typing import assert_never

from msgspec import Struct

from stream_worker.bot.bot import Bot, Emit, IntentRule, ModelReply, TemplateReply
from stream_worker.conversation.state import Change, ConversationState, HeldBy, Holder, Understood
from stream_worker.orders import Encoded


class UsedSlot(Struct, frozen=True):
    """A slot as this turn uses it; `carried` ones come from an earlier turn."""

    name: str
    value: str
    carried: bool
    start: int | None = None
    end: int | None = None
    score: float | None = None


class CommandDraft(Struct, frozen=True):
    """A command to emit with the reply."""

    name: str
    arguments: dict[str, object]


class ModelAnswer(Struct, frozen=True):
    """The model is to answer; in JSON where `json_schema`, as JSON, describes it."""

    json_schema: str | None = None


class TextAnswer(Struct, frozen=True):
    """The bot file has the answer."""

    text: str


Answer = ModelAnswer | TextAnswer


class Decision(Struct, frozen=True, kw_only=True):
    """What is done, and the changes it means for the state."""

    name: str
    intent: str | None
    slots: tuple[UsedSlot, ...]
    answer: Answer
    commands: tuple[CommandDraft, ...]
    changes: tuple[Change, ...]
    hands_over: bool


def decide(bot: Bot, state: ConversationState, understanding: Encoded | None) -> Decision:
    """The bot's rule for this message; `understanding` is None for a bot without intents."""
    intent, rule = _intent(bot, state, understanding)
    slots = _slots(rule, state, understanding, carried=intent is not None and intent == state.intent)
    values = {slot.name: slot.value for slot in slots}
    # A rule that does not keep its intent leaves the dialogue where it was, slots included.
    understood = Understood(intent, values) if rule.keeps_intent else Understood(state.intent, state.slots)
    changes: tuple[Change, ...] = (understood,)
    if rule.handoff:
        changes += (HeldBy(Holder.HUMAN),)
    return Decision(
        name=_name(rule),
        intent=intent,
        slots=slots,
        answer=_answer(rule, values),
        commands=tuple([_command(emit, values) for emit in rule.emit]),
        changes=changes,
        hands_over=rule.handoff,
    )


def _intent(bot: Bot, state: ConversationState, understanding: Encoded | None) -> tuple[str | None, IntentRule]:
    """The intent that rules this turn. A message that only fills slots keeps the active one."""
    if understanding is None:
        return None, bot.fallback
    best = understanding.intents[0].name if understanding.intents else None
    fills_slots = bool(understanding.slots) and (best in bot.fills_slots or not understanding.in_scope)
    if fills_slots and state.intent in bot.intents:
        return state.intent, bot.intents[state.intent]
    if not understanding.in_scope or best not in bot.intents:
        return None, bot.fallback
    return best, bot.intents[best]


def _slots(
    rule: IntentRule, state: ConversationState, understanding: Encoded | None, *, carried: bool
) -> tuple[UsedSlot, ...]:
    if not rule.slots:
        return ()
    found = {
        slot.name: UsedSlot(slot.name, slot.value, False, slot.start, slot.end, slot.score)
        for slot in (understanding.slots if understanding else ())
        if slot.name in rule.slots
    }
    kept = {
        name: UsedSlot(name, value, True)
        for name, value in state.slots.items()
        if carried and name in rule.slots and name not in found
    }
    return (*found.values(), *kept.values())


def _command(emit: Emit, values: dict[str, str]) -> CommandDraft:
    return CommandDraft(emit.command, {key: template.render(values) for key, template in emit.arguments.items()})


def _answer(rule: IntentRule, values: dict[str, str]) -> Answer:
    match rule.reply:
        case ModelReply(json_schema=json_schema):
            return ModelAnswer(json_schema)
        case TemplateReply(template=template):
            return TextAnswer(template.render(values))
        case _:
            assert_never(rule.reply)


def _name(rule: IntentRule) -> str:
    """The decision in words, for the analysis."""
    words = ["model" if isinstance(rule.reply, ModelReply) else "template"]
    words += [f"emit:{emit.command}" for emit in rule.emit]
    words += ["handoff"] if rule.handoff else []
    return "+".join(words)
