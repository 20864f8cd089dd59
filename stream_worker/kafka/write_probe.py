"""One real transaction, taken back: it shows that we may write, and that the cluster's transactions work."""

import uuid

from confluent_kafka import KafkaException

from stream_worker.errors import StreamWorkerError
from stream_worker.kafka.client_settings import LARGEST_BATCH_BYTES, transaction_settings
from stream_worker.kafka.clients import make_producer
from stream_worker.kafka.faults import translated
from stream_worker.settings import Settings

_CALL_S = 8.0


def write_probe(settings: Settings) -> StreamWorkerError | None:
    """What stood in the way; None when the dead-letter topic took the record. The transaction is aborted: nobody who
    reads committed records ever sees it."""
    identity = f"{settings.application_id}-doctor-{uuid.uuid4().hex[:8]}"
    producer = make_producer(transaction_settings(settings, identity, LARGEST_BATCH_BYTES))
    refused: list[StreamWorkerError] = []
    try:
        producer.init_transactions(_CALL_S)
        producer.begin_transaction()
        producer.produce(
            settings.output_topic(settings.topics.dead_letters),
            b"{}",
            b"doctor",
            on_delivery=lambda error, _: refused.append(translated(error)) if error is not None else None,
        )
        producer.flush(_CALL_S)
        producer.abort_transaction(_CALL_S)
    except KafkaException as error:
        return translated(error.args[0])
    return refused[0] if refused else None
