"""What must be in the topics, recomputed from the events and the committed outputs alone.

The scripted engine's reply is a function of the prompt, hence of the whole conversation so far. So each committed
reply says what was said before it: one that was generated from a reply that was aborted, lost or repeated differs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from stream_worker.conversation.state import EMPTY, Bounds, ConversationState, Line, Said, Speaker, apply
from stream_worker.inference.scripted import derived_reply
from stream_worker.orders import Generate, TurnRef
from stream_worker.outcome import FinishReason
from stream_worker.stages.prompter import MessagePrompter
from stream_worker.tokens import Sampling

Value = Mapping[str, Any]

_BOUNDS = Bounds(max_messages=64, dedup_window=0)
_REF = TurnRef(0, 0, "", 0)


def replies_follow_from_what_was_committed(
    events: Mapping[str, Value], replies: Sequence[Value], states: Mapping[str, ConversationState]
) -> None:
    """Every reply is the engine's to the conversation as it was committed, and so is every conversation's last state.

    `events` by id; `replies` in the order of their partitions.
    """
    replayed: dict[str, ConversationState] = {}
    counts: dict[str, int] = {}
    for reply in replies:
        if reply["finish_reason"] == FinishReason.FALLBACK:
            continue  # the bot's text for a dead letter: no part of the conversation
        conversation = reply["conversation_id"]
        before = replayed.get(conversation, EMPTY)
        texts = [events[event_id]["text"] for event_id in reply["in_reply_to"]]
        asked = tuple(Line(Speaker.USER, text, "", 0) for text in texts)
        expected = _answer(before, asked)
        assert reply["text"] == expected, f"{reply['reply_id']} of {conversation} does not follow from what was said"
        said = Said((*asked, Line(Speaker.BOT, reply["text"], "", 0)))
        replayed[conversation] = apply(before, [said], _BOUNDS)
        counts[conversation] = counts.get(conversation, 0) + 1
    for conversation, expected_state in replayed.items():
        state = states.get(conversation, EMPTY)
        assert _said(state) == _said(expected_state), f"the state of {conversation} is not what was said"
        assert state.turns == counts[conversation], f"{conversation} counts {state.turns} turns"


def _answer(state: ConversationState, asked: Sequence[Line]) -> str:
    prompt = MessagePrompter().prepare("", state, asked).prompt
    order = Generate(ref=_REF, conversation="", prompt=prompt, sampling=Sampling(), seed=0, cache_scope="")
    return derived_reply(order)


def _said(state: ConversationState) -> list[tuple[str, str]]:
    return [(line.speaker.value, line.text) for line in state.history]
