"""`chat.actions`: commands that change the world, emitted exactly once with the reply."""

from dataclasses import dataclass, field
from typing import Literal

from stream_worker.contracts.fields import Identifier, Millis
from stream_worker.contracts.versions import Versions


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command of a turn. Its result comes back as an event `action_result` with this `command_id`."""

    version: Literal[1] = 1
    command_id: Identifier
    turn_id: Identifier
    conversation_id: Identifier
    tenant: str
    name: Identifier
    arguments: dict[str, object] = field(default_factory=dict)
    at: Millis
    versions: Versions
