"""`chat.metrics`: one record per settled event, so that nothing ends unseen. Never a text.

Tokens and timings of a turn stand on its first event; merged ones carry zeros.
"""

from dataclasses import dataclass, field
from typing import Literal

from stream_worker.contracts.fields import Count, Millis, Seconds
from stream_worker.contracts.versions import Versions
from stream_worker.outcome import DeadLetterReason, FinishReason, Outcome


@dataclass(kw_only=True)
class Timings:
    """Seconds per stage. `total` runs from the record's timestamp to the settling."""

    waiting: Seconds = 0.0
    """In the mailbox, behind earlier turns of the conversation."""

    parse: Seconds = 0.0
    """Parsing."""

    understand: Seconds = 0.0
    """Understanding, waiting for its batch included."""

    dialogue: Seconds = field(default=0.0, metadata={"later": True})
    """Deciding what to do, without its calls."""

    calls: Seconds = field(default=0.0, metadata={"later": True})
    """Waiting for the turn's calls to other machines."""

    queued: Seconds = 0.0
    """In the engine, before the first step."""

    first_token: Seconds = 0.0
    """From the engine's acceptance to the first token."""

    generate: Seconds = 0.0
    """From the engine's acceptance to the last token."""

    total: Seconds = 0.0
    """From the record's timestamp to the settling."""


@dataclass(kw_only=True)
class Tokens:
    prompt: Count = 0
    """Tokens of the prompt, cached ones included."""

    cached: Count = 0
    """Tokens of the prompt that were not computed again."""

    generated: Count = 0
    """Tokens of the reply."""


@dataclass(kw_only=True)
class EventMetric:
    version: Literal[1] = 1
    """Version of this schema."""

    event_id: str
    """The event's id; its coordinates where it had none."""

    event_type: str
    """The event's type; empty where it could not be decoded."""

    source: str
    """Where the event came from."""

    conversation_id: str
    """The conversation; empty where it is not known."""

    tenant: str
    """The tenant; empty without tenants."""

    turn_id: str | None
    """The turn it was part of."""

    reply_id: str | None
    """The reply that answers it."""

    partition: Count
    """Partition of the event."""

    offset: Count
    """Offset of the event."""

    outcome: Outcome
    """How the event ended."""

    reason: DeadLetterReason | None = None
    """Why it is a dead letter."""

    finish_reason: FinishReason | None = None
    """Why its reply's text ended."""

    attempt: Count
    """Attempts of the turn within its term."""

    term: Count
    """Term of the partition."""

    at: Millis
    """When it was settled."""

    timings: Timings = field(default_factory=Timings)
    """Where the time went."""

    tokens: Tokens = field(default_factory=Tokens)
    """What the model did."""

    versions: Versions
    """What produced it."""
