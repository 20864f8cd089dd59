"""Keys hash as in Java; the vectors are those of Kafka's own tests."""

import pytest

from stream_worker.kafka.murmur2 import murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "java"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_a_key_hashes_as_in_java(key: bytes, java: int) -> None:
    assert murmur2(key) == java & 0xFFFFFFFF
    assert partition_of(key, 96) == (java & 0x7FFFFFFF) % 96


def test_an_empty_key_has_a_partition() -> None:
    assert 0 <= partition_of(b"", 7) < 7
