"""The list of jars that ships with the package, and what happens to a damaged one."""

import hashlib
from pathlib import Path

import pytest

from stream_worker.embedded.distribution import KAFKA_VERSION, Jar, read_jars


def test_the_list_names_every_jar_once_with_a_whole_hash() -> None:
    jars = read_jars()
    assert len({jar.coordinate for jar in jars}) == len(jars) == 46
    assert all(len(bytes.fromhex(jar.sha256)) == 32 for jar in jars)
    assert all(jar.coordinate.count(":") == 2 for jar in jars)


def test_the_broker_and_its_client_have_the_same_version() -> None:
    coordinates = {jar.coordinate for jar in read_jars()}
    assert f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}" in coordinates
    assert f"org.apache.kafka:kafka-clients:{KAFKA_VERSION}" in coordinates


@pytest.mark.parametrize("damaged", [b"", b"whole", b"whole jar!"])
def test_a_jar_with_other_bytes_is_not_taken(tmp_path: Path, damaged: bytes) -> None:
    file = tmp_path / "a.jar"
    jar = Jar("g:a:1", hashlib.sha256(b"whole jar").hexdigest())
    file.write_bytes(b"whole jar")
    assert jar.matches(file)
    file.write_bytes(damaged)
    assert not jar.matches(file)
