"""`chat.replies`: one record per reply, exactly once under `read_committed`."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from stream_worker.contracts.fields import Count, Identifier, Metadata, Millis
from stream_worker.contracts.versions import Versions
from stream_worker.outcome import FinishReason


@dataclass(kw_only=True)
class Reply:
    """The bot's answer. `reply_id` is the idempotency key for the platform's send call."""

    version: Literal[1] = 1
    """Version of this schema."""

    reply_id: Identifier
    """The idempotency key for the platform's send call."""

    turn_id: Identifier
    """The turn it answers."""

    conversation_id: Identifier
    """The conversation."""

    tenant: str
    """The tenant; empty without tenants."""

    channel: str
    """The channel of the first event; empty without one."""

    in_reply_to: Annotated[list[Identifier], Field(min_length=1)]
    """Ids of the events it answers, oldest first."""

    text: str
    """What the bot says."""

    truncated: bool = False
    """Whether the text was cut to fit the topic."""

    finish_reason: FinishReason
    """Why the text ended where it did."""

    intent: str | None
    """The understood intent; null out of scope or without understanding."""

    term: Count
    """Term of the partition that produced it."""

    attempt: Count
    """Attempt of the turn within its term."""

    at: Millis
    """When the turn was settled."""

    versions: Versions
    """What produced it."""

    metadata: Metadata = field(default_factory=dict)
    """Copied from the first event."""
