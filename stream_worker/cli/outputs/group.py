"""The group, its partitions, its topics, and what it publishes."""

from dataclasses import dataclass
from enum import StrEnum

from stream_worker.kafka.letters import Fate
from stream_worker.kafka.rights import Right


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionPlace:
    """One partition of the input."""

    partition: int
    """Its number."""

    owner: str | None
    """The group's member that has it; null where nobody has."""

    committed: int | None
    """The group's offset; null where it has none yet."""

    end: int
    """The offset of the next event that will be written."""

    lag: int | None
    """How many offsets lie between the two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupOverview:
    """The group of the workers."""

    group: str
    """Its name, the application's id."""

    state: str
    """As Kafka calls it: `stable`, `empty`, `dead` (unknown), `preparing_rebalancing`, ..."""

    members: int
    """How many workers are in it."""

    lag: int
    """The sum of all partitions."""

    healthy: bool
    """Whether there are no ailments."""

    ailments: list[str]
    """Why it is not healthy."""

    partitions: list[PartitionPlace]
    """Every partition of the input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionLag:
    """How far behind one partition is."""

    partition: int
    """Its number."""

    owner: str | None
    """The group's member that has it; null where nobody has."""

    lag: int | None
    """How many offsets lie between the group's and the end; null where the group has none yet."""

    waiting_s: float
    """How long ago the first event that waits was written, in seconds; 0 where none waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLag:
    """How far behind a group is."""

    group: str
    """Its name, the application's id."""

    lag: int
    """The sum of all partitions."""

    partitions: list[PartitionLag]
    """Every partition of the input."""


class Kind(StrEnum):
    REPLY = "reply"
    DELTA = "delta"
    ANALYSIS = "analysis"
    METRIC = "metric"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRecord:
    """One record that a worker published."""

    kind: Kind
    """What it is."""

    conversation: str
    """The conversation's id."""

    id: str
    """Of a reply its own, of a delta and an analysis the turn's, of a metric the event's."""

    what: str
    """The most important of it in words; what was said only with `--text`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentEvent:
    """Where an event was written."""

    conversation: str
    """The record's key."""

    event_id: str
    """The message's id, which replies and metrics name."""

    topic: str
    """The input topic."""

    partition: int
    """The conversation's partition."""

    offset: int
    """The event's offset in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterRow:
    """One dead letter."""

    letter: str
    """Its name: partition and offset in the dead-letter topic."""

    at: str
    """When it was written: ISO 8601, UTC."""

    reason: str
    """Why the event could not be answered, as the outcomes' page lists it."""

    conversation: str
    """The record's key."""

    bot: str
    """The bot that had a part in it; empty where none had."""

    source: str
    """Topic, partition and offset of the original."""

    bytes: int
    """Length of its value."""

    fate: Fate
    """What became of it."""

    redrives: int
    """How often it was sent back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterShown(LetterRow):
    """One dead letter, with what was wrong with it."""

    message: str
    """What was wrong; nothing of the content."""

    truncated: bool
    """Whether it was too large to be kept whole; then it cannot be sent back."""

    headers: dict[str, str] | None = None
    """The record's headers as text, with `--show-content`."""

    value: str | None = None
    """The event as it came, as text, with `--show-content`."""


@dataclass(frozen=True, slots=True)
class NeededRight(Right):
    """An entry for the broker's access control list."""

    command: str
    """How Kafka's own tool gives the right."""
