"""What a dialogue remembers: the intents it is about, their slots as carried over, changed and referred to. Pure."""

from msgspec.structs import replace

from stream_worker.bot.bot import Bot, IntentRule
from stream_worker.conversation.dialogue import MAX_FRAMES, MAX_RECENT, NEW, Dialogue, Frame
from stream_worker.conversation.state import ConversationState
from stream_worker.stages import forms
from stream_worker.stages.plan import Situation
from stream_worker.stages.reading import Heard, UsedSlot, chosen, referred, same_value

UNNAMED = "?"
"""The frame of a message whose intent is being asked for."""


def remembered(bot: Bot, state: ConversationState, heard: Heard) -> Dialogue:
    """Where the dialogue stands with the sender; anew, if nothing was heard of it for long."""
    dialogue = state.dialogue(heard.sender_id)
    if dialogue.at and heard.now_ms - dialogue.at > bot.forget_after_s * 1000:
        dialogue = NEW
    return replace(dialogue, at=heard.now_ms)


def carried_over(
    situation: Situation, intent: str, rule: IntentRule, found: tuple[UsedSlot, ...]
) -> tuple[UsedSlot, ...]:
    """The slots of an intent: those that were `found`, then the earlier ones that still hold."""
    bot, dialogue, denied = situation.bot, situation.dialogue, situation.reading.denied
    frame = dialogue.frame(intent)
    kept = dict(frame.slots) if frame else {}
    for name in rule.slots:
        if name not in kept and bot.slot(name).shared:
            shared = next((value for recent, value in dialogue.recent if recent == name), None)
            kept |= {name: shared} if shared is not None else {}
    kept |= referred(bot, rule, dialogue, situation.reading)
    kept = {
        name: value
        for name, value in kept.items()
        if name in rule.slots and not any(name == other and same_value(value, wrong) for other, wrong in denied)
    }
    new = {slot.name: slot for slot in found if slot.name in rule.slots}
    return (*new.values(), *(UsedSlot(name, value, True) for name, value in kept.items() if name not in new))


def with_frame(situation: Situation, intent: str | None, rule: IntentRule, slots: tuple[UsedSlot, ...]) -> Dialogue:
    """The dialogue with the intent's frame on top, where the next message may build on it."""
    dialogue = replace(situation.dialogue, question=None, fallbacks=0)
    values = {slot.name: slot.value for slot in slots}
    complaints = dialogue.complaints + 1 if situation.reading.complains else 0
    new = tuple((slot.name, slot.value) for slot in slots)
    recent = (*new, *(pair for pair in dialogue.recent if pair not in new))[:MAX_RECENT]
    frames = tuple(frame for frame in dialogue.frames if frame.intent not in (intent, UNNAMED))
    unfinished = forms.missing(situation.bot, rule, values) is not None
    frames = _with_the_rest(situation, frames, rule)
    if intent is not None and (rule.keeps_intent or unfinished):
        frames = (*frames, Frame(intent, values))[-MAX_FRAMES:]
    return replace(dialogue, frames=frames, recent=recent, complaints=complaints)


def _with_the_rest(situation: Situation, frames: tuple[Frame, ...], rule: IntentRule) -> tuple[Frame, ...]:
    """The other frames, with the values of the message that the chosen rule has no slot for."""
    bot, reading = situation.bot, situation.reading
    rest = {slot.name: slot for slot in reading.found if slot.name not in rule.slots}
    taken = chosen(situation.dialogue, reading)
    rest |= {name: UsedSlot(name, taken[name], True) for name in taken.keys() - rest.keys() if name not in rule.slots}
    brought: list[Frame] = []
    for frame in reversed(frames):
        names = bot.intents[frame.intent].slots if frame.intent in bot.intents else ()
        own = {name: rest.pop(name).value for name in names if name in rest}
        brought.append(Frame(frame.intent, {**frame.slots, **own}) if own else frame)
    for name in reading.also:
        also = bot.intents[name]
        if also is not rule and all(frame.intent != name for frame in frames):
            found = tuple(rest.pop(slot) for slot in also.slots if slot in rest)
            slots = carried_over(situation, name, also, found)
            brought.insert(0, Frame(name, {slot.name: slot.value for slot in slots}))
    return tuple(reversed(brought))


def without_frame(dialogue: Dialogue, intent: str) -> Dialogue:
    """The dialogue as if nobody had spoken of the intent; nothing is asked any more."""
    frames = tuple(frame for frame in dialogue.frames if frame.intent != intent)
    return replace(dialogue, frames=frames, question=None)


def frame_for(situation: Situation, names: frozenset[str]) -> Frame | None:
    """The frame nearest to the top that has one of these slots."""
    for frame in reversed(situation.dialogue.frames):
        rule = situation.bot.intents.get(frame.intent)
        if rule is not None and not names.isdisjoint(rule.slots):
            return frame
    return None


def referred_frame(situation: Situation) -> Frame | None:
    """The frame that "the second one", or an agreement to what was offered, chooses for."""
    dialogue, reading = situation.dialogue, situation.reading
    taken = chosen(dialogue, reading)
    for frame in reversed(dialogue.frames):
        rule = situation.bot.intents.get(frame.intent)
        if rule and not taken.keys().isdisjoint(rule.slots):
            return frame
    return None
