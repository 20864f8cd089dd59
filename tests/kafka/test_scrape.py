"""What surrounds a worker in its process feeds its metrics, too: clients, certificate, topic, log, predecessors."""

import time
from functools import partial
from pathlib import Path

import pytest

from stream_worker.errors import Code
from tests.certificates import self_signed
from tests.kafka.cluster import QUICK, Cluster
from tests.kafka.conftest import SettingsFor
from tests.kafka.processes import WorkerProcess
from tests.scrape import free_port, scrape, value

_CLIENTS = ("consumer", "producer", "deltas")


def test_a_process_feeds_every_metric_that_is_not_the_workers(settings_for: SettingsFor, tmp_path: Path) -> None:
    pem, _ = self_signed(tmp_path, days=10)
    kafka = {**QUICK, "client": {"ssl.certificate.location": str(pem)}}
    settings = settings_for(partitions=2, kafka=kafka, slo={"reply_seconds": 7.5})
    port, topic = free_port(), settings.topics.events
    with Cluster(settings) as cluster, WorkerProcess(settings, tmp_path / "w", "w-0", port=port):
        cluster.events.say("c-0")
        cluster.run_until_settled()
        for client in _CLIENTS:
            connected = partial(value, port, "kafka_client_connections_total", client=client)
            cluster.run_until(connected, f"statistics of the {client}")
            assert value(port, "kafka_client_round_trip_seconds", client=client) is not None
            assert value(port, "kafka_client_throttle_seconds", client=client) == 0
            assert value(port, "kafka_client_queued_messages", client=client) is not None
            assert value(port, "kafka_client_errors_total", client=client) == 0
        assert value(port, "topic_partitions", topic=topic) == 2
        assert value(port, "reply_slo_seconds") == 7.5
        assert value(port, "max_poll_interval_seconds") == 60
        assert value(port, "log_messages_total", level="info")
        expiry = value(port, "certificate_expiry_timestamp_seconds")
        assert expiry is not None
        assert expiry - time.time() == pytest.approx(10 * 86_400, abs=600)
        cluster.run_until(lambda: value(port, "state_bytes"), "the store has a size")
        lags = {labels for name, labels in scrape(port) if name == "partition_lag"}
        assert lags == {frozenset({("topic", topic), ("partition", str(each))}) for each in range(2)}


def test_a_process_that_was_fenced_tells_its_successor(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = settings_for(partitions=1, kafka=QUICK)
    port = free_port()
    with Cluster(settings) as cluster:
        with WorkerProcess(settings, tmp_path / "older", "w-0", port=port) as older:
            cluster.events.say("c-0")
            cluster.run_until_settled()
            assert value(port, "fatal_errors_total", code=Code.FENCED.id) == 0
            with WorkerProcess(settings, tmp_path / "newer", "w-0"):
                cluster.run_until(lambda: not older.is_alive, "the older one ends", 8.0)
        with WorkerProcess(settings, tmp_path / "older", "w-0", port=port):
            cluster.run_until(lambda: value(port, "fatal_errors_total", code=Code.FENCED.id) == 1, "it is told")
