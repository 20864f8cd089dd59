"""Single records that a broker takes and that no chat platform means to send: each becomes a dead letter."""

import ctypes
import random
from base64 import b85encode
from pathlib import Path

import confluent_kafka
import orjson
import pytest
from confluent_kafka import Producer

from stream_worker.contracts.dead_letter import REASON
from stream_worker.record import Headers
from stream_worker.settings import Settings
from tests.kafka.cluster import QUICK, Cluster
from tests.kafka.conftest import SettingsFor

#: A broker measures what is sent; this does not shrink when it is compressed.
_NOISE = b85encode(random.Random(1).randbytes(1_000_000))
_EVENT = orjson.dumps({"conversation_id": "c-1", "sender": {"id": "u"}, "text": "hello"})

_RECORDS: dict[str, tuple[bytes, bytes, Headers, bytes]] = {
    "key": (_NOISE[:1_048_400], b"{}", (), b"invalid_event"),
    "traceparent": (b"c-1", _EVENT, (("traceparent", _NOISE[:1_048_200]),), b"invalid_headers"),
    "ce_id": (b"c-1", _EVENT, (("ce_id", _NOISE[:700_000]),), b"invalid_headers"),
}


def _answers_the_next(cluster: Cluster, reason: bytes) -> None:
    cluster.events.say("c-2")
    cluster.run_until(lambda: "e-0" in cluster.outputs.outcomes, "the next event is answered")
    assert [headers[REASON] for headers in cluster.outputs.dead_letter_headers] == [reason]
    assert len(cluster.outputs.outcomes) == 2


@pytest.mark.parametrize("kind", list(_RECORDS))
def test_a_record_that_is_nearly_all_key_or_header_stops_no_worker(settings_for: SettingsFor, kind: str) -> None:
    settings = settings_for(partitions=1, kafka=QUICK)
    key, value, headers, reason = _RECORDS[kind]
    failed: list[object] = []
    with Cluster(settings) as cluster:
        cluster.start()
        producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers, "message.max.bytes": 2_000_000})
        producer.produce(
            settings.topics.events,
            value,
            key,
            headers=list(headers),
            on_delivery=lambda error, _: failed.append(error),
        )
        assert producer.flush(10) == 0
        assert failed == [None]
        _answers_the_next(cluster, reason)


def test_a_header_whose_name_is_not_utf8_stops_no_worker(settings_for: SettingsFor) -> None:
    settings = settings_for(partitions=1, kafka=QUICK)
    with Cluster(settings) as cluster:
        cluster.start()
        _produce_with_header(settings, b"\xff\xfename", b"c-1", _EVENT)
        _answers_the_next(cluster, b"invalid_headers")


def _produce_with_header(settings: Settings, name: bytes, key: bytes, value: bytes) -> None:
    """What a producer in another language can do and the Python client cannot: through librdkafka itself."""
    (path,) = Path(confluent_kafka.__file__).parents[1].glob("confluent_kafka.libs/librdkafka*.so*")
    library = ctypes.CDLL(str(path))
    pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    library.rd_kafka_conf_new.restype = library.rd_kafka_new.restype = pointer
    library.rd_kafka_conf_set.argtypes = [pointer, text, text, text, size]
    library.rd_kafka_new.argtypes = [ctypes.c_int, pointer, text, size]
    library.rd_kafka_destroy.argtypes = [pointer]
    error = ctypes.create_string_buffer(256)
    configuration = pointer(library.rd_kafka_conf_new())
    servers = settings.kafka.bootstrap_servers.encode()
    assert library.rd_kafka_conf_set(configuration, b"bootstrap.servers", servers, error, 256) == 0
    producer = pointer(library.rd_kafka_new(0, configuration, error, 256))
    # Tags of librdkafka's variable arguments: topic 1, partition 3, value 4, key 5, header 9, end 0.
    tag = ctypes.c_int
    arguments = (
        (tag(1), text(settings.topics.events.encode())),
        (tag(3), ctypes.c_int32(0)),
        (tag(4), text(value), size(len(value))),
        (tag(5), text(key), size(len(key))),
        (tag(9), text(name), text(b"x"), ctypes.c_ssize_t(1)),
        (tag(0),),
    )
    assert library.rd_kafka_producev(producer, *(each for group in arguments for each in group)) == 0
    assert library.rd_kafka_flush(producer, 10_000) == 0
    library.rd_kafka_destroy(producer)
