"""A topic by its name: its partitions, or the error that names the topic that was probably meant."""

from contextlib import suppress

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, TopicMetadata

from stream_worker.errors import Code, Missing
from stream_worker.kafka.faults import is_missing, translated
from stream_worker.kafka.topic_check import nearest_topic

_CALL_S = 8.0

Client = AdminClient | Consumer | Producer


def partitions_of(client: Client, topic: str) -> list[int]:
    """The numbers of its partitions, in order. Raises Missing for no such topic or no broker, Fatal without rights."""
    found = described(client, topic)[topic]
    if found.error is not None:
        raise missing_topic(client, topic) if is_missing(found.error) else translated(found.error, topic)
    return sorted(found.partitions)


def ask_for_leaders(consumer: Consumer, topic: str, within_s: float = _CALL_S) -> None:
    """The client asks who leads the partitions of a topic that is new to it by itself, but up to a second later."""
    with suppress(KafkaException):
        consumer.list_topics(topic, timeout=within_s)


def missing_topic(client: Client, topic: str) -> Missing:
    """The error for a topic that is not there. Raises Missing when no broker answers."""
    nearest = nearest_topic(topic, topic_names(client))
    meant = f": did you mean {nearest}? Then change the settings; else" if nearest else ":"
    return Missing(Code.TOPIC_MISSING, f"the topic {topic} is missing{meant} run `stream-worker topics create`")


def topic_names(client: Client) -> list[str]:
    """Every topic that we may know of. Raises Missing when no broker answers."""
    return sorted(described(client))


def described(client: Client, topic: str = "") -> dict[str, TopicMetadata]:
    """Partitions and their leaders of one topic, or of all, by name. Raises Missing when no broker answers."""
    try:
        return client.list_topics(topic or None, timeout=_CALL_S).topics
    except KafkaException as error:
        raise translated(error.args[0], topic) from error
