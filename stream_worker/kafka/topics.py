"""The one table of all topics: what `topics create` makes, `topics check` compares, and the docs show. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from stream_worker.settings import Settings

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

#: Kafka's own default for `max.message.bytes`.
RECORD_MAX_BYTES = 1_048_588

#: What a worker's own records may need (ids, coordinates, headers, all of them bounded): no topic may take less.
LEAST_MAX_BYTES = 64 * 1024

#: A dead letter holds the whole event and its coordinates in headers, so its topic takes more than the input.
DEAD_LETTER_EXTRA_BYTES = 64 * 1024

#: Each topic costs a marker per touched partition and commit, so what nobody waits for gets fewer partitions.
_SIDE_TOPIC_SHARE = 4


class Role(StrEnum):
    """What a topic is for."""

    EVENTS = "events"
    REPLIES = "replies"
    DELTAS = "deltas"
    ANALYSIS = "analysis"
    ACTIONS = "actions"
    METRICS = "metrics"
    DEAD_LETTERS = "dead_letters"
    CHANGELOG = "changelog"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it should be."""

    role: Role
    name: str
    partitions: int
    replication_factor: int
    config: Mapping[str, str]


def topic_table(settings: Settings) -> tuple[TopicSpec, ...]:
    """Every topic of this application, the input first."""
    topics = settings.topics
    full = topics.partitions
    side = max(1, full // _SIDE_TOPIC_SHARE)

    def spec(role: Role, name: str, partitions: int, config: Mapping[str, str]) -> TopicSpec:
        copies = {"min.insync.replicas": str(topics.min_insync_replicas)}
        return TopicSpec(role, name, partitions, topics.replication_factor, {**config, **copies})

    output = settings.output_topic
    return (
        spec(Role.EVENTS, topics.events, full, _kept(7 * DAY_MS) | {"message.timestamp.type": "LogAppendTime"}),
        spec(Role.REPLIES, output(topics.replies), full, _kept(7 * DAY_MS)),
        spec(Role.DELTAS, output(topics.deltas), full, _kept(HOUR_MS) | {"segment.ms": str(HOUR_MS)}),
        spec(Role.ANALYSIS, output(topics.analysis), side, _kept(7 * DAY_MS)),
        spec(Role.ACTIONS, output(topics.actions), side, _kept(7 * DAY_MS)),
        spec(Role.METRICS, output(topics.metrics), side, _kept(90 * DAY_MS)),
        spec(
            Role.DEAD_LETTERS,
            output(topics.dead_letters),
            side,
            _kept(30 * DAY_MS, RECORD_MAX_BYTES + DEAD_LETTER_EXTRA_BYTES),
        ),
        spec(Role.CHANGELOG, settings.changelog, full, _compacted()),
    )


def written_topics(settings: Settings) -> tuple[str, ...]:
    """The names of all topics that the worker writes to."""
    return tuple(spec.name for spec in topic_table(settings) if spec.role is not Role.EVENTS)


def _kept(retention_ms: int, max_bytes: int = RECORD_MAX_BYTES) -> dict[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": str(retention_ms), "max.message.bytes": str(max_bytes)}


def _compacted() -> dict[str, str]:
    # An erased conversation is gone from the topic when its segment is closed and compacted: within two days.
    return {
        "cleanup.policy": "compact",
        "segment.ms": str(DAY_MS),
        "max.compaction.lag.ms": str(DAY_MS),
        "delete.retention.ms": str(DAY_MS),
        "max.message.bytes": str(RECORD_MAX_BYTES),
    }
