"""Every client setting that delivery relies on, by name: a change here is a change of what the worker promises."""

from typing import Any

import pytest

from stream_worker.errors import Code, Misconfigured
from stream_worker.kafka.client_settings import (
    RESERVED,
    ClientSettings,
    consumer_settings,
    delta_settings,
    restore_settings,
    transaction_settings,
)
from stream_worker.settings import Settings

_SETTINGS = Settings.model_validate(
    {
        "application_id": "shop",
        "kafka": {
            "bootstrap_servers": "broker:9092",
            "session_timeout_ms": 7_000,
            "heartbeat_interval_ms": 700,
            "max_poll_interval_ms": 70_000,
            "transaction_timeout_ms": 11_000,
        },
    }
)


@pytest.mark.parametrize(
    ("made", "relied_on"),
    [
        pytest.param(
            consumer_settings(_SETTINGS, "0-cpu"),
            {
                "bootstrap.servers": "broker:9092",
                "group.id": "shop",
                "group.instance.id": "0-cpu",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": 7_000,
                "heartbeat.interval.ms": 700,
                "max.poll.interval.ms": 70_000,
                "fetch.wait.max.ms": 50,
                "fetch.queue.backoff.ms": 10,
                "check.crcs": True,
                "queued.min.messages": 2_000,
                "queued.max.messages.kbytes": 16_384,
            },
            id="consumer",
        ),
        pytest.param(
            restore_settings(_SETTINGS),
            {
                "group.id": "shop",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "fetch.queue.backoff.ms": 10,
                "fetch.message.max.bytes": 8 << 20,
                "check.crcs": True,
                "queued.min.messages": 200_000,
            },
            id="restore",
        ),
        pytest.param(
            transaction_settings(_SETTINGS, "shop-0-cpu", 900_000),
            {
                "transactional.id": "shop-0-cpu",
                "transaction.timeout.ms": 11_000,
                "message.timeout.ms": 11_000,
                "partitioner": "murmur2_random",
                "message.max.bytes": 100_000_000,
                "batch.size": 900_000,
                "linger.ms": 5,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 500_000,
            },
            id="transactions",
        ),
        pytest.param(
            delta_settings(_SETTINGS, 900_000),
            {
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "message.timeout.ms": 5_000,
                "message.max.bytes": 100_000_000,
                "batch.size": 900_000,
                "delivery.report.only.error": True,
            },
            id="deltas",
        ),
    ],
)
def test_what_delivery_relies_on_is_set(made: ClientSettings, relied_on: ClientSettings) -> None:
    assert {name: made.get(name) for name in relied_on} == relied_on


def test_a_member_without_an_instance_has_no_static_name() -> None:
    assert "group.instance.id" not in consumer_settings(_SETTINGS, None)


def _all_settings(settings: Settings) -> list[ClientSettings]:
    return [
        consumer_settings(settings, "i"),
        restore_settings(settings),
        transaction_settings(settings, "t", 1),
        delta_settings(settings, 1),
    ]


@pytest.mark.parametrize("key", sorted(RESERVED))
@pytest.mark.parametrize("part", ["client", "consumer", "producer"])
def test_overriding_what_delivery_relies_on_is_refused_with_the_reason(part: str, key: str) -> None:
    tree: dict[str, Any] = {"kafka": {part: {key: "1"}}}
    settings = Settings.model_validate(tree)
    with pytest.raises(Misconfigured, match=f"kafka.{part} must not set {key}: ") as caught:
        _all_settings(settings)
    assert caught.value.code is Code.CONFIG_RESERVED_CLIENT_SETTING


def test_whatever_we_set_and_delivery_relies_on_is_reserved() -> None:
    """What a user sets and we override silently would be a lie; only defaults may be overridden, by the user."""
    tree: dict[str, Any] = {"kafka": {"consumer": {"x": 1}, "producer": {"x": 1}}}
    for made in _all_settings(Settings.model_validate(tree)):
        after = list(made)[list(made).index("x") + 1 :]
        assert set(after) <= RESERVED.keys()


def test_all_else_passes_through() -> None:
    tree: dict[str, Any] = {
        "kafka": {
            "client": {"security.protocol": "sasl_ssl"},
            "consumer": {"fetch.wait.max.ms": 10},
            "producer": {"linger.ms": 0},
        }
    }
    settings = Settings.model_validate(tree)
    consumer, producer = consumer_settings(settings, None), transaction_settings(settings, "t", 1)
    assert consumer["security.protocol"] == producer["security.protocol"] == "sasl_ssl"
    assert (consumer["fetch.wait.max.ms"], producer["linger.ms"]) == (10, 0)


@pytest.mark.parametrize("part", ["client", "consumer", "producer"])
def test_a_password_within_a_url_is_refused_for_the_client_would_log_it(part: str) -> None:
    settings = Settings.model_validate({"kafka": {part: {"sasl.oauthbearer.token.endpoint.url": "https://a:s3c@b/t"}}})
    with pytest.raises(Misconfigured, match=r"token\.endpoint\.url holds a user or a password") as caught:
        transaction_settings(settings, "check", 1) if part == "producer" else consumer_settings(settings, None)
    assert "s3c" not in str(caught.value)
