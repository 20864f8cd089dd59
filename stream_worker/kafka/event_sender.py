"""Writes events to the input topic, each to the partition of its conversation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from confluent_kafka import KafkaError, KafkaException

from stream_worker.errors import Code, Fatal, Missing
from stream_worker.kafka.client_settings import admin_settings
from stream_worker.kafka.clients import make_producer
from stream_worker.kafka.faults import beyond_repair
from stream_worker.kafka.topic_lookup import partitions_of
from stream_worker.settings import Settings

_CALL_S = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where an event was written."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic} partition {self.partition} offset {self.offset}"


class EventSender:
    def __init__(self, settings: Settings) -> None:
        self._servers = settings.kafka.bootstrap_servers
        self._topic = settings.topics.events
        self._is_there = False
        client = admin_settings(settings)
        self._producer = make_producer({**client, "enable.idempotence": True, "partitioner": "murmur2_random"})

    def send(self, conversation: str, event: Mapping[str, object]) -> Place:
        """Writes an event and waits until the broker has it; threads may share a sender.

        Raises Missing when no broker answers or there is no such topic, Fatal without the rights, or for a record that
        the broker refuses.
        """
        written: list[Place] = []
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, message: Any) -> None:
            if error is not None:
                failed.append(error)
            else:
                written.append(Place(message.topic(), message.partition(), message.offset()))

        if not self._is_there:
            # A producer waits long for a topic that may yet come, and then cannot say that there is none.
            self._is_there = bool(partitions_of(self._producer, self._topic))
        try:
            self._producer.produce(self._topic, orjson.dumps(event), conversation, on_delivery=delivered)
        except KafkaException as error:
            # Such as one that is larger than the client takes: it is told at once.
            failed.append(error.args[0])
        self._producer.flush(_CALL_S)
        if failed and (fault := beyond_repair(failed[0])) is not None:
            raise fault
        if failed:
            raise Fatal(Code.RECORD_REFUSED, f"the event was not written to {self._topic}: {failed[0].str()}")
        if not written:
            raise Missing(
                Code.BROKER_UNREACHABLE,
                f"no broker answers at {self._servers}: start one with `stream-worker broker start`, "
                "or set kafka.bootstrap_servers",
            )
        return written[0]
