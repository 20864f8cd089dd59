"""The producer of previews: at once, outside any transaction; a full queue drops."""

from stream_worker.kafka.client_settings import ClientSettings
from stream_worker.kafka.clients import make_producer
from stream_worker.record import Outgoing


class KafkaDeltas:
    def __init__(self, settings: ClientSettings) -> None:
        self._producer = make_producer(settings)

    def send(self, record: Outgoing) -> bool:
        try:
            self._producer.produce(record.topic, record.value, record.key)
        except BufferError:
            return False
        self._producer.poll(0)
        return True

    def tend(self) -> None:
        self._producer.poll(0)

    def flush(self, deadline_s: float) -> None:
        self._producer.flush(deadline_s)
