"""What would lose state or events ends the start, with a sentence that says what to do."""

from pathlib import Path

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient, NewPartitions

from stream_worker.cli.exit_codes import ExitCode
from stream_worker.embedded.broker import EmbeddedBroker
from stream_worker.errors import Code, Missing
from stream_worker.kafka import transactions
from stream_worker.kafka.client_settings import admin_settings
from stream_worker.kafka.edge import Identity, KafkaEdge
from stream_worker.kafka.topic_admin import connect, create
from stream_worker.kafka.topics import topic_table
from stream_worker.settings import Settings
from tests.eventually import eventually
from tests.kafka.conftest import SettingsFor, unique_settings
from tests.kafka.processes import WorkerProcess
from tests.kafka.test_topics import alter


def _start(settings: Settings) -> KafkaEdge:
    return KafkaEdge(settings, Identity(transactional_id=f"{settings.application_id}-w", member=None), lambda: None)


def _refused(settings: Settings, code: Code, folder: Path) -> str:
    """What a worker says as it ends at its start."""
    with WorkerProcess(settings, folder / "worker", "w-0") as process:
        assert process.exit_code() == ExitCode.WRONG_USAGE
        assert f"Error: {code.id} " in process.log
        return process.log


def test_a_changelog_that_is_not_compacted_ends_the_start(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = settings_for()
    admin = AdminClient(admin_settings(settings))
    alter(admin, settings.changelog, {"cleanup.policy": "delete"})
    detail = _refused(settings, Code.TOPIC_MISMATCH, tmp_path)
    assert settings.changelog in detail
    assert "--add-config cleanup.policy=compact" in detail


def test_an_input_that_has_grown_ends_the_start(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = settings_for()
    admin = AdminClient(admin_settings(settings))
    for future in admin.create_partitions([NewPartitions(settings.topics.events, 3)]).values():
        future.result()
    eventually(lambda: len(admin.list_topics(timeout=10).topics[settings.topics.events].partitions) == 3)
    assert "2 partitions, the input has 3" in _refused(settings, Code.TOPIC_MISMATCH, tmp_path)


def test_fewer_copies_than_must_be_written_end_the_start(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings = settings_for()
    replies = settings.output_topic(settings.topics.replies)
    alter(AdminClient(admin_settings(settings)), replies, {"min.insync.replicas": "2"})
    detail = _refused(settings, Code.TOPIC_MISMATCH, tmp_path)
    assert replies in detail
    assert "min.insync.replicas is 2, but there are 1 copies" in detail


def test_a_group_of_another_application_ends_the_start(settings_for: SettingsFor, tmp_path: Path) -> None:
    settings, other = settings_for(), settings_for()
    theirs = Consumer(
        {
            "bootstrap.servers": settings.kafka.bootstrap_servers,
            "group.id": settings.application_id,
            "auto.offset.reset": "earliest",
        }
    )
    theirs.subscribe([other.topics.events])
    eventually(lambda: theirs.poll(0.1) is None and theirs.assignment())
    try:
        detail = _refused(settings, Code.GROUP_FOREIGN, tmp_path)
    finally:
        theirs.close()
    assert other.topics.events in detail
    assert "choose another application_id" in detail


def test_topics_and_group_of_its_own_start(settings_for: SettingsFor) -> None:
    _start(settings_for()).close()


def test_a_broker_that_can_hold_no_transaction_ends_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is alone can never make the topic of transactions with two copies."""
    monkeypatch.setattr(transactions, "_START_S", 5.0)
    alone = {"transaction.state.log.replication.factor": "2"}
    with EmbeddedBroker(tmp_path / "broker", properties=alone) as broker:
        settings = unique_settings(broker.bootstrap_servers, 2)
        create(connect(settings), topic_table(settings))
        edge = _start(settings)
        with pytest.raises(Missing, match=r"transaction\.state\.log\.replication\.factor"):
            edge.open().transactions.start()
        edge.close()
