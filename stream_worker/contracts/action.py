"""`chat.actions`: commands that change the world, emitted exactly once with the reply."""

from dataclasses import dataclass, field
from typing import Literal

from stream_worker.contracts.fields import Identifier, Millis
from stream_worker.contracts.versions import Versions


@dataclass(kw_only=True)
class Command:
    """A command of a turn. Its result comes back as an event `action_result` with this `command_id`."""

    version: Literal[1] = 1
    """Version of this schema."""

    command_id: Identifier
    """The idempotency key of the command."""

    turn_id: Identifier
    """The turn that emitted it."""

    conversation_id: Identifier
    """The conversation."""

    tenant: str
    """The tenant; empty without tenants."""

    name: Identifier
    """What is to be done, as the bot file names it."""

    arguments: dict[str, object] = field(default_factory=dict)
    """What it is to be done with."""

    versions: Versions
    """What produced it."""

    at: Millis
    """When the turn was settled."""

    remind_at: Millis | None = None
    """When an event `trigger` of this name is to be sent, with these arguments; null for a command."""
