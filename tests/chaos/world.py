"""What a run is made of: a broker, a network, workers, and those who write."""

import itertools
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import assert_never

import orjson
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)

from stream_worker.embedded.broker import EmbeddedBroker
from stream_worker.settings import Settings
from tests.chaos.crew import Crew, Member
from tests.chaos.network import Network
from tests.chaos.traffic import Kind, Said

_FLUSH_S = 60.0
_CALL_S = 30.0
_STOP_S = 60.0
_MARKERS_S = 0.3
_GUEST = "guest"


@dataclass(slots=True)
class World:
    settings: Settings
    broker: EmbeddedBroker
    crew: Crew
    network: Network | None
    proxied: list[str]
    longest_broker_stop_s: float
    front: dict[str, str] = field(default_factory=dict)
    """Where each proxied worker finds the broker."""
    started: float = field(default_factory=time.monotonic)
    broker_is_up: bool = True
    network_is_whole: bool = True
    is_compacted_hard: bool = False
    poisoned: int = 0
    held: set[str] = field(default_factory=set)
    """Workers that stand still."""
    _was_killed: bool = False
    _readmit: Callable[[], None] | None = None
    """What makes the topic of replies take records again."""
    _soon: deque[Said] = field(default_factory=deque)
    _last: dict[str, dict[str, object]] = field(default_factory=dict)
    _guests: "itertools.count[int]" = field(default_factory=itertools.count)
    _sent: int = 0
    _producer: Producer | None = None

    @property
    def now(self) -> float:
        return time.monotonic()

    @property
    def steady(self) -> list[Member]:
        """Workers that are up, and that nothing is being done to."""
        return [member for member in self.crew.up if member.is_static and member.name not in self.held]

    @property
    def guests(self) -> list[str]:
        return [member.name for member in self.crew.up if not member.is_static]

    def add_guest(self) -> str:
        name = f"{_GUEST}-{next(self._guests)}"
        self.crew.add(name, self.broker.bootstrap_servers, is_static=False)
        return name

    def say_soon(self, conversation: str, text: str) -> None:
        self._soon.append(Said(0.0, conversation, text))

    def say(self, said: Said) -> None:
        """Sends a message, and what was to be said soon; keeps them while the broker is away."""
        if self._producer is None:
            self._producer = Producer(
                {
                    "bootstrap.servers": self.broker.bootstrap_servers,
                    "partitioner": "murmur2_random",
                    "enable.idempotence": True,
                    "delivery.timeout.ms": 300_000,
                    "linger.ms": 0,
                    "log_level": 0,
                }
            )
        for each in [*self._soon, said]:
            self._producer.produce(self.settings.topics.events, orjson.dumps(self._event(each)), each.conversation)
            self._sent += 1
        self._soon.clear()
        self._producer.poll(0)

    def _event(self, said: Said) -> dict[str, object]:
        event: dict[str, object] = {"conversation_id": said.conversation, "message_id": f"e-{self._sent}"}
        match said.kind:
            case Kind.SAY:
                event |= {"sender": {"id": "u-1"}, "text": said.text or "…"}
                self._last[said.conversation] = event
            case Kind.AGENT:
                event |= {"sender": {"id": "a-1", "role": "agent"}, "text": said.text}
            case Kind.AGAIN:
                event = self._last[said.conversation]
            case Kind.HANDOFF | Kind.HANDBACK:
                event |= {"type": said.kind.value}
            case _:
                assert_never(said.kind)
        return event

    def flush(self) -> int:
        """Waits until everything that was said is in the topic; returns how much that is."""
        if self._producer is not None and self._producer.flush(_FLUSH_S):
            raise AssertionError("the broker did not take all events: the run says nothing")
        return self._sent

    def stop_broker(self, *, killed: bool) -> None:
        self.broker_is_up = False
        self._was_killed = killed
        self._end_broker(self.broker.kill if killed else lambda: self.broker.stop(_STOP_S))

    def _end_broker(self, end: Callable[[], None]) -> None:
        """No transaction is about to end meanwhile.

        A lone node that ends, or comes back, has no leader for its partitions, and Kafka drops the markers of those
        (see EmbeddedBroker.kill): what was committed there would stay open for ever. With others beside it they have
        one. So the workers stand still, just long enough for the markers of what they have ended.
        """
        with self.crew.standing_still(but=self.held):
            time.sleep(_MARKERS_S)
            end()

    def start_broker(self) -> None:
        self.broker.start()
        if self._was_killed:
            # What was left open by the kill is completed by a start in good order.
            self._end_broker(lambda: self.broker.stop(_STOP_S))
            self.broker.start()
        self.broker_is_up = True

    def heal(self) -> None:
        """Nothing is done to anybody any more."""
        if not self.broker_is_up:
            self.start_broker()
        if self.network is not None:
            self.network.heal()
        self.held.clear()
        self.crew.heal()
        self.readmit_replies()

    @property
    def replies_are_refused(self) -> bool:
        return self._readmit is not None

    def limit_replies(self, most_bytes: int) -> None:
        """The topic of replies takes no larger record."""
        self._alter(self._replies, {"max.message.bytes": str(most_bytes)})
        self._readmit = partial(self._alter, self._replies, {"max.message.bytes": None})

    def forbid_replies(self) -> None:
        """Nobody may write replies. What no rule is about the broker allows."""
        what = (ResourceType.TOPIC, self._replies, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*")
        rule = (*what, AclOperation.WRITE, AclPermissionType.DENY)
        admin = self._admin()

        def allow() -> None:
            for gone in admin.delete_acls([AclBindingFilter(*rule)]).values():
                gone.result(_CALL_S)

        for made in admin.create_acls([AclBinding(*rule)]).values():
            made.result(_CALL_S)
        self._readmit = allow

    def readmit_replies(self) -> None:
        if self._readmit is not None:
            self._readmit()
        self._readmit = None

    def compact_hard(self) -> None:
        """From now on the changelog is compacted as soon and as often as the broker can."""
        self.is_compacted_hard = True
        hard = {"segment.ms": "1000", "segment.bytes": "1048576", "min.cleanable.dirty.ratio": "0.01"}
        self._alter(self.settings.changelog, hard | {"max.compaction.lag.ms": "1000", "delete.retention.ms": "0"})

    @property
    def _replies(self) -> str:
        return self.settings.output_topic(self.settings.topics.replies)

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.broker.bootstrap_servers})

    def _alter(self, topic: str, values: Mapping[str, str | None]) -> None:
        admin = self._admin()
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET if value else AlterConfigOpType.DELETE)
            for name, value in values.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        for future in admin.incremental_alter_configs([resource]).values():
            future.result(_CALL_S)
