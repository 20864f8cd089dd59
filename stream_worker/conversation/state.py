"""What is kept of a conversation: a frozen, versioned value. Pure.

A turn never writes state. It returns *changes*, and at settle they are
applied to the newest settled value, giving a new one: so nothing that settled
meanwhile is overwritten. `history` is the truth, `prompt` a cache of it in
token ids.
"""

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec
import orjson
from msgspec import Struct, field
from msgspec.structs import replace

from stream_worker.conversation.deduplication import remember
from stream_worker.conversation.dialogue import NEW, Dialogue, Frame
from stream_worker.errors import Code, Fatal, StateUnreadable
from stream_worker.tokens import StoredPrompt

STATE_FORMAT = 2
MAX_DIALOGUES = 32
"""Senders of one conversation whose dialogues are kept; who has been silent for the longest is forgotten."""


class Speaker(StrEnum):
    USER = "user"
    BOT = "bot"
    AGENT = "agent"
    NOTE = "note"
    """Nobody: something that happened, told to the model."""
    FACTS = "facts"
    """Nobody: what a call found out, told to the model."""


class Holder(StrEnum):
    """Who has the conversation."""

    BOT = "bot"
    HUMAN = "human"


class Line(Struct, frozen=True):
    """One thing said. `event_id` is the event's, or the reply's id for the bot's own lines.

    `name` is the sender's, in rooms where several talk.
    """

    speaker: Speaker
    text: str
    event_id: str
    at: int
    name: str = ""


class ConversationState(Struct, frozen=True, kw_only=True):
    format: int = STATE_FORMAT
    erased_at: int = 0
    """When it was erased, if nothing was said since; the record's time in milliseconds."""
    history: tuple[Line, ...] = ()
    dialogues: dict[str, Dialogue] = field(default_factory=dict)
    """By sender, who spoke last comes last."""
    holder: Holder = Holder.BOT
    held_at: int = 0
    """When the holder was last heard of, if it is a human; wall time in milliseconds."""
    turns: int = 0
    prompt: StoredPrompt | None = None
    remembered: str = ""

    def dump(self) -> bytes:
        return msgspec.json.encode(self)

    def dialogue(self, sender_id: str) -> Dialogue:
        """Where it stands with this sender; one of before senders were told apart counts for the first who asks."""
        return self.dialogues.get(sender_id) or self.dialogues.get(_ANYBODY, NEW)


EMPTY = ConversationState()
_ANYBODY = ""


# Changes: what a turn or an event does to the state.


class Said(Struct, frozen=True):
    """Lines are added to the history."""

    lines: tuple[Line, ...]


class Dialogued(Struct, frozen=True):
    """Where the dialogue with a sender stands after a turn."""

    sender_id: str
    dialogue: Dialogue


class Prompted(Struct, frozen=True):
    """The ids that stand for the history up to now. `dropped` lines were cut from its front to fit the model."""

    prompt: StoredPrompt | None
    dropped: int


class HeldBy(Struct, frozen=True):
    """Who has the conversation, since when; also a sign of life of the human who has it."""

    holder: Holder
    at: int = 0


class Remembered(Struct, frozen=True):
    """Event digests that were settled."""

    digests: tuple[str, ...]


class Rewritten(Struct, frozen=True):
    """An older line has a new text, or is gone (None)."""

    event_id: str
    text: str | None


class Ended(Struct, frozen=True):
    """The dialogue is over: all that was understood and the holder start anew; the history stays."""


class Erased(Struct, frozen=True):
    """Nothing stays but the digests, so that a repeated event does not bring the text back."""

    at: int


Change = Said | Dialogued | Prompted | HeldBy | Remembered | Rewritten | Ended | Erased


class Bounds(Struct, frozen=True, kw_only=True):
    """How much may be kept."""

    max_messages: int | None
    """What the bot that answers keeps; None where an event is nobody's turn, which bounds no history."""
    dedup_window: int


def apply(state: ConversationState, changes: Iterable[Change], bounds: Bounds) -> ConversationState:
    """The state after `changes`, in order, within `bounds`. One new value, however many changes."""
    history, dialogues, holder, held_at = state.history, state.dialogues, state.holder, state.held_at
    turns, prompt, remembered, erased_at = state.turns, state.prompt, state.remembered, state.erased_at
    for change in changes:
        match change:
            case Said(lines):
                history += lines
                erased_at = 0
            case Dialogued(sender_id, dialogue):
                dialogues = _spoken_with(dialogues, sender_id, dialogue)
                turns += 1
                erased_at = 0
            case Prompted(prompt, dropped):
                history = history[dropped:]
            case HeldBy(holder, held_at):
                erased_at = 0 if holder is Holder.HUMAN else erased_at
            case Remembered(digests):
                remembered = remember(remembered, digests, bounds.dedup_window)
            case Rewritten(event_id, text):
                rewritten = _rewrite(history, event_id, text)
                if rewritten != history:
                    history, prompt = rewritten, None
            case Ended():
                dialogues, holder, held_at = {}, Holder.BOT, 0
            case Erased(erased_at):
                history, dialogues, holder, held_at, turns, prompt = (), {}, Holder.BOT, 0, 0, None
    if bounds.max_messages is not None and len(history) > bounds.max_messages:
        # In large steps: each cut voids the ids that the engine has kept of the conversation.
        history, prompt = _cut(history, len(history) - bounds.max_messages // 2), None
    return ConversationState(
        erased_at=erased_at,
        history=history,
        dialogues=dialogues,
        holder=holder,
        held_at=held_at,
        turns=turns,
        prompt=prompt,
        remembered=remembered,
    )


def _cut(history: tuple[Line, ...], count: int) -> tuple[Line, ...]:
    """The history without its first `count` lines, nor replies whose question was among them."""
    while count < len(history) and history[count].speaker is Speaker.BOT:
        count += 1
    return history[count:]


def _spoken_with(dialogues: dict[str, Dialogue], sender_id: str, dialogue: Dialogue) -> dict[str, Dialogue]:
    others = [(name, other) for name, other in dialogues.items() if name not in (sender_id, _ANYBODY)]
    return dict([*others[max(0, len(others) - MAX_DIALOGUES + 1) :], (sender_id, dialogue)])


_OWN = frozenset({Speaker.USER, Speaker.AGENT})
"""Whose words may be given another text: nobody puts words into the bot's mouth."""


def _rewrite(history: tuple[Line, ...], event_id: str, text: str | None) -> tuple[Line, ...]:
    if text is None:
        return tuple(line for line in history if line.event_id != event_id)
    return tuple(
        replace(line, text=text) if line.event_id == event_id and line.speaker in _OWN else line for line in history
    )


def fit(state: ConversationState, max_bytes: int) -> ConversationState:
    """The state cut to `max_bytes` encoded: first the ids, then the oldest half of the history, again and again."""
    while len(state.dump()) > max_bytes:
        if state.prompt is not None:
            history = state.history
        elif state.history:
            history = _cut(state.history, (len(state.history) + 1) // 2)
        else:
            return replace(state, dialogues={})
        state = replace(state, history=history, prompt=None)
    return state


_ERASED = re.compile(rb'\{"format":\d+,"erased_at":([1-9]\d*),')


def erased_at(raw: bytes) -> int:
    """When the conversation of this encoded state was erased; 0 for any other. Nothing is decoded: it is quick."""
    found = _ERASED.match(raw)
    return int(found[1]) if found else 0


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
        if fields["format"] == 1:
            fields = _from_format_1(fields)
        for dialogue in fields["dialogues"].values():
            _with_offers(dialogue)
        prompt = fields["prompt"]
        return ConversationState(
            erased_at=fields.get("erased_at", 0),
            history=tuple(
                Line(Speaker(line["speaker"]), line["text"], line["event_id"], line["at"], line["name"])
                for line in fields["history"]
            ),
            dialogues=msgspec.convert(fields["dialogues"], dict[str, Dialogue]),
            holder=Holder(fields["holder"]),
            held_at=fields["held_at"],
            turns=fields["turns"],
            prompt=prompt and StoredPrompt(hash=prompt["hash"], ids=tuple(prompt["ids"]), covers=prompt["covers"]),
            remembered=fields["remembered"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateUnreadable(
            Code.STATE_CORRUPT, f"a conversation's state cannot be decoded ({type(error).__name__})"
        ) from error


def _with_offers(dialogue: dict[str, Any]) -> None:
    """Values were once offered for one slot only."""
    slot, values = dialogue.pop("offered", ("", ()))
    if slot:
        dialogue.setdefault("offers", {slot: values})


def _from_format_1(fields: dict[str, Any]) -> dict[str, Any]:
    """One intent and its slots for all senders, and no names in the history."""
    intent = fields["intent"]
    known = msgspec.to_builtins(Dialogue(frames=(Frame(intent, fields["slots"]),)))
    return fields | {
        "history": [line | {"name": ""} for line in fields["history"]],
        "dialogues": {} if intent is None else {_ANYBODY: known},
        "held_at": 0,
    }
