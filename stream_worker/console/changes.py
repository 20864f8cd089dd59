"""What a person changes from the console: always an event, which workers treat like any platform's. Pure.

The event is its own audit record: its `source` names the console, its
`metadata` who pressed the button.
"""

from collections.abc import Mapping
from enum import StrEnum
from uuid import uuid4

SOURCE = "stream-worker-console"
MAX_TEXT_CHARS = 16_384


class Change(StrEnum):
    SAY = "say"
    """As a user, on the real topics: what "Try it" does."""
    ANSWER = "answer"
    """As a human who has the conversation: it enters the history, and nobody answers it."""
    TAKE_OVER = "take_over"
    GIVE_BACK = "give_back"
    ERASE = "erase"


def event_of(change: Change, conversation: str, *, tenant: str, text: str, who: str) -> Mapping[str, object]:
    """The event. Raises ValueError with a sentence for a text that says nothing, or too much."""
    common: dict[str, object] = {
        "conversation_id": conversation,
        "tenant": tenant,
        "message_id": uuid4().hex,
        "source": SOURCE,
        "metadata": {"console": {"by": who}},
    }
    match change:
        case Change.SAY:
            return {**common, "sender": {"id": who}, "text": _said(text)}
        case Change.ANSWER:
            return {**common, "sender": {"id": who, "role": "agent"}, "text": _said(text)}
        case Change.TAKE_OVER:
            return {**common, "type": "handoff", "agent_id": who, "reason": "taken over in the console"}
        case Change.GIVE_BACK:
            return {**common, "type": "handback"}
        case Change.ERASE:
            return {**common, "type": "erasure"}


def _said(text: str) -> str:
    text = text.strip()
    if not text:
        raise ValueError("Write something first.")
    if len(text) > MAX_TEXT_CHARS:
        raise ValueError(f"The text is longer than {MAX_TEXT_CHARS} characters.")
    return text
