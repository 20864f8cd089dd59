"""Java's own producer and our writers put a key into the same partition: a conversation has one place."""

import subprocess
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from jgo.config import GlobalSettings
from jgo.maven import MavenContext

from stream_worker.embedded.distribution import KAFKA_VERSION, Distribution, obtain
from stream_worker.kafka.murmur2 import partition_of
from tests.eventually import eventually
from tests.kafka.conftest import SettingsFor
from tests.kafka.event_writer import EventWriter

_PARTITIONS = 12
_KEYS = [*(f"c-{number}" for number in range(60)), "", "a", "ab", "abc", "acme/c-42", "对话-1", "Ünïcode", "x" * 200]


@pytest.fixture(scope="module")
def kafka_tools(tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    """Kafka's jars, and the one with its command-line programs, which the broker does not need."""
    kafka = obtain(lambda _: None)
    maven = MavenContext(
        repo_cache=tmp_path_factory.mktemp("maven"), remote_repos=GlobalSettings.load().repositories or None, timeout=60
    )
    tools = maven.project("org.apache.kafka", "kafka-tools").at_version(KAFKA_VERSION).artifact().resolve()
    return Distribution(kafka.java, (*kafka.jars, Path(tools)))


def test_a_key_lands_where_java_puts_it(kafka_tools: Distribution, settings_for: SettingsFor) -> None:
    settings = settings_for(partitions=_PARTITIONS)
    servers, topic = settings.kafka.bootstrap_servers, settings.topics.events
    arguments = ["--bootstrap-server", servers, "--topic", topic]
    properties = ["--reader-property", "parse.key=true", "--reader-property", "key.separator=|"]
    # The reader takes the bytes of its input as UTF-8, whatever the machine's locale.
    command = kafka_tools.command(
        "org.apache.kafka.tools.ConsoleProducer", *arguments, *properties, jvm=("-Dfile.encoding=UTF-8",)
    )
    lines = "".join(f"{key}|java\n" for key in _KEYS)
    done = subprocess.run(command, input=lines.encode(), capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2_000:]

    writer = EventWriter(settings)
    ours = [key for key in _KEYS if key]
    for key in ours:
        writer.write({"conversation_id": key, "sender": {"id": "u-1"}, "text": "ours"})

    places = _places(servers, topic, len(_KEYS) + len(ours))
    assert {key for key, _ in places} == set(_KEYS)
    for key in _KEYS:
        found = {partition for name, partition in places if name == key}
        assert found == {partition_of(key.encode(), _PARTITIONS)}, key


def _places(servers: str, topic: str, expected: int) -> list[tuple[str, int]]:
    """Key and partition of every record."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "reader", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(_PARTITIONS)])
    found: list[tuple[str, int]] = []

    def has_all() -> bool:
        for message in consumer.consume(1_000, 0.1):
            assert message.error() is None, message.error()
            found.append(((message.key() or b"").decode(), message.partition() or 0))
        return len(found) == expected

    eventually(has_all)
    consumer.close()
    return found
