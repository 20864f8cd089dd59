"""`chat.events`: what happens in a conversation, one class an event type.

The least a platform must send is a message with `conversation_id` (equal to
the record's key), `sender.id` and `text`. Unknown fields are ignored, so a
gateway may carry its own. Ids are strings, times integer milliseconds UTC.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, Strict
from pydantic.config import JsonDict

from stream_worker.contracts.fields import Count, FreeJson, Identifier, Metadata, Millis


class SenderRole(StrEnum):
    USER = "user"
    AGENT = "agent"
    BOT = "bot"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who caused the event. A bot's message is never answered."""

    id: Identifier
    """The platform's id of the sender."""

    role: SenderRole = SenderRole.USER
    """What the sender is."""

    name: str | None = None
    """How the sender is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPart:
    type: Literal["text"]
    """Plain text."""

    text: str
    """The text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPart:
    """A reference to bytes that live elsewhere; bytes are never in a record."""

    type: Literal["image", "audio", "file"]
    """Kind of media."""

    uri: str
    """Where the bytes are."""

    media_type: str | None = None
    """Their media type."""

    bytes: Count | None = None
    """How many they are."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Their SHA-256, in hex."""

    name: str | None = None
    """File name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationPart:
    type: Literal["location"]
    """A place."""

    latitude: Annotated[float, Field(ge=-90, le=90)]
    """Degrees north."""

    longitude: Annotated[float, Field(ge=-180, le=180)]
    """Degrees east."""

    name: str | None = None
    """How the place is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardPart:
    """A platform's own structured message; `text` is what a person would read."""

    type: Literal["card"]
    """A structured message."""

    text: str
    """What a person would read."""

    payload: FreeJson = field(default_factory=dict)
    """The platform's own structure."""


Part = Annotated[TextPart | MediaPart | LocationPart | CardPart, Field(discriminator="type")]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBase:
    """What every event carries."""

    conversation_id: Identifier
    """The conversation; the record's key is `<tenant>/<conversation_id>`, or this alone without tenants."""

    tenant: Annotated[str, Field(max_length=256, pattern="^[^/]*$")] = ""
    """Whose conversation it is; required with tenants."""

    message_id: Identifier | None = None
    """The platform's id; a second event with it is a duplicate."""

    source: Annotated[str, Field(max_length=512)] = ""
    """The gateway that wrote the event."""

    channel: Annotated[str, Field(max_length=256)] = ""
    """Where on the platform, such as `web`; chooses the bot."""

    sent_at: Millis | None = None
    """When the platform received it."""

    expires_at: Millis | None = None
    """After this nobody waits for an answer."""

    metadata: Metadata = field(default_factory=dict)
    """Free JSON, at most 4 KiB, copied to the reply."""


def _holds(name: str, kind: str) -> JsonDict:
    """The JSON Schema of an object where `name` is there, and not null."""
    return {"properties": {name: {"type": kind}}, "required": [name]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(EventBase):
    """Something a person (or bot, or agent) said."""

    __pydantic_config__: ClassVar[ConfigDict] = {
        "json_schema_extra": {"oneOf": [_holds("text", "string"), _holds("content", "array")]}
    }

    type: Literal["message"] = "message"
    """Type of the event; a message if left out."""

    sender: Sender
    """Who said it."""

    text: str | None = None
    """What was said; either this or `content`."""

    content: list[Part] | None = None
    """What was said, in parts."""

    reply_to: Identifier | None = None
    """Id of the message it answers."""

    mentions: list[Identifier] = field(default_factory=list)
    """Ids of who is mentioned."""

    locale: str | None = None
    """The sender's locale, such as `en-GB`."""

    time_zone: str | None = None
    """The sender's time zone, an IANA name such as `Europe/London`; one that does not exist counts as none."""

    def __post_init__(self) -> None:
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
    """Type of the event."""

    sender: Sender
    """Who edited."""

    target_id: Identifier
    """`message_id` of the edited message."""

    text: str
    """Its new text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion(EventBase):
    """A message was taken back."""

    type: Literal["deletion"]
    """Type of the event."""

    sender: Sender
    """Who deleted."""

    target_id: Identifier
    """`message_id` of the deleted message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction(EventBase):
    type: Literal["reaction"]
    """Type of the event."""

    sender: Sender
    """Who reacted."""

    target_id: Identifier
    """`message_id` or `reply_id` reacted to."""

    reaction: Annotated[str, Field(min_length=1, max_length=64)]
    """The reaction, such as an emoji."""

    removed: bool = False
    """Whether it was taken back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handoff(EventBase):
    """A human takes the conversation over; the bot is silent until it is given back."""

    type: Literal["handoff"]
    """Type of the event."""

    agent_id: Identifier | None = None
    """Who takes over."""

    reason: str | None = None
    """Why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handback(EventBase):
    """The bot has the conversation again."""

    type: Literal["handback"]
    """Type of the event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed(EventBase):
    """The conversation is over; the next message starts a new dialogue."""

    type: Literal["closed"]
    """Type of the event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure(EventBase):
    """Everything kept of this conversation is to be deleted."""

    type: Literal["erasure"]
    """Type of the event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback(EventBase):
    type: Literal["feedback"]
    """Type of the event."""

    reply_id: Identifier
    """The judged reply."""

    score: Annotated[float, Strict(), Field(ge=-1, le=1)]
    """From -1, bad, to 1, good."""

    comment: str | None = None
    """What was said about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger(EventBase):
    """Starts a turn without a user's message: a reminder, a campaign."""

    type: Literal["trigger"]
    """Type of the event."""

    name: Identifier
    """What starts, as the bot file names it."""

    arguments: FreeJson = field(default_factory=dict)
    """What it starts with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionResult(EventBase):
    """What came of a command that a reply emitted."""

    type: Literal["action_result"]
    """Type of the event."""

    command_id: Identifier
    """The command it is about."""

    succeeded: bool
    """Whether it was carried out."""

    result: FreeJson = field(default_factory=dict)
    """What came of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal(EventBase):
    """A short-lived sign: typing, read, presence. It changes nothing durable."""

    type: Literal["signal"]
    """Type of the event."""

    signal: Literal["typing", "read", "joined", "left"]
    """What is shown."""

    sender: Sender
    """Whose sign it is."""


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
