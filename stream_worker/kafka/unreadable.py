"""Batches that the client cannot read: damaged where a broker keeps them, or on their way here.

The client skips nothing: it fetches the batch again and again, so nothing is lost, and its partition stands still until
another replica leads. The only sign of it is an error in the place of records. Where other batches lie behind it in the
same answer, librdkafka (2.16) loses its place instead, and asks for an offset that no topic has: that ends the clients.
"""

import time

from confluent_kafka import KafkaError, Message

_SAID_EVERY_S = 60.0
_UNREADABLE = frozenset({KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION, KafkaError._UNDERFLOW})


class UnreadableBatches:
    """What a person has to be told, by partition, once a minute at the most."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._said: dict[int, float] = {}
        self._news: dict[int, str] = {}

    def note(self, message: Message, error: KafkaError) -> None:
        """Looks at an error that stands in the place of a record."""
        partition, now = message.partition(), time.monotonic()
        if error.code() not in _UNREADABLE or partition is None:
            return
        if now - self._said.get(partition, -_SAID_EVERY_S) < _SAID_EVERY_S:
            return
        self._said[partition] = now
        self._news[partition] = (
            f"the records of {self._topic} from offset {message.offset()} on cannot be read ({error.name()}): nothing "
            "is skipped, and the partition stands still until a replica that is whole leads it "
            "(docs/operations/stuck-lag.md)"
        )

    def take(self) -> dict[int, str]:
        """What was not said yet."""
        news, self._news = self._news, {}
        return news
