"""A real broker for the whole run, and topics of its own for each test."""

import os
import uuid
from collections.abc import Iterator
from typing import Any, Protocol

import pytest
from confluent_kafka.admin import AdminClient

from stream_worker.embedded.broker import EmbeddedBroker
from stream_worker.kafka.client_settings import admin_settings
from stream_worker.kafka.topic_admin import Creation, create
from stream_worker.kafka.topics import topic_table
from stream_worker.settings import Settings


class SettingsFor(Protocol):
    def __call__(self, *, partitions: int = 2, create_topics: bool = True, **changes: Any) -> Settings:
        """Settings of an application that nobody else uses, with its topics on the broker.

        `changes` are put over them, a sub-tree as a dict: `kafka={"commit_interval_ms": 20}`.
        """
        ...


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Bootstrap servers of a running broker: KAFKA_BOOTSTRAP_SERVERS, or else an embedded one."""
    if servers := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield servers
        return
    with EmbeddedBroker(tmp_path_factory.mktemp("broker")) as embedded:
        yield embedded.bootstrap_servers


@pytest.fixture
def settings_for(broker: str) -> Iterator[SettingsFor]:
    made: list[Settings] = []

    def build(*, partitions: int = 2, create_topics: bool = True, **changes: Any) -> Settings:
        settings = unique_settings(broker, partitions, **changes)
        made.append(settings)
        if create_topics:
            reports = create(AdminClient(admin_settings(settings)), topic_table(settings))
            assert {report.result for report in reports} == {Creation.CREATED}, reports
        return settings

    yield build
    for settings in made:
        # Hundreds of topics would slow the broker down; nobody waits for it to forget them.
        AdminClient(admin_settings(settings)).delete_topics([spec.name for spec in topic_table(settings)])


def unique_settings(bootstrap_servers: str, partitions: int, **changes: Any) -> Settings:
    name = f"test-{uuid.uuid4().hex[:12]}"
    tree: dict[str, Any] = {
        "application_id": name,
        "kafka": {"bootstrap_servers": bootstrap_servers, "start_at": "earliest"},
        "topics": {
            "events": f"{name}.chat.events",
            "partitions": partitions,
            "replication_factor": 1,
            "min_insync_replicas": 1,
        },
        "outputs": {"prefix": f"{name}."},
    }
    return Settings.model_validate(_merged(tree, changes))


def _merged(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(tree)
    for key, value in changes.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
