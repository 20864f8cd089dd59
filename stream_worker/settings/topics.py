"""Names of the topics and what `topics create` gives them."""

from pydantic import Field

from stream_worker.settings.base import Section


class TopicSettings(Section):
    events: str = "chat.events"
    """The one topic this group reads."""

    replies: str = "chat.replies"
    """Replies, exactly once under `read_committed`."""

    deltas: str = "chat.deltas"
    """Previews of replies while they are generated."""

    analysis: str = "chat.analysis"
    """How each turn was understood and generated."""

    actions: str = "chat.actions"
    """Commands to the outside world, exactly once with their reply."""

    metrics: str = "chat.metrics"
    """One record per settled event."""

    dead_letters: str = "chat.dead-letters"
    """Events that could not be answered, as they came."""

    partitions: int = Field(default=96, ge=1, le=10_000)
    """Partitions of the input, for life: side topics get a quarter of it."""

    replication_factor: int = Field(default=3, ge=1, le=32)
    """Copies of each partition."""

    min_insync_replicas: int = Field(default=2, ge=1, le=32)
    """Copies that must be written before a commit counts."""
