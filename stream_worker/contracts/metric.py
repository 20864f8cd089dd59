"""`chat.metrics`: one record per settled event, so that nothing ends unseen. Never a text.

Tokens and timings of a turn stand on its first event; merged ones carry zeros.
"""

from dataclasses import dataclass, field
from typing import Literal

from stream_worker.contracts.fields import Count, Millis, Seconds
from stream_worker.contracts.versions import Versions
from stream_worker.outcome import DeadLetterReason, FinishReason, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds per stage. `total` runs from the record's timestamp to the settling."""

    waiting: Seconds = 0.0
    parse: Seconds = 0.0
    understand: Seconds = 0.0
    queued: Seconds = 0.0
    first_token: Seconds = 0.0
    generate: Seconds = 0.0
    total: Seconds = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    prompt: Count = 0
    cached: Count = 0
    generated: Count = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EventMetric:
    version: Literal[1] = 1
    event_id: str
    event_type: str
    source: str
    conversation_id: str
    tenant: str
    turn_id: str | None
    reply_id: str | None
    partition: Count
    offset: Count
    outcome: Outcome
    reason: DeadLetterReason | None = None
    finish_reason: FinishReason | None = None
    attempt: Count
    term: Count
    at: Millis
    timings: Timings = field(default_factory=Timings)
    tokens: Tokens = field(default_factory=Tokens)
    versions: Versions
