"""librdkafka's clients are made here: what it does not take of the settings is named as ours to change.

None of them connects to anything before it is first used.
"""

from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from stream_worker.errors import Code, Misconfigured
from stream_worker.kafka.client_settings import ClientSettings

C = TypeVar("C")


def make_consumer(settings: ClientSettings) -> Consumer:
    """Raises Misconfigured for a setting that librdkafka does not know, or not with this value."""
    return _made(Consumer, settings)


def make_producer(settings: ClientSettings) -> Producer:
    """Raises Misconfigured for a setting that librdkafka does not know, or not with this value."""
    return _made(Producer, settings)


def make_admin(settings: ClientSettings) -> AdminClient:
    """Raises Misconfigured for a setting that librdkafka does not know, or not with this value."""
    return _made(AdminClient, settings)


def _made(client: Callable[[ClientSettings], C], settings: ClientSettings) -> C:
    try:
        return client(settings)
    except KafkaException as error:
        what = error.args[0].str()
    except (TypeError, ValueError) as error:
        what = str(error)
    raise Misconfigured(
        Code.CONFIG_INVALID_VALUE,
        f"the Kafka client refuses its settings: {what}; look at kafka.client, kafka.consumer and kafka.producer",
    )
