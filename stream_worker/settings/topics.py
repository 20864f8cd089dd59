"""Names of the topics and what `topics create` gives them."""

from typing import Annotated

from pydantic import Field, model_validator

from stream_worker.settings.base import Section, conflict

TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]


class TopicSettings(Section):
    events: TopicName = "chat.events"
    """The one topic this group reads."""

    replies: TopicName = "chat.replies"
    """Replies, exactly once under `read_committed`."""

    deltas: TopicName = "chat.deltas"
    """Previews of replies while they are generated."""

    analysis: TopicName = "chat.analysis"
    """How each turn was understood and generated."""

    actions: TopicName = "chat.actions"
    """Commands to the outside world, exactly once with their reply."""

    metrics: TopicName = "chat.metrics"
    """One record per settled event."""

    dead_letters: TopicName = "chat.dead-letters"
    """Events that could not be answered, as they came."""

    partitions: int = Field(default=96, ge=1, le=10_000)
    """Partitions of the input, for life: side topics get a quarter of it."""

    replication_factor: int = Field(default=3, ge=1, le=32)
    """Copies of each partition."""

    min_insync_replicas: int = Field(default=2, ge=1, le=32)
    """Copies that must be written before a commit counts."""

    @model_validator(mode="after")
    def _copies_suffice(self) -> "TopicSettings":
        if self.min_insync_replicas > self.replication_factor:
            raise conflict(
                f"min_insync_replicas ({self.min_insync_replicas}) must be at most replication_factor "
                f"({self.replication_factor}): else nothing could be written",
                "min_insync_replicas",
                "replication_factor",
            )
        return self
