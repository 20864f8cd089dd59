"""Topics on a real broker: made once, described truly."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from stream_worker.errors import Code, Misconfigured, Missing
from stream_worker.kafka.topic_admin import Creation, check, create, describe, facts_to_start
from stream_worker.kafka.topic_check import Severity
from stream_worker.kafka.topics import Role, topic_table, written_topics
from tests.eventually import eventually
from tests.kafka.conftest import SettingsFor


@pytest.fixture
def admin(broker: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": broker})


def alter(admin: AdminClient, topic: str, config: Mapping[str, str]) -> None:
    entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in config.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    for future in admin.incremental_alter_configs([resource]).values():
        future.result()
    # A broker learns of it a moment after the controller has accepted it.
    eventually(lambda: config.items() <= describe(admin, [topic])[topic].config.items())


def test_created_topics_are_as_the_table_says(admin: AdminClient, settings_for: SettingsFor) -> None:
    settings = settings_for(partitions=5)
    specs = topic_table(settings)
    facts = describe(admin, [spec.name for spec in specs])
    for spec in specs:
        assert facts[spec.name].partitions == spec.partitions
        assert facts[spec.name].replication_factor == spec.replication_factor
        assert dict(spec.config).items() <= facts[spec.name].config.items()


def test_nothing_is_found_in_created_topics(admin: AdminClient, settings_for: SettingsFor) -> None:
    assert check(admin, settings_for()) == []


def test_creating_again_changes_nothing(admin: AdminClient, settings_for: SettingsFor) -> None:
    settings = settings_for()
    alter(admin, settings.topics.events, {"retention.ms": "1234567"})
    reports = create(admin, topic_table(settings))
    assert {report.result for report in reports} == {Creation.EXISTS}
    events = describe(admin, [settings.topics.events])[settings.topics.events]
    assert events.number("retention.ms") == 1_234_567


def test_a_dry_run_creates_nothing(admin: AdminClient, settings_for: SettingsFor) -> None:
    settings = settings_for(create_topics=False)
    specs = topic_table(settings)
    reports = create(admin, specs, dry_run=True)
    assert {report.result for report in reports} == {Creation.WOULD_BE_CREATED}
    assert describe(admin, [spec.name for spec in specs]) == {}


def test_a_topic_that_cannot_be_created_is_reported_beside_those_that_can(
    admin: AdminClient, settings_for: SettingsFor
) -> None:
    events, *others = topic_table(settings_for(create_topics=False))
    reports = create(admin, [replace(events, replication_factor=5), *others])
    assert reports[0].result is Creation.FAILED
    assert "topics.replication_factor" in reports[0].detail
    assert {report.result for report in reports[1:]} == {Creation.CREATED}


def test_damage_to_topics_is_found(admin: AdminClient, settings_for: SettingsFor) -> None:
    settings = settings_for()
    names = {spec.role: spec.name for spec in topic_table(settings)}
    alter(admin, names[Role.EVENTS], {"message.timestamp.type": "CreateTime"})
    alter(admin, names[Role.CHANGELOG], {"cleanup.policy": "delete"})
    for future in admin.delete_topics([names[Role.REPLIES]], operation_timeout=10).values():
        future.result()
    found = {(finding.topic, finding.severity) for finding in check(admin, settings)}
    assert found == {
        (names[Role.EVENTS], Severity.WARNING),
        (names[Role.CHANGELOG], Severity.ERROR),
        (names[Role.REPLIES], Severity.ERROR),
    }


def test_the_limit_of_every_written_topic_is_known(admin: AdminClient, settings_for: SettingsFor) -> None:
    settings = settings_for()
    alter(admin, settings.output_topic(settings.topics.replies), {"max.message.bytes": "70000"})
    facts = facts_to_start(admin, settings)
    assert set(facts) == {*written_topics(settings), settings.topics.events}
    assert facts[settings.output_topic(settings.topics.replies)].number("max.message.bytes") == 70_000


def test_a_topic_too_tight_for_our_own_records_stops_the_start(admin: AdminClient, settings_for: SettingsFor) -> None:
    settings = settings_for()
    tight = settings.output_topic(settings.topics.metrics)
    alter(admin, tight, {"max.message.bytes": "5000"})
    with pytest.raises(Misconfigured, match=tight) as caught:
        facts_to_start(admin, settings)
    assert caught.value.code is Code.TOPIC_MISMATCH
    (finding,) = check(admin, settings)
    assert (finding.topic, finding.severity) == (tight, Severity.ERROR)
    assert "max.message.bytes=" in finding.cure


def test_missing_topics_are_named(admin: AdminClient, settings_for: SettingsFor) -> None:
    settings = settings_for(create_topics=False)
    with pytest.raises(Missing, match=settings.changelog) as caught:
        facts_to_start(admin, settings)
    assert caught.value.code is Code.TOPIC_MISSING


def test_no_broker_is_an_error_that_says_so(settings_for: SettingsFor) -> None:
    settings = settings_for(create_topics=False)
    nobody = AdminClient(
        {"bootstrap.servers": "127.0.0.1:9", "log_level": 0, "socket.connection.setup.timeout.ms": 1000}
    )
    with pytest.raises(Missing) as caught:
        check(nobody, settings)
    assert caught.value.code is Code.BROKER_UNREACHABLE
