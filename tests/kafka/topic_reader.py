"""A reader of everything an application reads and publishes: events, outputs, previews and changelog."""

from collections.abc import Collection
from typing import Any

import orjson
from confluent_kafka import Message
from confluent_kafka.admin import AdminClient

from stream_worker.contracts.headers import REDRIVE
from stream_worker.contracts.internal import LEDGER_PREFIX, LedgerRecord, load_ledger
from stream_worker.kafka.client_settings import admin_settings
from stream_worker.kafka.topics import Role
from stream_worker.settings import Settings
from tests.delivery import Delivery
from tests.eventually import eventually
from tests.kafka.topic_log import Isolation, buried_place, ends_of, has_passed, names_of, place_of, places_of, reader

_READ_S = 120.0
"""A long run is much to read."""


class TopicReader:
    """Reads up to the present end each time it is asked; keeps what it has read.

    `read_committed` is what every consumer of the outputs must use; `read_uncommitted` shows aborted records, too.
    """

    def __init__(self, settings: Settings, isolation: Isolation = "read_committed") -> None:
        self._names = names_of(settings)
        self._isolation = isolation
        self._admin = AdminClient(admin_settings(settings))
        self._places = places_of(self._admin, self._names.values())
        self._consumer = reader(settings, self._places, isolation)
        self._messages: dict[str, list[Message]] = {name: [] for name in self._names.values()}

    def close(self) -> None:
        self._consumer.close()

    def delivery(self, *, poison: Collection[str] = (), is_whole: bool = True) -> Delivery:
        """All that is there now, to be checked."""
        return Delivery(
            events=self.events,
            metrics=self.metrics,
            replies=self.replies,
            commands=self.commands,
            deltas=self.deltas,
            buried=self.buried,
            changelog=self.changelog,
            poison=poison,
            is_whole=is_whole,
        )

    @property
    def replies(self) -> list[dict[str, Any]]:
        return self._values(Role.REPLIES)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return self._values(Role.METRICS)

    @property
    def deltas(self) -> list[dict[str, Any]]:
        return self._values(Role.DELTAS)

    @property
    def delta_headers(self) -> list[dict[str, object]]:
        return [dict(message.headers() or ()) for message in self._read(Role.DELTAS)]

    @property
    def commands(self) -> list[dict[str, Any]]:
        return self._values(Role.ACTIONS)

    @property
    def redriven(self) -> list[tuple[bytes | None, bytes | None, dict[str, str | bytes | None]]]:
        """Keys, values and headers of events that were sent back, in the order of each partition."""
        records = [(each.key(), each.value(), dict(each.headers() or ())) for each in self._read(Role.EVENTS)]
        return [record for record in records if REDRIVE in record[2]]

    @property
    def events(self) -> dict[tuple[int, int], dict[str, Any]]:
        """By partition and offset, in their order."""
        found = {place_of(message): orjson.loads(message.value() or b"null") for message in self._read(Role.EVENTS)}
        return dict(sorted(found.items()))

    @property
    def buried(self) -> list[tuple[int, int]]:
        """Partition and offset of each event that has a dead letter, a letter each."""
        return [buried_place(message) for message in self._read(Role.DEAD_LETTERS)]

    @property
    def dead_letter_values(self) -> list[bytes | None]:
        return [message.value() for message in self._read(Role.DEAD_LETTERS)]

    @property
    def dead_letter_headers(self) -> list[dict[str, object]]:
        return [dict(message.headers() or ()) for message in self._read(Role.DEAD_LETTERS)]

    @property
    def settled(self) -> int:
        """How many events have an outcome."""
        return len(self._read(Role.METRICS))

    @property
    def outcomes(self) -> dict[str, str]:
        """The last outcome of each event."""
        return {metric["event_id"]: metric["outcome"] for metric in self.metrics}

    @property
    def reply_texts(self) -> dict[str, str]:
        """The text that answers each event."""
        return {event_id: reply["text"] for reply in self.replies for event_id in reply["in_reply_to"]}

    @property
    def changelog(self) -> list[tuple[bytes, bytes | None]]:
        """Keys and values, in the order of each partition."""
        return [(message.key() or b"", message.value()) for message in self._read(Role.CHANGELOG)]

    @property
    def ledgers(self) -> dict[int, LedgerRecord]:
        """The last committed ledger of each partition."""
        found = [
            load_ledger(value, int(key.removeprefix(LEDGER_PREFIX)))
            for key, value in self.changelog
            if value and key.startswith(LEDGER_PREFIX)
        ]
        return {ledger.partition: ledger for ledger in found}

    def _values(self, role: Role) -> list[dict[str, Any]]:
        return [orjson.loads(message.value() or b"null") for message in self._read(role)]

    def _read(self, role: Role) -> list[Message]:
        self._catch_up()
        return self._messages[self._names[role]]

    def _catch_up(self) -> None:
        """Takes all that stands before the ends of this moment, markers passed."""
        ends = eventually(lambda: ends_of(self._admin, self._places, self._isolation))
        eventually(lambda: self._has_passed(ends), _READ_S)

    def _has_passed(self, ends: dict[tuple[str, int], int]) -> bool:
        while messages := self._consumer.consume(10_000, 0):
            for message in messages:
                topic = message.topic()
                assert topic is not None
                assert message.error() is None, message.error()
                self._messages[topic].append(message)
        return has_passed(self._consumer, ends)
