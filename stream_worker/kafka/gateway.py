"""A small chat platform's side: sends events, follows what the worker publishes.

`chat`, `send` and `demo` use it. It reads committed records only, belongs to
no group, and so disturbs nobody.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from confluent_kafka import OFFSET_END, KafkaError, KafkaException, TopicPartition
from pydantic import TypeAdapter

from stream_worker.contracts.analysis import Analysis
from stream_worker.contracts.delta import Delta
from stream_worker.contracts.metric import EventMetric
from stream_worker.contracts.reply import Reply
from stream_worker.errors import Code, Fatal, Missing
from stream_worker.kafka.client_settings import admin_settings
from stream_worker.kafka.clients import make_consumer, make_producer
from stream_worker.kafka.faults import beyond_repair, translated
from stream_worker.settings import Settings

Published = Reply | Delta | Analysis | EventMetric

_CALL_S = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where an event was written."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic} partition {self.partition} offset {self.offset}"


class Gateway:
    """Raises Missing when no broker answers, or a topic is not there; Fatal without the rights."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._events = settings.topics.events
        client = admin_settings(settings)
        self._producer = make_producer({**client, "enable.idempotence": True, "partitioner": "murmur2_random"})
        self._consumer = make_consumer(
            {
                **client,
                "group.id": f"{settings.application_id}-gateway",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "latest",
                "fetch.wait.max.ms": 20,
            }
        )
        topics = settings.topics
        self._adapters: Mapping[str, TypeAdapter[Any]] = {
            settings.output_topic(name): TypeAdapter(contract)
            for name, contract in (
                (topics.replies, Reply),
                (topics.deltas, Delta),
                (topics.analysis, Analysis),
                (topics.metrics, EventMetric),
            )
        }

    def follow(self) -> None:
        """From now on `receive` gives what is published after this call."""
        places = [place for topic in self._adapters for place in self._places(topic)]
        for place in places:
            # An explicit offset: a logical end would be looked up only later, and records before that be missed.
            place.offset = self._end(place)
        self._consumer.assign(places)

    def receive(self, wait_s: float) -> Published | None:
        """The next published record of any conversation; None when none came within `wait_s`."""
        message = self._consumer.poll(wait_s)
        if message is None:
            return None
        if (error := message.error()) is not None:
            if (fault := beyond_repair(error)) is not None:
                raise fault
            return None
        if message.value() is None:
            return None
        published: Published = self._adapters[message.topic() or ""].validate_python(
            orjson.loads(message.value() or b"")
        )
        return published

    def send(self, conversation: str, event: Mapping[str, object]) -> Place:
        """Writes an event and waits until the broker has it."""
        written: list[Place] = []
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, message: Any) -> None:
            if error is not None:
                failed.append(error)
            else:
                written.append(Place(message.topic(), message.partition(), message.offset()))

        self._producer.produce(self._events, orjson.dumps(event), conversation, on_delivery=delivered)
        self._producer.flush(_CALL_S)
        if failed and (fault := beyond_repair(failed[0])) is not None:
            raise fault
        if failed:
            raise Fatal(Code.RECORD_REFUSED, f"the event was not written to {self._events}: {failed[0].str()}")
        if not written:
            raise self._unreachable()
        return written[0]

    def close(self) -> None:
        self._consumer.close()

    def _places(self, topic: str) -> list[TopicPartition]:
        try:
            found = self._consumer.list_topics(topic, timeout=_CALL_S).topics[topic]
        except KafkaException as error:
            raise translated(error.args[0]) from error
        if found.error is not None:
            raise translated(found.error, topic)
        return [TopicPartition(topic, partition) for partition in found.partitions]

    def _end(self, place: TopicPartition) -> int:
        deadline = time.monotonic() + _CALL_S
        while True:
            try:
                marks = self._consumer.get_watermark_offsets(place, timeout=_CALL_S, cached=False)
            except KafkaException as error:
                # A topic that was just made has no leader yet, in the eyes of some brokers.
                if time.monotonic() > deadline:
                    raise translated(error.args[0]) from error
                self._refresh(place.topic)
            else:
                return marks[1] if marks is not None else OFFSET_END

    def _refresh(self, topic: str) -> None:
        try:
            self._consumer.list_topics(topic, timeout=_CALL_S)
        except KafkaException as error:
            raise translated(error.args[0]) from error

    def _unreachable(self) -> Missing:
        return Missing(
            Code.BROKER_UNREACHABLE,
            f"no broker answers at {self._settings.kafka.bootstrap_servers}: start one with "
            "`stream-worker broker start`, or set kafka.bootstrap_servers",
        )
