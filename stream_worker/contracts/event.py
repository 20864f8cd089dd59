"""`chat.events`: what happens in a conversation, one class an event type.

The least a platform must send is a message with `conversation_id` (equal to
the record's key), `sender.id` and `text`. Unknown fields are ignored, so a
gateway may carry its own. Ids are strings, times integer milliseconds UTC.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Literal

import orjson
from pydantic import Field, Strict

from stream_worker.contracts.fields import METADATA_BYTES, Count, Identifier, Metadata, Millis


class SenderRole(StrEnum):
    USER = "user"
    AGENT = "agent"
    BOT = "bot"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who caused the event. A bot's message is never answered."""

    id: Identifier
    role: SenderRole = SenderRole.USER
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPart:
    type: Literal["text"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPart:
    """A reference to bytes that live elsewhere; bytes are never in a record."""

    type: Literal["image", "audio", "file"]
    uri: str
    media_type: str | None = None
    bytes: Count | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationPart:
    type: Literal["location"]
    latitude: Annotated[float, Field(ge=-90, le=90)]
    longitude: Annotated[float, Field(ge=-180, le=180)]
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CardPart:
    """A platform's own structured message; `text` is what a person would read."""

    type: Literal["card"]
    text: str
    payload: dict[str, object] = field(default_factory=dict)


Part = Annotated[TextPart | MediaPart | LocationPart | CardPart, Field(discriminator="type")]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBase:
    """What every event carries."""

    conversation_id: Identifier
    tenant: Annotated[str, Field(max_length=256, pattern="^[^/]*$")] = ""
    message_id: Identifier | None = None
    source: Annotated[str, Field(max_length=512)] = ""
    channel: Annotated[str, Field(max_length=256)] = ""
    sent_at: Millis | None = None
    expires_at: Millis | None = None
    metadata: Metadata = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.metadata and len(orjson.dumps(self.metadata)) > METADATA_BYTES:
            raise ValueError(f"metadata is larger than {METADATA_BYTES} bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(EventBase):
    """Something a person (or bot, or agent) said."""

    type: Literal["message"] = "message"
    sender: Sender
    text: str | None = None
    content: list[Part] | None = None
    reply_to: Identifier | None = None
    mentions: list[Identifier] = field(default_factory=list)
    locale: str | None = None

    def __post_init__(self) -> None:
        EventBase.__post_init__(self)
        if (self.text is None) == (self.content is None):
            raise ValueError("a message has either text or content")

    @property
    def plain_text(self) -> str:
        """What a person would read; media parts count as nothing."""
        if self.text is not None:
            return self.text
        parts = self.content or []
        return "\n".join(part.text for part in parts if isinstance(part, TextPart | CardPart))


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit(EventBase):
    """A message's text was replaced."""

    type: Literal["edit"]
    sender: Sender
    target_id: Identifier
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion(EventBase):
    """A message was taken back."""

    type: Literal["deletion"]
    sender: Sender
    target_id: Identifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction(EventBase):
    type: Literal["reaction"]
    sender: Sender
    target_id: Identifier
    reaction: Annotated[str, Field(min_length=1, max_length=64)]
    removed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Handoff(EventBase):
    """A human takes the conversation over; the bot is silent until it is given back."""

    type: Literal["handoff"]
    agent_id: Identifier | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Handback(EventBase):
    """The bot has the conversation again."""

    type: Literal["handback"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed(EventBase):
    """The conversation is over; the next message starts a new dialogue."""

    type: Literal["closed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure(EventBase):
    """Everything kept of this conversation is to be deleted."""

    type: Literal["erasure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback(EventBase):
    type: Literal["feedback"]
    reply_id: Identifier
    score: Annotated[float, Strict(), Field(ge=-1, le=1)]
    comment: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger(EventBase):
    """Starts a turn without a user's message: a reminder, a campaign."""

    type: Literal["trigger"]
    name: Identifier
    arguments: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionResult(EventBase):
    """What came of a command that a reply emitted."""

    type: Literal["action_result"]
    command_id: Identifier
    succeeded: bool
    result: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal(EventBase):
    """A short-lived sign: typing, read, presence. It changes nothing durable."""

    type: Literal["signal"]
    signal: Literal["typing", "read", "joined", "left"]
    sender: Sender


Event = (
    Message
    | Edit
    | Deletion
    | Reaction
    | Handoff
    | Handback
    | Closed
    | Erasure
    | Feedback
    | Trigger
    | ActionResult
    | Signal
)

EVENT_TYPES: dict[str, type[Event]] = {
    "message": Message,
    "edit": Edit,
    "deletion": Deletion,
    "reaction": Reaction,
    "handoff": Handoff,
    "handback": Handback,
    "closed": Closed,
    "erasure": Erasure,
    "feedback": Feedback,
    "trigger": Trigger,
    "action_result": ActionResult,
    "signal": Signal,
}
