"""The real cluster: makes generations of clients, and closes the one before."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka.admin import AdminClient

from stream_worker.kafka.changelog import KafkaChangelog
from stream_worker.kafka.client_settings import (
    LARGEST_BATCH_BYTES,
    ClientSettings,
    admin_settings,
    consumer_settings,
    delta_settings,
    longest_transaction_s,
    restore_settings,
    transaction_settings,
)
from stream_worker.kafka.clients import make_admin
from stream_worker.kafka.deltas import KafkaDeltas
from stream_worker.kafka.group_admin import refuse_foreign_group
from stream_worker.kafka.offsets import KafkaOffsets
from stream_worker.kafka.protocols import Clients
from stream_worker.kafka.rights_check import refuse_lacking_rights
from stream_worker.kafka.statistics import INTERVAL_MS, ClientStatistics, read_statistics
from stream_worker.kafka.subscription import KafkaSubscription
from stream_worker.kafka.topic_admin import facts_to_start
from stream_worker.kafka.topics import written_topics
from stream_worker.kafka.transactions import KafkaTransactions
from stream_worker.settings import Settings

_CLOSING_FLUSH_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this process is to the broker. `member` is None for a dynamic member of the group."""

    transactional_id: str
    member: str | None


def identity(settings: Settings, device: str, random_name: str) -> Identity:
    """`<application_id>-<instance>-<device>`; without an instance a random one, and no static membership.

    With the consumer protocol (KIP-848) there are no static members: a `group.instance.id` is not released by kill -9,
    and the restarted client would be refused (UNRELEASED_INSTANCE_ID) until the session ends.
    """
    instance = settings.instance
    is_static = instance is not None and settings.kafka.group_protocol == "classic"
    return Identity(
        transactional_id=f"{settings.application_id}-{instance or random_name}-{device}",
        member=f"{instance}-{device}" if is_static else None,
    )


Tell = Callable[[str, ClientStatistics], None]
"""Told what a client (`consumer`, `producer` or `deltas`) says of itself."""


class KafkaEdge:
    """`beat` is called while a client call is resumed; `tell` every few seconds, on the thread that polls.

    Raises Missing, Misconfigured or Fatal where topics, group or rights are not as delivery needs them.
    """

    def __init__(self, settings: Settings, who: Identity, beat: Callable[[], None], tell: Tell | None = None) -> None:
        self._tell = tell
        self._settings = settings
        self._who = who
        self._beat = beat
        admin = self._make_admin()
        refuse_lacking_rights(admin, settings)
        facts = facts_to_start(admin, settings)
        refuse_foreign_group(admin, settings)
        self._limits = {name: facts[name].number("max.message.bytes") for name in written_topics(settings)}
        self._keeps_deletions_ms = facts[settings.changelog].number("delete.retention.ms")
        self._subscription: KafkaSubscription | None = None
        self._changelog: KafkaChangelog | None = None
        self._transactions: KafkaTransactions | None = None
        self._deltas: KafkaDeltas | None = None

    def max_record_bytes(self) -> Mapping[str, int]:
        return self._limits

    def keeps_deletions_ms(self) -> int:
        return self._keeps_deletions_ms

    def open(self) -> Clients:
        self.close()
        settings = self._settings
        topic = settings.topics.events
        batch_bytes = min(LARGEST_BATCH_BYTES, *self._limits.values())
        self._transactions = KafkaTransactions(
            self._telling("producer", transaction_settings(settings, self._who.transactional_id, batch_bytes)),
            input_topic=topic,
            call_timeout_s=settings.kafka.call_timeout_ms / 1000,
            give_up_s=settings.kafka.max_poll_interval_ms / 3000,
            beat=self._beat,
        )
        self._subscription = KafkaSubscription(
            self._telling("consumer", consumer_settings(settings, self._who.member)), topic
        )
        self._changelog = KafkaChangelog(restore_settings(settings), settings.changelog)
        self._deltas = KafkaDeltas(self._telling("deltas", delta_settings(settings, batch_bytes)))
        offsets = KafkaOffsets(
            self._make_admin,
            settings.application_id,
            topic,
            settings.changelog,
            longest_transaction_s(settings),
        )
        return Clients(self._subscription, offsets, self._changelog, self._transactions, self._deltas)

    def _make_admin(self) -> AdminClient:
        return make_admin(admin_settings(self._settings))

    def tend(self) -> None:
        for producer in (self._transactions, self._deltas):
            if producer is not None:
                producer.tend()

    def _telling(self, role: str, client: ClientSettings) -> dict[str, Any]:
        tell = self._tell
        if tell is None:
            return client

        def report(statistics: str) -> None:
            tell(role, read_statistics(statistics))

        return {**client, "statistics.interval.ms": INTERVAL_MS, "stats_cb": report}

    def close(self) -> None:
        if self._subscription is not None:
            self._subscription.close()
        if self._changelog is not None:
            self._changelog.close_all()
        if self._transactions is not None:
            self._transactions.close()
        if self._deltas is not None:
            self._deltas.flush(_CLOSING_FLUSH_S)
        self._subscription = self._changelog = self._transactions = self._deltas = None
