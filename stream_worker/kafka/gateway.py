"""A small chat platform's side: sends events, follows what the worker publishes.

`chat`, `send` and `demo` use it. It reads committed records only, belongs to
no group, and so disturbs nobody.
"""

import time
from collections.abc import Collection, Mapping
from typing import Any

import orjson
from confluent_kafka import OFFSET_END, KafkaException, TopicPartition
from pydantic import TypeAdapter

from stream_worker.contracts.analysis import Analysis
from stream_worker.contracts.delta import Delta
from stream_worker.contracts.metric import EventMetric
from stream_worker.contracts.reply import Reply
from stream_worker.errors import Code, Misconfigured
from stream_worker.kafka.client_settings import admin_settings
from stream_worker.kafka.clients import make_consumer
from stream_worker.kafka.event_sender import EventSender, Place
from stream_worker.kafka.faults import beyond_repair, translated
from stream_worker.kafka.topic_lookup import partitions_of
from stream_worker.settings import Settings

Published = Reply | Delta | Analysis | EventMetric

_CALL_S = 10.0


class Gateway:
    """Raises Missing when no broker answers, or a topic is not there; Fatal without the rights."""

    def __init__(self, settings: Settings) -> None:
        self._sender = EventSender(settings)
        client = admin_settings(settings)
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

    def follow(self, topics: Collection[str] = ()) -> None:
        """From now on `receive` gives what is published after this call, in these of the topics; without any, in all.

        Raises Misconfigured for a name that is none of theirs.
        """
        if unknown := sorted(set(topics) - set(self._adapters)):
            raise Misconfigured(
                Code.CONFIG_INVALID_VALUE,
                f"nothing is published on {', '.join(unknown)}: choose of {', '.join(sorted(self._adapters))}",
            )
        places = [place for topic in topics or self._adapters for place in self._places(topic)]
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
        return self._sender.send(conversation, event)

    def close(self) -> None:
        self._consumer.close()

    def _places(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(topic, partition) for partition in partitions_of(self._consumer, topic)]

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
