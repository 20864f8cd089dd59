"""What would lose state or events ends the start, with a sentence that says what to do."""

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient, NewPartitions

from stream_worker.errors import Code, Misconfigured
from stream_worker.kafka.client_settings import admin_settings
from stream_worker.kafka.edge import Identity, KafkaEdge
from stream_worker.settings import Settings
from tests.eventually import eventually
from tests.kafka.conftest import SettingsFor
from tests.kafka.test_topics import alter


def _start(settings: Settings) -> KafkaEdge:
    return KafkaEdge(settings, Identity(transactional_id=f"{settings.application_id}-w", member=None), lambda: None)


def _refused(settings: Settings, code: Code) -> str:
    with pytest.raises(Misconfigured) as caught:
        _start(settings)
    assert caught.value.code is code
    return caught.value.detail


def test_a_changelog_that_is_not_compacted_ends_the_start(settings_for: SettingsFor) -> None:
    settings = settings_for()
    admin = AdminClient(admin_settings(settings))
    alter(admin, settings.changelog, {"cleanup.policy": "delete"})
    detail = _refused(settings, Code.TOPIC_MISMATCH)
    assert settings.changelog in detail
    assert "--add-config cleanup.policy=compact" in detail


def test_an_input_that_has_grown_ends_the_start(settings_for: SettingsFor) -> None:
    settings = settings_for()
    admin = AdminClient(admin_settings(settings))
    for future in admin.create_partitions([NewPartitions(settings.topics.events, 3)]).values():
        future.result()
    eventually(lambda: len(admin.list_topics(timeout=10).topics[settings.topics.events].partitions) == 3)
    assert "2 partitions, the input has 3" in _refused(settings, Code.TOPIC_MISMATCH)


def test_fewer_copies_than_must_be_written_end_the_start(settings_for: SettingsFor) -> None:
    settings = settings_for()
    replies = settings.output_topic(settings.topics.replies)
    alter(AdminClient(admin_settings(settings)), replies, {"min.insync.replicas": "2"})
    detail = _refused(settings, Code.TOPIC_MISMATCH)
    assert replies in detail
    assert "min.insync.replicas is 2, but there are 1 copies" in detail


def test_a_group_of_another_application_ends_the_start(settings_for: SettingsFor) -> None:
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
        detail = _refused(settings, Code.GROUP_FOREIGN)
    finally:
        theirs.close()
    assert other.topics.events in detail
    assert "choose another application_id" in detail


def test_topics_and_group_of_its_own_start(settings_for: SettingsFor) -> None:
    _start(settings_for()).close()
