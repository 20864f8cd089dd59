"""What a gateway does: it writes events, each to the partition of its conversation."""

import uuid
from typing import Any

import orjson
from confluent_kafka import Message, Producer

from stream_worker.kafka.client_settings import transaction_settings
from stream_worker.kafka.murmur2 import partition_of
from stream_worker.settings import Settings

_CALL_S = 10.0


class EventWriter:
    """Writes at once, and remembers the ids of what it sent in the order of sending."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topics.events
        self._settings = settings
        self._producer = Producer(
            {
                "bootstrap.servers": settings.kafka.bootstrap_servers,
                **settings.kafka.client,
                "partitioner": "murmur2_random",
                "linger.ms": 0,
            }
        )
        self.sent: list[str] = []

    def say(self, conversation: str, text: str = "hello") -> str:
        """A user's message; returns its id."""
        event_id = f"e-{len(self.sent)}"
        self._producer.produce(
            self._topic, _message(conversation, event_id, text), conversation, on_delivery=_must_be_stored
        )
        assert self._producer.flush(_CALL_S) == 0
        self.sent.append(event_id)
        return event_id

    def write(self, event: dict[str, Any]) -> None:
        """Any event, as it is."""
        value, key = orjson.dumps(event), event["conversation_id"]
        self._producer.produce(self._topic, value, key, on_delivery=_must_be_stored)
        assert self._producer.flush(_CALL_S) == 0

    def raw(self, conversation: str, value: bytes) -> None:
        """Bytes of any kind, with the conversation as the key."""
        self._producer.produce(self._topic, value, conversation, on_delivery=_must_be_stored)
        assert self._producer.flush(_CALL_S) == 0

    def say_in_transaction(self, *conversations: str, commit: bool = True) -> None:
        """A message in each conversation, all in one transaction, which leaves a control record in each partition."""
        producer = Producer(transaction_settings(self._settings, f"gateway-{uuid.uuid4().hex[:8]}", 1_000_000))
        producer.init_transactions(_CALL_S)
        producer.begin_transaction()
        event_ids = [f"e-{len(self.sent) + number}" for number in range(len(conversations))]
        for conversation, event_id in zip(conversations, event_ids, strict=True):
            producer.produce(
                self._topic, _message(conversation, event_id, "hello"), conversation, on_delivery=_must_be_stored
            )
        assert producer.flush(_CALL_S) == 0
        if commit:
            producer.commit_transaction(_CALL_S)
            self.sent += event_ids
        else:
            producer.abort_transaction(_CALL_S)


def conversation_in(partition: int, partitions: int, name: str = "c") -> str:
    """A conversation whose events go to this partition."""
    numbers = range(1_000)
    return next(
        candidate for n in numbers if partition_of((candidate := f"{name}-{n}").encode(), partitions) == partition
    )


def _message(conversation: str, event_id: str, text: str) -> bytes:
    event: dict[str, Any] = {
        "conversation_id": conversation,
        "message_id": event_id,
        "text": text,
        "sender": {"id": "u-1"},
    }
    return orjson.dumps(event)


def _must_be_stored(error: object, _: Message) -> None:
    assert error is None, error
