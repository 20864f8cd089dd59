"""A topic by its name: its partitions, or the error that names the topic that was probably meant."""

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from stream_worker.errors import Code, Missing
from stream_worker.kafka.faults import is_missing, translated
from stream_worker.kafka.topic_check import nearest_topic

_CALL_S = 8.0

Client = AdminClient | Consumer | Producer


def partitions_of(client: Client, topic: str) -> list[int]:
    """The numbers of its partitions, in order. Raises Missing for no such topic or no broker, Fatal without rights."""
    try:
        found = client.list_topics(topic, timeout=_CALL_S).topics[topic]
    except KafkaException as error:
        raise translated(error.args[0], topic) from error
    if found.error is not None:
        raise missing_topic(client, topic) if is_missing(found.error) else translated(found.error, topic)
    return sorted(found.partitions)


def missing_topic(client: Client, topic: str) -> Missing:
    """The error for a topic that is not there. Raises Missing when no broker answers."""
    nearest = nearest_topic(topic, topic_names(client))
    meant = f": did you mean {nearest}? Then change the settings; else" if nearest else ":"
    return Missing(Code.TOPIC_MISSING, f"the topic {topic} is missing{meant} run `stream-worker topics create`")


def topic_names(client: Client) -> list[str]:
    """Every topic that we may know of. Raises Missing when no broker answers."""
    try:
        return sorted(client.list_topics(timeout=_CALL_S).topics)
    except KafkaException as error:
        raise translated(error.args[0]) from error
