"""What is kept of a conversation, and where."""

from pathlib import Path

from pydantic import Field

from stream_worker.settings.base import Section


class ConversationSettings(Section):
    state_dir: Path = Path("state")
    """Folder of the local state; a copy of the changelog, safe to delete while the worker is down."""

    max_state_bytes: int = Field(default=128 * 1024, ge=8 * 1024, le=16 * 1024 * 1024)
    """A conversation's state is cut to this size, oldest history first."""

    dedup_window: int = Field(default=256, ge=0, le=4_096)
    """How many settled event ids of a conversation are remembered to recognise duplicates."""

    dedup_ttl_s: int = Field(default=7 * 86_400, ge=0, le=366 * 86_400)
    """How long an erased conversation's event ids are remembered, so that a repeated event does not bring its text
    back; then nothing of it is left."""
