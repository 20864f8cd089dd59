"""The producer of previews: at once, outside any transaction. What cannot be sent is dropped and counted."""

from confluent_kafka import KafkaError, KafkaException, Message

from stream_worker.kafka.client_settings import ClientSettings
from stream_worker.kafka.clients import make_producer
from stream_worker.record import Outgoing


class KafkaDeltas:
    """Its settings ask for delivery reports of failures only."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._producer = make_producer(settings)
        self._undelivered = 0

    def send(self, record: Outgoing) -> bool:
        try:
            self._producer.produce(
                record.topic, record.value, record.key, headers=list(record.headers), on_delivery=self._failed
            )
        except BufferError:
            return False
        except KafkaException as error:
            cause: KafkaError = error.args[0]
            if cause.fatal() or cause.code() == KafkaError._FATAL:
                # Whatever this one still holds is lost with it, as previews may be.
                self._producer = make_producer(self._settings)
            return False
        self._producer.poll(0)
        return True

    def tend(self) -> None:
        self._producer.poll(0)

    def undelivered(self) -> int:
        undelivered, self._undelivered = self._undelivered, 0
        return undelivered

    def flush(self, deadline_s: float) -> None:
        self._producer.flush(deadline_s)

    def _failed(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._undelivered += 1
