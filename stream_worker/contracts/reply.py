"""`chat.replies`: one record per reply, exactly once under `read_committed`."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from stream_worker.contracts.fields import Count, Identifier, Metadata, Millis
from stream_worker.contracts.versions import Versions
from stream_worker.outcome import FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The bot's answer. `reply_id` is the idempotency key for the platform's send call."""

    version: Literal[1] = 1
    reply_id: Identifier
    turn_id: Identifier
    conversation_id: Identifier
    tenant: str
    channel: str
    in_reply_to: Annotated[list[Identifier], Field(min_length=1)]
    text: str
    truncated: bool = False
    finish_reason: FinishReason
    intent: str | None
    term: Count
    attempt: Count
    at: Millis
    versions: Versions
    metadata: Metadata = field(default_factory=dict)
