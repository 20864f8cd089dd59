"""The embedded broker: it keeps its data, and never outlives us."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from stream_worker.embedded.broker import EmbeddedBroker
from stream_worker.errors import Code, Misconfigured, Missing
from stream_worker.kafka.client_settings import admin_settings
from stream_worker.kafka.topic_admin import create
from stream_worker.kafka.topics import topic_table
from tests.eventually import eventually
from tests.kafka.conftest import unique_settings

_VISIBLE_DEADLINE_S = 30.0

#: Starts a broker, says where, and waits to be killed.
_PARENT = """
import sys
from pathlib import Path
from stream_worker.embedded.broker import EmbeddedBroker
with EmbeddedBroker(Path(sys.argv[1])) as broker:
    print(broker.pid, flush=True)
    sys.stdin.read()
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def committed_values(bootstrap_servers: str, topic: str, count: int) -> list[bytes]:
    """The first `count` values of the topic's only partition; waits for the marker of the last one's transaction."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap_servers, "group.id": "reader", "isolation.level": "read_committed"}
    )
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    values: list[bytes] = []
    deadline = time.monotonic() + _VISIBLE_DEADLINE_S
    try:
        while len(values) < count and time.monotonic() < deadline:
            message = consumer.poll(0.5)
            if message is not None and message.error() is None:
                values.append(message.value() or b"")
    finally:
        consumer.close()
    return values


def commit_one(bootstrap_servers: str, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap_servers, "transactional.id": "writer"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, value, b"key")
    producer.commit_transaction(30)


def test_committed_records_survive_a_stop_and_a_kill(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path) as broker:
        servers = broker.bootstrap_servers
        settings = unique_settings(servers, partitions=1)
        create(AdminClient(admin_settings(settings)), topic_table(settings))
        commit_one(servers, settings.topics.events, b"before the stop")
        broker.stop()
        broker.start()
        assert broker.bootstrap_servers == servers
        commit_one(servers, settings.topics.events, b"before the kill")
        seen = committed_values(servers, settings.topics.events, 2)
        assert seen == [b"before the stop", b"before the kill"]
        broker.kill()
        broker.start()
        assert committed_values(servers, settings.topics.events, 2) == seen


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_the_broker_ends_with_its_parent(tmp_path: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-c", _PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.send_signal(how)
        parent.wait(10)
    eventually(lambda: not alive(pid))


def test_a_broker_that_fails_shows_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("version=1\ncluster.id=foreign\nnode.id=7\n")
    with pytest.raises(Missing, match=r"(?s)broker\.log:\n.*Stored node id 7") as caught:
        EmbeddedBroker(tmp_path).start()
    assert caught.value.code is Code.BROKER_START_FAILED


def test_a_taken_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Misconfigured, match=str(port)):
            EmbeddedBroker(tmp_path, port=port).start()
