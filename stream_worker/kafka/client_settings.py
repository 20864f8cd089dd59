"""librdkafka's settings from ours. Pure; every value here that delivery relies on is named in a test.

A user may pass any setting through (TLS, SASL, buffers) but those that
delivery relies on: overriding one is refused with the reason.
"""

from collections.abc import Mapping

from stream_worker.errors import Code, Misconfigured
from stream_worker.settings import Settings
from stream_worker.settings.urls import credentials_in

ClientSettings = dict[str, str | int | float | bool]

RESERVED: Mapping[str, str] = {
    "bootstrap.servers": "it is kafka.bootstrap_servers",
    "metadata.broker.list": "it is kafka.bootstrap_servers",
    "group.id": "it is the application_id",
    "group.instance.id": "it follows from instance and device; the consumer protocol has none, because a member that "
    "was killed would hold its name until its session ends, and its successor be refused",
    "group.protocol": "it is kafka.group_protocol",
    "transactional.id": "it follows from application_id, instance and device",
    "enable.auto.commit": "offsets are committed in the transaction of their replies",
    "enable.auto.offset.store": "offsets are committed in the transaction of their replies",
    "isolation.level": "only committed events may be answered",
    "auto.offset.reset": "the position is always explicit: kafka.start_at decides for a new group",
    "partition.assignment.strategy": "partitions are taken and released one by one",
    "session.timeout.ms": "it is kafka.session_timeout_ms",
    "heartbeat.interval.ms": "it is kafka.heartbeat_interval_ms",
    "max.poll.interval.ms": "it is kafka.max_poll_interval_ms",
    "transaction.timeout.ms": "it is kafka.transaction_timeout_ms",
    "message.timeout.ms": "it is kafka.transaction_timeout_ms",
    "delivery.timeout.ms": "it is kafka.transaction_timeout_ms",
    "message.max.bytes": "it follows from max.message.bytes of the topics",
    "batch.size": "it follows from max.message.bytes of the topics: a broker refuses whole batches",
    "enable.idempotence": "a retry must not write twice",
    "acks": "a commit counts only on all in-sync replicas",
    "max.in.flight": "order within a partition depends on it",
    "max.in.flight.requests.per.connection": "order within a partition depends on it",
    "partitioner": "keys land where Java's clients put them",
    "enable.partition.eof": "the restore consumer relies on it",
    "statistics.interval.ms": "metrics are made of the statistics",
    "delivery.report.only.error": "the ledger's position comes from its report; of previews only failures count",
}

_WHOLE: ClientSettings = {"check.crcs": True}
"""librdkafka takes whatever was changed on a disk or on the way for what was written; Java's clients do not."""
_OUTPUT_MAX_BYTES = 100_000_000
LARGEST_BATCH_BYTES = 1_000_000
_TRANSACTION_SCAN_S = 10.0
"""How often a broker looks for transactions that are over time."""


def longest_transaction_s(settings: Settings) -> float:
    """After so long the broker has ended a transaction of ours that nobody ended."""
    return settings.kafka.transaction_timeout_ms / 1000 + _TRANSACTION_SCAN_S


def consumer_settings(settings: Settings, group_instance_id: str | None) -> ClientSettings:
    """The consumer of the input topic."""
    kafka = settings.kafka
    ours: ClientSettings = {
        "group.id": settings.application_id,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        "auto.offset.reset": "error",
        "group.protocol": kafka.group_protocol,
        "max.poll.interval.ms": kafka.max_poll_interval_ms,
    }
    if kafka.group_protocol == "classic":
        ours["partition.assignment.strategy"] = "cooperative-sticky"
        ours["session.timeout.ms"] = kafka.session_timeout_ms
        ours["heartbeat.interval.ms"] = kafka.heartbeat_interval_ms
        if group_instance_id is not None:
            ours["group.instance.id"] = group_instance_id
    elif group_instance_id is not None:
        raise ValueError("the consumer protocol has no static members: see RESERVED['group.instance.id']")
    defaults: ClientSettings = {
        **_WHOLE,
        "fetch.wait.max.ms": 50,
        "fetch.queue.backoff.ms": 10,
        "queued.min.messages": 2_000,
        "queued.max.messages.kbytes": 16_384,
    }
    return _merged(settings, "consumer", kafka.consumer, defaults, ours)


def restore_settings(settings: Settings) -> ClientSettings:
    """The consumer that reads the changelog. It joins no group."""
    ours: ClientSettings = {
        # The client asks for its group's coordinator, also where it joins none: a group of its own would want a right.
        "group.id": settings.application_id,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
    }
    defaults: ClientSettings = {
        **_WHOLE,
        "fetch.wait.max.ms": 50,
        # A second, by default, after which a full queue is looked at again.
        "fetch.queue.backoff.ms": 10,
        "fetch.message.max.bytes": 8 << 20,
        "queued.min.messages": 200_000,
    }
    return _merged(settings, "consumer", settings.kafka.consumer, defaults, ours)


def transaction_settings(settings: Settings, transactional_id: str, batch_bytes: int) -> ClientSettings:
    """The transactional producer. `batch_bytes`: no batch may be larger than the smallest topic allows.

    The broker refuses whole batches, so one of several topics' limit applies to all.
    """
    timeout = settings.kafka.transaction_timeout_ms
    ours: ClientSettings = {
        "transactional.id": transactional_id,
        "transaction.timeout.ms": timeout,
        "message.timeout.ms": timeout,
        "partitioner": "murmur2_random",
        "message.max.bytes": _OUTPUT_MAX_BYTES,
        "batch.size": batch_bytes,
    }
    defaults: ClientSettings = {
        "linger.ms": 5,
        "compression.type": "lz4",
        "queue.buffering.max.messages": 500_000,
        "queue.buffering.max.kbytes": 1 << 20,
    }
    return _merged(settings, "producer", settings.kafka.producer, defaults, ours)


def delta_settings(settings: Settings, batch_bytes: int) -> ClientSettings:
    """The producer of previews: idempotent, in no transaction, and quick to give up."""
    ours: ClientSettings = {
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "message.timeout.ms": 5_000,
        "message.max.bytes": _OUTPUT_MAX_BYTES,
        "batch.size": batch_bytes,
        "delivery.report.only.error": True,
    }
    defaults: ClientSettings = {
        "linger.ms": 5,
        "compression.type": "lz4",
        "queue.buffering.max.messages": 20_000,
    }
    return _merged(settings, "producer", settings.kafka.producer, defaults, ours)


def admin_settings(settings: Settings) -> ClientSettings:
    return _merged(settings, "client", {}, {}, {})


def _merged(
    settings: Settings,
    kind: str,
    passed: Mapping[str, str | int | float | bool],
    defaults: ClientSettings,
    ours: ClientSettings,
) -> ClientSettings:
    """Defaults, then what the user passes through, then what delivery relies on."""
    kafka = settings.kafka
    for part, keys in (("client", kafka.client), (kind, passed)):
        for key in keys:
            if (reason := RESERVED.get(key)) is not None:
                raise Misconfigured(Code.CONFIG_RESERVED_CLIENT_SETTING, f"kafka.{part} must not set {key}: {reason}")
            if credentials_in(str(keys[key])):
                raise Misconfigured(
                    Code.CONFIG_INVALID_VALUE,
                    f"kafka.{part}: {key} holds a user or a password before its host, which the client writes into "
                    "its log: give them by settings of their own, such as sasl.oauthbearer.client.secret",
                )
    # librdkafka writes lines of its own form to stderr, one for each attempt to connect. What matters of it reaches
    # us as errors; `kafka.client.log_level: 6` shows the rest.
    quiet: ClientSettings = {"log_level": 2, "log.connection.close": False}
    return {
        **quiet,
        **defaults,
        **kafka.client,
        **passed,
        **ours,
        "bootstrap.servers": kafka.bootstrap_servers,
    }
