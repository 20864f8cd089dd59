"""When a message starts a turn of its own, and when it joins another's. A noun: settings and bot files fill it."""

from dataclasses import dataclass
from enum import StrEnum


class OnNewMessage(StrEnum):
    """What a message does that arrives while its conversation is busy."""

    QUEUE = "queue"
    """It waits, and gets a reply of its own."""
    MERGE = "merge"
    """It joins the turn that waits; one reply answers both."""
    INTERRUPT = "interrupt"
    """It joins the running turn, which starts again with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnTaking:
    """Only neighbouring messages of one sender are joined.

    `merge_window_ms` holds a turn back for the messages that may follow (0: it starts at once). `max_hold_ms`, from
    the record timestamp of a turn's first event, ends any chain. No turn gets longer than `max_chars`.
    """

    on_new_message: OnNewMessage = OnNewMessage.QUEUE
    merge_window_ms: int = 0
    max_hold_ms: int = 10_000
    max_chars: int = 16_384


QUEUED = TurnTaking()
