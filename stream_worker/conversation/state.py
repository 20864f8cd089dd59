"""What is kept of a conversation: a frozen, versioned value. Pure.

A turn never writes state. It returns *changes*, and at settle they are
applied to the newest settled value, giving a new one: so nothing that settled
meanwhile is overwritten. `history` is the truth, `prompt` a cache of it in
token ids.
"""

from collections.abc import Iterable
from enum import StrEnum

import msgspec
import orjson
from msgspec import Struct, field

from stream_worker.conversation.deduplication import remember
from stream_worker.errors import Code, Fatal, StateUnreadable
from stream_worker.tokens import StoredPrompt

STATE_FORMAT = 1


class Speaker(StrEnum):
    USER = "user"
    BOT = "bot"
    AGENT = "agent"


class Holder(StrEnum):
    """Who has the conversation."""

    BOT = "bot"
    HUMAN = "human"


class Line(Struct, frozen=True):
    """One thing said. `event_id` is the event's, or the reply's id for the bot's own lines."""

    speaker: Speaker
    text: str
    event_id: str
    at: int


class ConversationState(Struct, frozen=True, kw_only=True):
    format: int = STATE_FORMAT
    history: tuple[Line, ...] = ()
    intent: str | None = None
    slots: dict[str, str] = field(default_factory=dict)
    holder: Holder = Holder.BOT
    turns: int = 0
    prompt: StoredPrompt | None = None
    remembered: str = ""

    def dump(self) -> bytes:
        return msgspec.json.encode(self)


EMPTY = ConversationState()


# Changes: what a turn or an event does to the state.


class Said(Struct, frozen=True):
    """Lines are added to the history."""

    lines: tuple[Line, ...]


class Understood(Struct, frozen=True):
    """The dialogue's intent and slots after a turn."""

    intent: str | None
    slots: dict[str, str]


class Prompted(Struct, frozen=True):
    """The ids that stand for the history up to now. `dropped` lines were cut from its front to fit the model."""

    prompt: StoredPrompt | None
    dropped: int


class HeldBy(Struct, frozen=True):
    holder: Holder


class Remembered(Struct, frozen=True):
    """Event digests that were settled."""

    digests: tuple[str, ...]


class Rewritten(Struct, frozen=True):
    """An older line has a new text, or is gone (None)."""

    event_id: str
    text: str | None


class Ended(Struct, frozen=True):
    """The dialogue is over: intent, slots and holder start anew; the history stays."""


class Erased(Struct, frozen=True):
    """Nothing stays but the digests, so that a repeated event does not bring the text back."""


Change = Said | Understood | Prompted | HeldBy | Remembered | Rewritten | Ended | Erased


class Bounds(Struct, frozen=True, kw_only=True):
    """How much may be kept."""

    max_messages: int | None
    """What the bot that answers keeps; None where an event is nobody's turn, which bounds no history."""
    dedup_window: int


def apply(state: ConversationState, changes: Iterable[Change], bounds: Bounds) -> ConversationState:
    """The state after `changes`, in order, within `bounds`. One new value, however many changes."""
    history, intent, slots, holder = state.history, state.intent, state.slots, state.holder
    turns, prompt, remembered = state.turns, state.prompt, state.remembered
    for change in changes:
        match change:
            case Said(lines):
                history += lines
            case Understood(intent, slots):
                turns += 1
            case Prompted(prompt, dropped):
                history = history[dropped:]
            case HeldBy(holder):
                pass
            case Remembered(digests):
                remembered = remember(remembered, digests, bounds.dedup_window)
            case Rewritten(event_id, text):
                rewritten = _rewrite(history, event_id, text)
                if rewritten != history:
                    history, prompt = rewritten, None
            case Ended():
                intent, slots, holder = None, {}, Holder.BOT
            case Erased():
                history, intent, slots, holder, turns, prompt = (), None, {}, Holder.BOT, 0, None
    if bounds.max_messages is not None and len(history) > bounds.max_messages:
        # In large steps: each cut voids the ids that the engine has kept of the conversation.
        history, prompt = _cut(history, len(history) - bounds.max_messages // 2), None
    return ConversationState(
        history=history,
        intent=intent,
        slots=slots,
        holder=holder,
        turns=turns,
        prompt=prompt,
        remembered=remembered,
    )


def _cut(history: tuple[Line, ...], count: int) -> tuple[Line, ...]:
    """The history without its first `count` lines, nor replies whose question was among them."""
    while count < len(history) and history[count].speaker is Speaker.BOT:
        count += 1
    return history[count:]


def _rewrite(history: tuple[Line, ...], event_id: str, text: str | None) -> tuple[Line, ...]:
    if text is None:
        return tuple(line for line in history if line.event_id != event_id)
    return tuple(
        Line(line.speaker, text, line.event_id, line.at) if line.event_id == event_id else line for line in history
    )


def fit(state: ConversationState, max_bytes: int) -> ConversationState:
    """The state cut to `max_bytes` encoded: first the ids, then the oldest half of the history, again and again."""
    while len(state.dump()) > max_bytes:
        if state.prompt is not None:
            history = state.history
        elif state.history:
            history = _cut(state.history, (len(state.history) + 1) // 2)
        else:
            return ConversationState(holder=state.holder, turns=state.turns, remembered=state.remembered)
        state = ConversationState(
            history=history,
            intent=state.intent,
            slots=state.slots,
            holder=state.holder,
            turns=state.turns,
            remembered=state.remembered,
        )
    return state


def load_state(raw: bytes) -> ConversationState:
    """Raises `Fatal` for a newer format, `StateUnreadable` for anything unreadable."""
    try:
        fields = orjson.loads(raw)
        if fields["format"] > STATE_FORMAT:
            raise Fatal(
                Code.STATE_NEWER,
                f"a conversation's state has format {fields['format']}, this worker reads up to {STATE_FORMAT}: "
                "upgrade this worker",
            )
        prompt = fields["prompt"]
        return ConversationState(
            history=tuple(
                Line(Speaker(line["speaker"]), line["text"], line["event_id"], line["at"]) for line in fields["history"]
            ),
            intent=fields["intent"],
            slots=fields["slots"],
            holder=Holder(fields["holder"]),
            turns=fields["turns"],
            prompt=prompt and StoredPrompt(hash=prompt["hash"], ids=tuple(prompt["ids"]), covers=prompt["covers"]),
            remembered=fields["remembered"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StateUnreadable(
            Code.STATE_CORRUPT, f"a conversation's state cannot be decoded ({type(error).__name__})"
        ) from error
