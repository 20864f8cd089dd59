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
